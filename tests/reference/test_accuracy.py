"""The hand-written side is at least as accurate as the better framework."""

import dataclasses

import msgspec
import pytest

from manual_backprop.spec import ACTIVATIONS, LOSSES
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
    worse = msgspec.structs.replace(ours, worst_ulp=1e17, tight_share=0.5, note="")
    (line,) = behind([worse if r is ours else r for r in rows])
    assert line.startswith("tanh, value") and "torch" in line


def test_lost_digits_show() -> None:
    tanh = ACTIVATIONS["tanh"]
    textbook = dataclasses.replace(tanh, backward=lambda x, y, dy: dy * (1 - y * y))
    (slope,) = (
        row
        for row in measure([textbook], points=200, curves=False, implementations=("manual",))
        if row.quantity == "slope" and row.dtype == "float64"
    )
    assert slope.worst_ulp > 1e6 and (slope.tight_share or 0) < 1
