"""Faults put into the hand-written side are named by a campaign, each of a kind that hides."""

from typing import Any

import msgspec
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from reference.campaign import Plan, run_block
from reference.oracles import load
from reference.trials import hidden
from reference.trials import trial as trials
from reference.trials.hidden import FAULTS, NAMED, HiddenFault, hidden_faults


def verdicts(plan: Plan) -> set[str]:
    oracles = load(plan.oracles)
    found: set[str] = set()
    for start, stop in plan.blocks():
        found |= {o.verdict for o in run_block(plan, start, stop, oracles).outcomes}
    return found


def plan_of(fault: HiddenFault) -> Plan:
    chosen: dict[str, Any] = {}
    for option, registry in (("activations", ACTIVATIONS), ("losses", LOSSES)):
        if fault.operation in registry:
            chosen[option] = (fault.operation,)
    return Plan(problems=fault.problems, oracles=("manual",), architectures=("dense",), **chosen)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_hides_is_named(fault: HiddenFault) -> None:
    plan = plan_of(fault)
    few = msgspec.structs.replace(plan, problems=min(plan.problems, 200))
    assert not verdicts(few) & {*NAMED}
    with fault.injected():
        assert verdicts(plan) & {*NAMED}


def test_the_crash_is_called_one() -> None:
    crash = next(fault for fault in FAULTS if fault.text == "a crash")
    with crash.injected():
        assert verdicts(plan_of(crash)) == {"CRASHED(manual)"}


def test_the_trial_has_each_fault_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [f for f in FAULTS if f.text == "a crash" or f.operation == "celu"]
    monkeypatch.setattr(hidden, "FAULTS", quick)
    rows = list(hidden_faults())
    assert [row.columns["killed"] for row in rows] == [1] * len(quick)
    assert trials.passed(rows)
    harmless = HiddenFault("nothing", "celu", lambda right, *given, **o: right(*given, **o), 40)
    monkeypatch.setattr(hidden, "FAULTS", [harmless])
    assert not trials.passed(list(hidden_faults()))
