"""Faults put into the hand-written side are named by a campaign, each of a kind that hides."""

from typing import Any

import msgspec
import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from reference.campaign import Plan, run_block
from reference.oracles import load
from reference.trials import faults
from reference.trials import trial as trials
from reference.trials.faults import FAULTS, NAMED, HiddenFault, hidden_faults


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


def test_a_fault_that_counts_starts_at_zero_at_each_injection() -> None:
    counted = next(fault for fault in FAULTS if "call" in fault.text)
    x, dy, weight = np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 4))
    right = LAYERS["dense"].backward(x, dy, weight)["weight"]
    for _ in range(2):
        with counted.injected():
            wrong = LAYERS["dense"].backward
            calls = [wrong(x, dy, weight)["weight"] for _ in range(faults.EVERY)]
        factors = [float((call / right).max()) for call in calls]
        assert factors == [1.0] * (faults.EVERY - 1) + [2.0]


def test_the_trial_has_each_fault_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [f for f in FAULTS if f.text == "a crash" or f.operation == "celu"]
    monkeypatch.setattr(faults, "FAULTS", quick)
    rows = list(hidden_faults())
    assert [row.columns["killed"] for row in rows] == [1] * len(quick)
    assert trials.passed(rows)
    harmless = HiddenFault("nothing", "celu", lambda right: right, 40)
    monkeypatch.setattr(faults, "FAULTS", [harmless])
    assert not trials.passed(list(hidden_faults()))
