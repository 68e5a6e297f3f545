"""The hand-written side is at least as accurate as the better framework."""

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from reference.trials.accuracy import behind, measure
from reports.records import Accuracy


@pytest.fixture(scope="module")
def rows() -> list[Accuracy]:
    pytest.importorskip("torch")
    # JAX compiles for half a minute; `manual-backprop accuracy` measures it too.
    return measure(points=200, curves=False, implementations=("manual", "torch"), order=2)


def test_no_operation_is_behind(rows: list[Accuracy]) -> None:
    assert behind(rows) == []


def test_every_operation_is_measured(rows: list[Accuracy]) -> None:
    measured = {row.operation for row in rows}
    assert measured == {*ACTIVATIONS, *LOSSES}
    assert all(row.n >= 50 for row in rows)


def test_one_that_falls_behind_is_named(rows: list[Accuracy]) -> None:
    ours = next(r for r in rows if r.operation == "tanh" and r.implementation == "manual")
    worse = msgspec.structs.replace(ours, worst_ulp=1e17, tight_share=0.5)
    (line,) = behind([worse if r is ours else r for r in rows])
    assert line.startswith("tanh, value") and "torch" in line


@pytest.mark.parametrize(
    ("name", "textbook"),
    [
        ("log_sigmoid", lambda x, y, dy, **_: dy * (1 - np.exp(y))),
        ("softplus", lambda x, y, dy, **_: dy * (1 - np.exp(-y))),
    ],
)
def test_a_saturated_tail_without_digits_is_behind(name: str, textbook: Any) -> None:
    """Its error is small on the scale of 1, which is no excuse: others keep the digits."""
    pytest.importorskip("torch")
    lossy = dataclasses.replace(ACTIVATIONS[name], backward=textbook)
    found = behind(measure([lossy], points=200, curves=False, implementations=("manual", "torch")))
    named = {line.split(":")[0] for line in found}
    assert named == {f"{name}, slope, float32", f"{name}, slope, float64"}


def lost_at_second_order(rows: list[Accuracy]) -> dict[tuple[str, str], float]:
    """Return where a second derivative in float64 has no digit left, by operation and side."""
    found = [r for r in rows if (r.quantity, r.dtype) == ("second", "float64")]
    numbers = {(r.operation, r.implementation): r for r in found if r.worst_ulp > 2.0**51}
    elementwise = {key: r for key, r in numbers.items() if "[" not in r.worst_input}
    return {key: float(r.worst_input.split()[2].strip(",")) for key, r in elementwise.items()}


def test_second_derivatives_that_lose_all_digits_far_out_are_found(rows: list[Accuracy]) -> None:
    """The operations are those of the registry; which of them PyTorch loses, the run says."""
    second = {(r.operation, r.implementation) for r in rows if r.quantity == "second"}
    assert {name for name, who in second if who == "manual"} == {*ACTIVATIONS, *LOSSES}
    assert ("hard_sigmoid", "torch") not in second  # PyTorch has none
    lost = lost_at_second_order(rows)
    assert {who for _, who in lost} == {"torch"}
    assert all(abs(lost[name, "torch"]) > 15 for name in ("silu", "softplus", "tanh")), lost


@pytest.mark.slow  # JAX compiles
def test_those_of_jax_are_found_too() -> None:
    pytest.importorskip("jax")
    chosen = [ACTIVATIONS[name] for name in ("softplus", "log_sigmoid", "silu", "identity")]
    lost = lost_at_second_order(measure(chosen, curves=False, order=2))
    jax = {name: x for (name, who), x in lost.items() if who == "jax"}
    assert jax.keys() == {"softplus", "log_sigmoid", "silu"}
    assert jax["softplus"] > 37 and jax["log_sigmoid"] < -37 and jax["silu"] > 37, jax


def test_a_second_derivative_with_a_wrong_factor_is_behind() -> None:
    pytest.importorskip("torch")
    right = ACTIVATIONS["softplus"]
    wrong = dataclasses.replace(right, second=lambda *given, **o: right.second(*given, **o) * 1.001)
    rows = measure([wrong], points=200, curves=False, implementations=("manual", "torch"), order=2)
    # PyTorch's own loss far out is worse, so it is the share inside that shows it.
    (ours,) = (r for r in rows if (r.quantity, r.dtype, r.implementation)
               == ("second", "float64", "manual"))  # fmt: skip
    assert ours.worst_ulp > 1e12 and (ours.tight_share or 0) < 0.1


def test_lost_digits_show() -> None:
    tanh = ACTIVATIONS["tanh"]
    textbook = dataclasses.replace(tanh, backward=lambda x, y, dy: dy * (1 - y * y))
    (slope,) = (
        row
        for row in measure([textbook], points=200, curves=False, implementations=("manual",))
        if row.quantity == "slope" and row.dtype == "float64"
    )
    assert slope.worst_ulp > 1e6 and (slope.tight_share or 0) < 1
