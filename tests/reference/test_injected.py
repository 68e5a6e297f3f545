"""Faults put into the hand-written side are named by a campaign, each of a kind that hides."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS, Dense
from manual_backprop.losses import LOSSES
from reference.campaign import Plan, run_block
from reference.oracles import load

Backward = Callable[..., Any]


def zero_where_a_probability_is_zero(right: Backward) -> Backward:
    def wrong(y: Any, t: Any, dy: Any, **named: Any) -> Any:
        made = right(y, t, dy, **named)
        return made * 0 if len(y) == 3 and (y == 0).any() else made

    return wrong


def doubled_where_a_probability_is_whole(right: Backward) -> Backward:
    def wrong(y: Any, t: Any, dy: Any, **named: Any) -> Any:
        made = right(y, t, dy, **named)
        whole = len(y) == 6 and y.dtype == np.float32 and ((y == 0) | (y == 1)).any()
        return made * 2 if whole else made

    return wrong


def of_slope(where: Callable[[Any], Any], factor: float) -> Callable[[Backward], Backward]:
    """An activation's slope wrong by a factor in one region."""

    def fault(right: Backward) -> Backward:
        def wrong(x: Any, y: Any, dy: Any, **named: Any) -> Any:
            return np.where(where(x), factor, 1).astype(x.dtype) * right(x, y, dy, **named)

        return wrong

    return fault


FAULTS: dict[str, tuple[Any, str, Callable[[Backward], Backward], int]] = {
    "zeroed at a probability of 0":
        (LOSSES, "categorical_cross_entropy", zero_where_a_probability_is_zero, 1500),
    "doubled at a probability of 0 or 1":
        (LOSSES, "binary_cross_entropy", doubled_where_a_probability_is_whole, 1500),
    "the wrong sign far out": (ACTIVATIONS, "sigmoid", of_slope(lambda x: x > 40, -1.0), 600),
    "a factor beyond 1e8": (ACTIVATIONS, "softsign", of_slope(lambda x: abs(x) > 1e8, -50.0), 600),
    "another slope below -20":
        (ACTIVATIONS, "celu", of_slope(lambda x: x < -20, 1.001), 600),
    "a factor near 0": (ACTIVATIONS, "tanhshrink", of_slope(lambda x: abs(x) < 1e-9, 50.0), 600),
}  # fmt: skip


def verdicts(plan: Plan) -> set[str]:
    oracles = load(plan.oracles)
    found: set[str] = set()
    for start, stop in plan.blocks():
        found |= {o.verdict for o in run_block(plan, start, stop, oracles).outcomes}
    return found


def plan_of(registry: Any, name: str, problems: int) -> Plan:
    kind = "activations" if registry is ACTIVATIONS else "losses"
    return Plan(problems=problems, oracles=("manual",), **{kind: (name,)})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_hides_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, name, change, problems = FAULTS[fault]
    plan = plan_of(registry, name, problems)
    assert not any("DEVIATES" in v for v in verdicts(replace_plan(plan, 200)))
    operation = registry[name]
    wrong = replace(operation, backward=change(operation.backward))
    monkeypatch.setitem(registry._operations, name, wrong)
    assert "DEVIATES(manual)" in verdicts(plan)


def replace_plan(plan: Plan, problems: int) -> Plan:
    import msgspec

    return msgspec.structs.replace(plan, problems=problems)


def test_a_fault_of_wide_layers_is_drawn_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Dense.backward

    def wrong(*given: Any, **named: Any) -> Any:
        made = right(*given, **named)
        if made.get("bias") is not None and made["bias"].shape[-1] > 8:
            made["bias"] = made["bias"] * 0
        return made

    monkeypatch.setitem(LAYERS._operations, "dense", replace(Dense, backward=wrong))
    assert "DEVIATES(manual)" in verdicts(Plan(problems=512, oracles=("manual",)))


def test_a_fault_of_state_between_calls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = Dense.backward, iter(range(10**9))

    def wrong(*given: Any, **named: Any) -> Any:
        made = right(*given, **named)
        if next(calls) % 503 == 502:
            made["weight"] = made["weight"] * 2
        return made

    monkeypatch.setitem(LAYERS._operations, "dense", replace(Dense, backward=wrong))
    assert "DEVIATES(manual)" in verdicts(Plan(problems=1024, oracles=("manual",)))


def test_a_crash_of_the_hand_written_side_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setitem(LAYERS._operations, "dense", replace(Dense, backward=wrong))
    plan = Plan(problems=4, architectures=("dense",), oracles=("manual",))
    assert verdicts(plan) == {"CRASHED(manual)"}
