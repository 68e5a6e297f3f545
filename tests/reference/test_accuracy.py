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
    return measure(points=200, curves=False, implementations=("manual", "torch"))


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


def test_lost_digits_show() -> None:
    tanh = ACTIVATIONS["tanh"]
    textbook = dataclasses.replace(tanh, backward=lambda x, y, dy: dy * (1 - y * y))
    (slope,) = (
        row
        for row in measure([textbook], points=200, curves=False, implementations=("manual",))
        if row.quantity == "slope" and row.dtype == "float64"
    )
    assert slope.worst_ulp > 1e6 and (slope.tight_share or 0) < 1
