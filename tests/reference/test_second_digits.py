"""Second order of every layer against mpmath at 60 digits, which shares nothing with us.

The truth is a difference quotient, over a step of 6e-67, of the slope along the direction that dual
numbers over mpmath carry through the definition. Activations and losses are compared in the same
way, to the last digit, in `tests/manual_backprop/test_second_order.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flint import arb
from highprecision import Arithmetic, Dual
from mpmath import mp, mpf

from manual_backprop.graph import Graph, Step
from manual_backprop.layers import LAYERS
from manual_backprop.operation import LayerOperation, Rows
from reference.conventions.uses import LayerUse, draw
from reference.evidence import local_truth
from reference.judge import judge
from reference.oracles.manual import Manual
from reference.problems import DirectedGraph

DIGITS, STEP = 60, 220
ENTRIES = 5  # of each array
SAME = 1e-28
"""The certificate has 30 digits of each term, the quotient 60."""


def rows_of(operation: LayerOperation, use: LayerUse) -> Rows:
    """Return the layer's rows; of an elementwise one, every array is broadcast to the value."""
    if operation.rows is not None:
        return operation.rows(*(use.arrays.get(n) for n in operation.arguments), **use.options)
    places = {
        name: np.broadcast_to(np.arange(a.size).reshape(a.shape), use.dy.shape).ravel()
        for name, a in use.arrays.items()
    }
    return Rows(places, np.arange(use.dy.size)[:, None])


def nested(index: Any, numbers: Any) -> Any:
    """Return the row's numbers in the shape of its indices; −1 is a zero."""
    if np.ndim(index):
        return [nested(part, numbers) for part in index]
    return Dual(0) if index < 0 else numbers[int(index)]


def exactly(number: Any) -> Any:
    if isinstance(number, list):
        return [exactly(one) for one in number]
    return Dual(number) if isinstance(number, float) else number


def slope_of_rows(
    operation: LayerOperation, use: LayerUse, rows: Rows, which: Any, given: Mapping[str, list[Any]]
) -> Any:
    """Return ∂ Σ dy y along the direction, over some rows."""
    total = mpf(0)
    options = {n: exactly(v) if type(v) is float else v for n, v in use.options.items()}
    for row in which:
        arguments = {name: nested(index[row], given[name]) for name, index in rows.inputs.items()}
        numbers = {name: exactly(array[row].tolist()) for name, array in rows.numbers.items()}
        ordered = [arguments.get(name) for name in operation.arguments]
        made = operation.definition(Arithmetic(), *ordered, **numbers, **options)
        places = np.atleast_1d(rows.output[row]).ravel().tolist()
        for place, y in zip(places, made if isinstance(made, list) else [made], strict=True):
            if isinstance(y, Dual):
                total += mpf(float(use.dy.flat[place])) * y.slope
    return total


def products(
    operation: LayerOperation, use: LayerUse, problem: DirectedGraph
) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    """Yield some entries of H v: array, entry, number."""
    rows = rows_of(operation, use)
    with mp.workdps(DIGITS + 140):
        h = mpf(2) ** -STEP
        given: dict[str, list[Any]] = {n: a.ravel().tolist() for n, a in use.arrays.items()}
        for name in use.floats:
            moves = problem.direction[name].ravel().tolist()
            given[name] = [Dual(v, t) for v, t in zip(given[name], moves, strict=True)]
        for name in use.floats:
            array = use.arrays[name]
            for k in np.random.default_rng(1).permutation(array.size)[:ENTRIES].tolist():
                index = rows.inputs[name].reshape(len(rows.output), -1)
                which = np.flatnonzero((index == k).any(axis=1)).tolist()
                beside = {**given, name: list(given[name])}
                beside[name][k] = Dual(given[name][k].value + h, given[name][k].slope)
                there, here = (
                    slope_of_rows(operation, use, rows, which, one) for one in (beside, given)
                )
                yield name, tuple(map(int, np.unravel_index(k, array.shape))), (there - here) / h


def directed(name: str, seed: int) -> tuple[LayerUse, DirectedGraph]:
    use = draw(LAYERS[name], seed)
    step = Step("y", name, {argument: argument for argument in use.arrays}, use.options)
    rng = np.random.default_rng(seed)
    direction = {n: rng.normal(size=use.arrays[n].shape) for n in use.floats}
    return use, DirectedGraph(Graph((step,), ("y",)), use.arrays, {"y": use.dy}, direction)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(LAYERS))
def test_hand_written_and_certified_are_the_sixty_digits(name: str, seed: int) -> None:
    use, problem = directed(name, seed)
    answer = Manual().answer(problem)
    assert judge(problem, {"manual": answer}).kind in ("AGREE", "PRECISION")
    largest = max(float(np.abs(p).max(initial=0)) for p in answer.products.values())
    seen = 0
    for array, entry, truth in products(LAYERS[name], use, problem):
        ball = local_truth(problem, answer, f"product {array}", entry)
        with mp.workdps(DIGITS):
            certified = mpf(arb(ball.mid()).str(DIGITS, radius=False))
            scale = abs(truth) + largest
            assert abs(certified - truth) <= SAME * scale + float(ball.rad()), (array, entry)
            ours = mpf(float(answer.products[array][entry]))
            assert abs(ours - truth) <= 2.0**-44 * scale, (array, entry, ours, truth)
        seen += 1
    assert seen


def test_a_certificate_that_is_wrong_in_the_sixteenth_digit_is_seen() -> None:
    name = "layer_norm"
    use, problem = directed(name, 0)
    answer = Manual().answer(problem)
    array, entry, truth = next(products(LAYERS[name], use, problem))
    cotangents = {n: c * (1 + 2.0**-52) for n, c in problem.cotangents.items()}
    ball = local_truth(
        replace(problem, cotangents=cotangents),
        replace(answer, gradients={**answer.gradients, **cotangents}),
        f"product {array}", entry,
    )  # fmt: skip
    with mp.workdps(DIGITS):
        certified = mpf(arb(ball.mid()).str(DIGITS, radius=False))
        assert abs(certified - truth) > SAME * abs(truth)
