"""The Hessian by columns is symmetric, to the sum of the bounds that the certificate gives.

Column j is the Hessian times a unit vector; entry (i, j) is compared with entry (j, i), which comes
out of another product. Both have a certified value and a bound of rounding around it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Graph, Step
from manual_backprop.layers import LAYERS
from reference.blocks.graph_truth import Truths, certify_rows, rows_of_stack
from reference.blocks.graph_weigh import stack_of
from reference.drawing.builder import Stream
from reference.drawing.graphs import Structure, alone, fill
from reference.drawing.regimes import REGIMES
from reference.judge import MODELS
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import DirectedGraph
from reference.rounding import RoundingUnit

NAMES = (*LAYERS, *ACTIVATIONS)
LARGEST = 48  # columns


def problem(k: int) -> DirectedGraph:
    """Return one operation alone, in float64; operations and regimes in turn."""
    name, stream = NAMES[k % len(NAMES)], Stream(0x5E3, k)
    if name in LAYERS:
        made = alone(LAYERS[name], stream, "float64")
    else:
        options = ACTIVATIONS[name].defaults()
        graph = Graph((Step("y", name, {"x": "x"}, options),), ("y",))
        made = Structure("alone", name, "float64", graph, {"x": (2, 3)}, {}, {"y": (2, 3)})
    regime = tuple(REGIMES)[k // len(NAMES) % len(REGIMES)]
    return DirectedGraph(**vars(fill(made, stream, regime)), direction={})


def small(one: DirectedGraph) -> bool:
    return sum(one.arrays[name].size for name in one.floats) <= LARGEST


def columns(one: DirectedGraph) -> Iterator[tuple[str, int, DirectedGraph]]:
    """Yield an array, an entry of it, and the problem whose direction that is."""
    still = {name: np.zeros_like(one.arrays[name]) for name in one.floats}
    for name, zeros in still.items():
        for k in range(zeros.size):
            unit = zeros.copy()
            unit.flat[k] = 1.0
            yield name, k, replace(one, direction={**still, name: unit})


def bounds(
    problems: list[DirectedGraph], answers: list[Answer]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return by array what each entry of each column may be off by, and where that is known."""
    stack = stack_of(problems, list(enumerate(answers)))
    rows = rows_of_stack(stack)
    certify_rows(rows, stack.dtype)
    truths = Truths(stack, rows)
    allowed: dict[str, Any] = {}
    judged: dict[str, Any] = {}
    for model in MODELS:
        if not model.applies_to_manual:
            continue
        for tensor in truths.tensors(RoundingUnit(stack.dtype, model), moved=True):
            half = slice(0, tensor.given.shape[1] // 2)  # the products stand before the cotangents
            bound = (tensor.allowed + tensor.radius)[:, half]
            allowed[tensor.name] = np.maximum(allowed.get(tensor.name, 0), bound)
            judged[tensor.name] = tensor.judged[:, half] & (tensor.hull[:, half] == 0)
    return allowed, judged


def asymmetric(one: DirectedGraph, factor: float = 1.0) -> tuple[int, int]:
    """Return how many pairs of entries were compared, and how many are apart by more.

    What moves by the first array only is multiplied by `factor`.
    """
    names, places, problems = zip(*columns(one), strict=True)
    answers = Manual().answers(problems)
    allowed, judged = bounds(list(problems), answers)
    compared = apart = 0
    at = {(name, k): column for column, (name, k) in enumerate(zip(names, places, strict=True))}

    def entry(column: int, name: str, k: int) -> float:
        scale = factor if name == names[0] and names[column] != names[0] else 1.0
        return float(answers[column].products[name].flat[k]) * scale

    for (name, k), column in at.items():
        for (other, j), back in at.items():
            if column >= back or not (judged[other][column, j] and judged[name][back, k]):
                continue
            bound = float(allowed[other][column, j] + allowed[name][back, k])
            there, here = entry(column, other, j), entry(back, name, k)
            if np.isfinite([bound, there, here]).all():
                compared += 1
                apart += abs(there - here) > bound
    return compared, apart


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.broad)])
def test_the_hessian_by_columns_is_symmetric_to_the_certified_bound(count: int) -> None:
    seen = compared = k = 0
    met = set()
    while seen < count:
        one = problem(k)
        k += 1
        if not small(one):
            continue
        with np.errstate(all="ignore"):
            pairs, apart = asymmetric(one)
        assert not apart, (k - 1, one)
        seen, compared = seen + 1, compared + pairs
        met.add(NAMES[(k - 1) % len(NAMES)])
    assert compared > 50 * count
    assert len(met) >= min(count, 0.9 * len(NAMES)) - 15


def test_a_part_that_is_a_billionth_too_large_is_noticed() -> None:
    """In most operations of several arrays; of some the mixed second derivatives are zero."""
    several = [one for one in map(problem, range(len(NAMES))) if len(one.floats) > 1 and small(one)]
    noticed = [asymmetric(one, 1 + 1e-9)[1] > 0 for one in several[::2]]
    assert len(noticed) >= 8 and sum(noticed) > len(noticed) / 2
