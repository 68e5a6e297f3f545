"""Certified columns: what is claimed of them holds against mpmath-like balls, and is checked."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flint import arb
from hypothesis import given
from hypothesis import strategies as st
from local_truths import of_columns, of_sums

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Loss
from reference.arithmetic import tabulated
from reference.arithmetic.balls import precision
from reference.arithmetic.evaluation import (
    EXTENDED,
    ColumnValues,
    Extended,
    Job,
    _Primitives,
    evaluate,
)
from reference.arithmetic.tape import _OVER_ARB, Tape
from reference.blocks import columns
from reference.blocks.columns import (
    Columns,
    SlopeCheck,
    ValueCheck,
    distinct,
    evaluate_columns,
    surely_right,
    undecided_in_float64,
)
from reference.blocks.sums import SumCheck
from reference.blocks.tapes import _trace, activation_tape, loss_tape, pattern_of
from reference.judge import STRICT
from reference.oracles.manual import Manual
from reference.problems import draw
from reference.rounding import RoundingUnit

NOTHING = arb(2) ** -1200
TYPES = [(np.float32, np.float64)] + [(np.float64, Extended)] * EXTENDED


def points(width: int, count: int, dtype: Any) -> Any:
    """Numbers of every size, and small whole ones, which stand on kinks."""
    rng = np.random.default_rng(width)
    parts = [rng.standard_normal((width, count)), 30 * rng.standard_normal((width, count))]
    sizes = 10.0 ** rng.uniform(-20, 8, (width, count)) * rng.choice((-1, 1), (width, count))
    parts += [sizes, np.rint(3 * rng.standard_normal((width, count)))]
    return np.concatenate(parts, axis=1).astype(dtype)


def numbers(column: ColumnValues, made: Any, m: int) -> Iterator[tuple[Any, Any, Any]]:
    """Each number of a column: its middle, its radius, and the ball that arb proves."""
    for k, (value, row) in enumerate(zip(made.values, made.slopes, strict=True)):
        yield column.value[k, m], column.value_radius[k, m], value
        for j, slope in enumerate(row):
            yield column.slope[k, j, m], column.slope_radius[k, j, m], slope


def violations(tape: Tape, x: Any, wide: Any) -> tuple[int, int]:
    """How many numbers lie outside their claimed error, and how many claims there are."""
    (column,) = evaluate([Job.of(tape, x.astype(wide))], np.dtype(wide))
    outside = claims = 0
    for m in range(x.shape[1]):
        made = tape.evaluate_with_arb([arb(float(v)) for v in x[:, m]], NOTHING)
        for middle, radius, ball in numbers(column, made, m):
            if np.isfinite(middle) and np.isfinite(radius):
                claims += 1
                high = float(middle)
                left = (
                    arb(high) + arb(float(middle - high)) + arb(0, float(radius) * 1.001 + 5e-324)
                )
                outside += not left.overlaps(ball)
    return outside, claims


@pytest.mark.parametrize(("dtype", "wide"), TYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_truth_lies_within_its_stated_error(name: str, dtype: Any, wide: Any) -> None:
    operation = ACTIVATIONS[name]
    width = 4 if operation.rowwise else None
    tape = activation_tape(operation, operation.defaults(), width)
    outside, claims = violations(tape, points(width or 1, 25, dtype), wide)
    assert not outside and claims > 100


@pytest.mark.parametrize(("dtype", "wide"), TYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_of_a_loss_too(name: str, dtype: Any, wide: Any) -> None:
    operation = LOSSES[name]
    width = None if operation.elementwise else 3
    targets: Any = 1 if "labels" in operation.targets else pattern_of([0.25] * (width or 1))
    tape = loss_tape(operation, operation.defaults(), width, targets, tuple(operation.arrays))
    x = points(tape.inputs, 20, dtype)
    x[width or 1 :] = np.abs(x[width or 1 :]) + 1
    if operation.predictions in ("unit", "simplex"):
        x = np.abs(x) % 1
    outside, claims = violations(tape, x, wide)
    assert not outside and claims > 20


@pytest.mark.parametrize("broken", ["EXP", "MUL", "ADD", "DIV", "TANH"])
def test_an_error_in_the_evaluation_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: a primitive that is off by 1e-9 is."""
    right = getattr(_Primitives, broken)

    def wrong(self: Any, *given: Any) -> Any:
        middle, radius = right(self, *given)
        return middle * (1 + 1e-9), radius

    monkeypatch.setattr(_Primitives, broken, wrong)
    found = 0
    for name in ("silu", "mish", "gelu_tanh"):
        tape = activation_tape(ACTIVATIONS[name], {}, None)
        found += violations(tape, points(1, 25, np.float32), np.float64)[0]
    assert found


@given(
    name=st.sampled_from(["EXP", "EXPM1", "TANH", "SECH2"]),
    middle=st.floats(-1e30, 1e30) | st.floats(-50, 50),
    radius=st.floats(0, 1e30) | st.floats(0, 50),
    share=st.floats(-1, 1),
)
def test_what_lies_far_apart_going_in_lies_within_the_radius_coming_out(
    name: str, middle: float, radius: float, share: float
) -> None:
    """At every point of the ball that goes in: there no slope bounds how far the values are."""
    for wide in (np.dtype(float), np.dtype(np.longdouble)):
        with np.errstate(all="ignore"):
            value, bound = getattr(_Primitives(wide), name)(
                np.array([middle], wide), np.array([radius], wide)
            )
        high = float(value[0])
        if np.isfinite(high) and np.isfinite(float(bound[0])):
            with precision(400):
                truth = _OVER_ARB[name](arb(middle) + arb(radius) * arb(share))
                off = abs(truth - arb(high) - arb(float(value[0] - high)))
                assert off <= arb(float(bound[0])) * 1.001 + 5e-324


def test_a_tie_is_all_that_lies_between() -> None:
    tape = activation_tape(ACTIVATIONS["relu"], {}, None)
    (column,) = evaluate([Job.of(tape, np.array([[0.0, 1.0, -0.0, 5e-324]]))], np.dtype(np.float64))
    assert column.tied.tolist() == [True, False, True, False]
    assert column.slope[0, 0].tolist() == [0.5, 1.0, 0.5, 1.0]
    assert column.slope_radius[0, 0, 0] >= 0.5
    made = tape.evaluate_with_arb([arb(0)], NOTHING)
    assert made.tied and made.slopes[0][0].contains(arb(0)) and made.slopes[0][0].contains(arb(1))


@given(st.data())
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", [name for name, op in LOSSES.items() if op.symmetric])
def test_a_tape_with_renamed_inputs_is_the_tape_of_its_labels(
    name: str, order: int, data: st.DataObject
) -> None:
    operation, width = LOSSES[name], data.draw(st.integers(2, 4), "width")
    options = {n: data.draw(st.sampled_from(p.choices)) for n, p in operation.parameters.items()}
    row = st.tuples(*[st.sampled_from([None, 0.0, 1.0])] * width)
    labels = st.integers(0, width - 1) | st.just(int(options.get("ignore_index", 0)))
    kind = data.draw(st.sampled_from(operation.targets), "kind of target")
    targets = data.draw(labels if kind == "labels" else row, "targets")
    arrays = tuple(name for name in operation.arrays if data.draw(st.booleans(), name))
    inputs = data.draw(st.lists(st.floats(0.01, 3), min_size=12, max_size=12), "inputs")
    assert not differ_once_renamed(operation, options, width, targets, arrays, order, inputs)


def test_a_loss_that_is_wrongly_called_symmetric_is_found() -> None:
    def definition(m: Any, y: list[Any], t: list[float] | int) -> Any:
        return m.exp(y[0])

    wrong = replace(LOSSES["cross_entropy"], definition=definition)
    assert differ_once_renamed(wrong, {}, 3, 1, (), 1, [0.25, 0.5, 0.75])
    assert not differ_once_renamed(wrong, {}, 3, 0, (), 1, [0.25, 0.5, 0.75])


def differ_once_renamed(
    operation: Loss, options: dict[str, float], width: int, targets: Any, arrays: tuple[str, ...],
    order: int, inputs: list[float],
) -> bool:  # fmt: skip
    """Say whether the tape that is used differs from the one traced for these targets."""
    found = []
    for make in (loss_tape, _trace):
        tape = make(operation, options, width, targets, arrays, order)
        given = inputs[: tape.inputs]
        made = tape.evaluate_with_arb([arb(x) for x in given], NOTHING)
        (column,) = evaluate([Job.of(tape, np.array([given]).T)], np.dtype(float))
        balls = [*made.values, *(ball for row in made.slopes for ball in row)]
        values = np.concatenate([column.value.ravel(), column.slope.ravel()])
        assert all(abs(ball - arb(float(x))) < 1e-9 for ball, x in zip(balls, values, strict=True))
        found.append(balls)
    return not all(a.overlaps(b) for a, b in zip(*found, strict=True))


def test_branches_that_meet_smoothly_are_no_tie() -> None:
    tape = activation_tape(ACTIVATIONS["sigmoid"], {}, None)
    (column,) = evaluate([Job.of(tape, np.zeros((1, 1)))], np.dtype(np.float64))
    assert not column.tied.any() and column.slope_radius[0, 0, 0] < 1e-14


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_class_that_has_nearly_all_keeps_the_digits_of_its_slope(name: str) -> None:
    tape = activation_tape(ACTIVATIONS[name], {}, 3, order=2)
    x = np.array([[0.0], [-60.0], [-700.0]])
    (column,) = evaluate([Job.of(tape, x)], np.dtype(np.float64))
    for radius, middle in (
        (column.value_radius, column.value),
        (column.slope_radius, column.slope),
    ):
        assert (radius < 1e-9 * np.abs(middle) + 1e-300).all()


def test_a_column_does_not_depend_on_its_neighbours() -> None:
    tapes = [activation_tape(ACTIVATIONS[name], {}, None) for name in ("tanh", "mish", "relu6")]
    x = points(1, 8, np.float64)
    jobs = [Job.of(tape, x.astype(Extended)) for tape in tapes]
    together = evaluate(jobs, np.dtype(Extended))
    for job, column in zip(jobs, together, strict=True):
        (alone,) = evaluate([job], np.dtype(Extended))
        np.testing.assert_array_equal(alone.value, column.value)
        np.testing.assert_array_equal(alone.slope_radius, column.slope_radius)


@pytest.mark.parametrize("broken", [None, "EXP", "MUL"])
def test_networks_are_checked_against_arb(
    broken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run of benchmarks/local_truths.py, which must find an evaluation that is off."""
    if broken:
        right = getattr(_Primitives, broken)

        def wrong(self: Any, *given: Any) -> Any:
            middle, radius = right(self, *given)
            return middle * (1 + 1e-9), radius

        monkeypatch.setattr(_Primitives, broken, wrong)
    problems = [draw(3, index).problem for index in range(0, 40, 10)]
    answers = list(enumerate(Manual().answers(problems)))
    claims, violations, _ = of_columns(problems, answers)
    assert claims > 500 and (violations > 0) == (broken is not None)
    if not broken:
        claims, violations, _ = of_sums(problems, answers, np.random.default_rng(0))
        assert claims > 20 and not violations


def test_an_error_in_a_sum_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [draw(3, 10).problem]
    answers = list(enumerate(Manual().answers(problems)))
    error = SumCheck.error.func  # type: ignore[attr-defined]
    wrong = property(lambda self: error(self) + 1e-9 * self.magnitude)
    monkeypatch.setattr(SumCheck, "error", wrong)
    assert of_sums(problems, answers, np.random.default_rng(0))[1] > 0


def test_a_collision_of_hashes_keeps_columns_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, tape = np.array([[1.0, 2.0, 1.0, 2.0]]), np.array([0, 0, 0, 1])
    first, same = distinct(inputs, tape)
    assert first.tolist() == [0, 1, 3] and same.tolist() == [0, 1, 0, 2]
    monkeypatch.setattr(columns, "_mixed", lambda bits, tape: np.zeros(len(tape), np.uint64))
    first, same = distinct(inputs, tape)
    assert first.tolist() == same.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [n for n, op in ACTIVATIONS.items() if not op.rowwise])
def test_the_quick_test_agrees_with_the_checks(name: str, dtype: Any) -> None:
    """Right numbers are settled by it, and none that is moved beyond what is allowed."""
    operation, unit = ACTIVATIONS[name], RoundingUnit(np.dtype(dtype), STRICT)
    tape = activation_tape(operation, operation.defaults(), None)
    x = points(1, 200, dtype)
    nothing = np.zeros(x.shape[1], np.intp)
    wide = np.dtype(Extended if dtype == np.float64 else np.float64)
    of = Columns([tape], nothing, np.dtype(dtype), 1, x.astype(wide), nothing, nothing, True)
    evaluate_columns([of])
    assert of.found is not None
    stream = np.random.default_rng(0)
    da = stream.standard_normal(x.shape).astype(dtype).astype(wide)
    with np.errstate(all="ignore"):
        right = [v.astype(dtype).astype(wide) for v in (of.found.value, da * of.found.slope[0])]
    sure = surely_right(of, unit, right[0], da, right[1])
    assert sure.mean() > 0.7
    for decades in (-1, 0, 0.3, 3):
        for k in range(2):
            given = list(right)
            check = (ValueCheck(of, right[0]), SlopeCheck(of, right[1], da))[k]
            with np.errstate(all="ignore"):
                given[k] = given[k] + 10.0**decades * check.allowed(unit)
            sure = surely_right(of, unit, given[0], da, given[1])
            outside = [ValueCheck(of, given[0]).outside(unit)[0],
                       SlopeCheck(of, given[1], da).outside(unit)[0]]  # fmt: skip
            assert not (sure & (outside[0] | outside[1])).any(), (name, decades)
            assert decades != 3 or not sure[of.finite & check.judged[0]].any()


@pytest.mark.skipif(not EXTENDED, reason="tables are for what a wider type takes longer for")
@pytest.mark.parametrize("name", [n for n, op in ACTIVATIONS.items() if not op.rowwise])
def test_tables_settle_what_is_right_and_nothing_that_is_outside(name: str) -> None:
    """Also where float64 overflows and the truth does not."""
    operation, unit = ACTIVATIONS[name], RoundingUnit(np.dtype(np.float64), STRICT)
    tape = activation_tape(operation, operation.defaults(), None)
    far = 10.0 ** np.linspace(100, 308, 60)
    x = np.concatenate([points(1, 200, np.float64), [far], [-far]], axis=1)
    nothing = np.zeros(x.shape[1], np.intp)
    of = Columns([tape], nothing, np.dtype(np.float64), 1, x, nothing, nothing, True)
    evaluate_columns([of])
    assert of.found is not None
    for scale in (1.0, 1.7e308):
        da = scale * np.random.default_rng(0).uniform(-1, 1, x.shape)
        with np.errstate(all="ignore"):
            right = [v.astype(np.float64) for v in (of.found.value, da * of.found.slope[0])]
        sure = np.ones(x.shape[1], bool)
        sure[undecided_in_float64(of, unit, right[0], da, right[1])] = False
        assert sure.mean() > (0.3 if name != "gelu" else -1)
        for k, factor in ((0, 1 + 2.0**-48), (1, 1 + 2.0**-48), (0, -1.0), (1, -1.0)):
            given = list(right)
            with np.errstate(all="ignore"):
                given[k] = given[k] * factor
            wrong = [ValueCheck(of, given[0]), SlopeCheck(of, given[1], da)][k].outside(unit)[0]
            assert (
                wrong.any()
                and not np.setdiff1d(
                    np.flatnonzero(wrong), undecided_in_float64(of, unit, given[0], da, given[1])
                ).size
            ), (name, k, factor)


def test_a_function_that_is_off_by_more_than_is_stated_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = tabulated.FUNCTIONS["TANH"]
    monkeypatch.setitem(tabulated.FUNCTIONS, "TANH", lambda x: right(x) * (1 + 2.0**-48))
    with pytest.raises(AssertionError):
        test_tables_settle_what_is_right_and_nothing_that_is_outside("tanh")
