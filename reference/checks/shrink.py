"""Makes a failing problem as small as it can be while it still fails, and its numbers plain.

Structure first (depth, batch, widths, weights, reduction), then values: small integers, then one
digit, then two. And says where the failure cannot be seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Layer, Problem
from manual_backprop.spec import FloatArray

Fails = Callable[[Problem], bool | None]
"""True: still wrong; False: right; None: could not be run there."""

_TRIES = 600
_SMALL = 3.0  # values are first brought between minus this and this


def shrink(problem: Problem, fails: Fails, *, layered: bool = True, tries: int = _TRIES) -> Problem:
    """Return the smallest problem found that still fails. `layered`: its structure may change."""
    return _Shrinker(fails, layered, tries).run(problem)


class _Shrinker:
    """Keeps the smallest failing problem so far, within a number of tries."""

    def __init__(self, fails: Fails, layered: bool, tries: int) -> None:
        self.fails, self.layered, self.left = fails, layered, tries

    def run(self, problem: Problem) -> Problem:
        for _ in range(3):  # a smaller problem may open the way to one smaller still
            before = problem
            for smaller in (self.structure, self.values):
                problem = smaller(problem)
            if problem is before or self.left <= 0:
                break
        return problem

    def better(self, candidate: Problem | None) -> bool:
        """Try a candidate, while there are tries left."""
        if candidate is None or self.left <= 0:
            return False
        self.left -= 1
        return self.fails(candidate) is True

    def structure(self, problem: Problem) -> Problem:
        for step in (self.depth, self.batch, self.widths, self.plain):
            problem = step(problem)
        return problem

    def depth(self, problem: Problem) -> Problem:
        """Leave layers out, one at a time."""
        i = 0
        while self.layered and i < len(problem.network.layers) > 1:
            candidate = without_layer(problem, i)
            if self.better(candidate):
                problem = candidate
            else:
                i += 1
        return problem

    def batch(self, problem: Problem) -> Problem:
        """Keep one sample, or else leave samples out one at a time."""
        for row in range(problem.batch if problem.batch > 1 else 0):
            if self.better(candidate := with_rows(problem, [row])):
                return candidate
        row = 0
        while row < problem.batch > 2:
            kept = [r for r in range(problem.batch) if r != row]
            if self.better(candidate := with_rows(problem, kept)):
                problem = candidate
            else:
                row += 1
        return problem

    def widths(self, problem: Problem) -> Problem:
        """Narrow every layer in turn; where only both widths of a weight may change, both."""
        count = len(problem.network.widths)
        for k in range(count):
            for width in range(1, problem.network.widths[k]):
                widths = list(problem.network.widths)
                widths[k] = width
                if not self.layered and problem.network.layers[0].bias is False:
                    widths = [width] * count  # a unit weight stays one
                if self.better(candidate := with_widths(problem, widths)):
                    problem = candidate
                    break
        return problem

    def plain(self, problem: Problem) -> Problem:
        """Drop the sample weights, the reduction and activations that play no part."""
        if not self.layered:
            return problem
        if problem.weights is not None:
            if self.better(candidate := replace(problem, weights=None)):
                problem = candidate
        if problem.network.reduction != "sum":
            network = replace(problem.network, reduction="sum")
            if self.better(candidate := replace(problem, network=network)):
                problem = candidate
        for i, layer in enumerate(problem.network.layers):
            if layer.activation != "identity":
                layers = list(problem.network.layers)
                layers[i] = Layer(layer.width, "identity", {}, layer.bias)
                network = replace(problem.network, layers=tuple(layers))
                if self.better(candidate := replace(problem, network=network)):
                    problem = candidate
        return problem

    def values(self, problem: Problem) -> Problem:
        """Make the numbers plain: array by array, then entry by entry."""
        for name, array in list(_arrays(problem)):
            for plainer in _plainer(array):
                if self.better(candidate := with_array(problem, name, plainer)):
                    problem = candidate
                    break
        for name, _ in list(_arrays(problem)):
            problem = self.entries(problem, name)
        return problem

    def entries(self, problem: Problem, name: str) -> Problem:
        """Try 1, 0 and −1, then fewer digits, for every entry."""
        size = dict(_arrays(problem))[name].size
        for k in range(size):
            array = dict(_arrays(problem))[name]
            value = float(array.flat[k])
            for plain in (1.0, 0.0, -1.0, 2.0, round(value), round(value, 1)):
                if abs(plain) == abs(value) or _complexity(plain) >= _complexity(value):
                    continue
                changed = array.copy()
                changed.flat[k] = plain
                if self.better(candidate := with_array(problem, name, changed)):
                    problem = candidate
                    break
        return problem


# -- smaller problems -----------------------------------------------------------------------------


def without_layer(problem: Problem, i: int) -> Problem:
    """Return the problem without its layer i; the layer above is fed from below."""
    layers = problem.network.layers
    kept = tuple(layer for k, layer in enumerate(layers) if k != i)
    parameters: dict[str, FloatArray] = {}
    for new, old in enumerate(k for k in range(len(layers)) if k != i):
        for part in ("weight", "bias"):
            if f"layers.{old}.{part}" in problem.parameters:
                parameters[f"layers.{new}.{part}"] = problem.parameters[f"layers.{old}.{part}"]
    widths = [problem.network.input_width, *(layer.width for layer in kept)]
    smaller = replace(problem, network=replace(problem.network, layers=kept), parameters=parameters)
    return with_widths(smaller, widths)


def with_rows(problem: Problem, rows: list[int]) -> Problem:
    """Return the problem with some of its samples."""
    arrays = {k: v[rows] if v.ndim == 2 else v for k, v in problem.arrays.items()}
    return replace(
        problem,
        x=problem.x[rows],
        targets=problem.targets[rows],
        weights=None if problem.weights is None else problem.weights[rows],
        arrays=arrays,
    )


def with_widths(problem: Problem, widths: list[int]) -> Problem:
    """Return the problem at other widths: numbers are taken over, repeated where they must be."""
    layers = tuple(
        replace(layer, width=w) for layer, w in zip(problem.network.layers, widths[1:], strict=True)
    )
    network = replace(problem.network, input_width=widths[0], layers=layers)
    parameters = {
        name: _resized(problem.parameters[name], shape)
        for name, shape in network.parameter_shapes().items()
    }
    n, classes = problem.batch, widths[-1]
    targets = problem.targets
    if targets.dtype.kind in "iu":
        targets = np.where(targets < 0, targets, np.minimum(targets, classes - 1))
    else:
        rows = targets.sum(axis=1)
        targets = _resized(targets, (n, classes))
        # Rows of probabilities stay rows of probabilities.
        if network.loss_operation.targets[-1] == "simplex" and np.allclose(rows, 1):
            sums = targets.sum(axis=1, keepdims=True)
            first = np.arange(classes) == 0  # of a row whose only class was cut off
            targets = np.where(sums > 0, targets / np.where(sums > 0, sums, 1), first)
            targets = targets.astype(problem.targets.dtype)
    arrays = {
        k: _resized(v, (classes,) if v.ndim == 1 else (n, classes))
        for k, v in problem.arrays.items()
    }
    return replace(
        problem, network=network, parameters=parameters, targets=targets, arrays=arrays,
        x=_resized(problem.x, (n, widths[0])),
    )  # fmt: skip


def with_array(problem: Problem, name: str, value: npt.NDArray[Any]) -> Problem:
    """Return the problem with one array exchanged."""
    value = value.astype(dict(_arrays(problem))[name].dtype)
    if name in problem.parameters:
        return replace(problem, parameters={**problem.parameters, name: value})
    if name == "weights":
        return replace(problem, weights=value)
    return replace(problem, x=value) if name == "x" else replace(problem, targets=value)


def _resized(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return array


def _arrays(problem: Problem) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield what may change its values: all but labels, and unit weights that stand for nothing."""
    yield "x", problem.x
    for name, value in problem.parameters.items():
        d_in, d_out = value.shape if value.ndim == 2 else (0, 1)
        if not (d_in == d_out and np.array_equal(value, np.eye(d_in))):
            yield name, value
    if problem.targets.dtype.kind == "f":
        yield "targets", problem.targets
    if problem.weights is not None:
        yield "weights", problem.weights


def _plainer(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    bounded = np.clip(array, -_SMALL, _SMALL)
    yield np.ones_like(array)
    yield np.rint(bounded)
    yield np.where(np.rint(bounded) == 0, np.where(array < 0, -1, 1), np.rint(bounded))
    yield np.round(bounded * 2) / 2
    yield np.round(bounded, 1)
    yield np.round(array, 1)
    yield np.round(array, 2)


def _complexity(value: float) -> tuple[int, float]:
    """Order numbers by how plain they are: digits first, then size, 1 before 0 before −1."""
    digits = len(f"{value:.17g}".strip("-0.").replace(".", ""))
    return digits, abs(value - 0.9)


# -- where it hides -------------------------------------------------------------------------------


def hiding_places(problem: Problem, fails: Fails) -> Iterator[str]:
    """Yield the circumstances in which this failure cannot be seen, having tried them."""
    n, widths = problem.batch, problem.network.widths
    whole = len(problem.network.layers) > 1
    if n > 1 and _never(fails, [with_rows(problem, [r]) for r in range(n)]):
        yield "at batch 1"
    if max(widths) > 1 and _never(fails, [with_widths(problem, [1] * len(widths))]):
        yield "at width 1"
    square = with_widths(problem, [min(4, max(2, n))] * len(widths))
    if whole and not _square(problem) and _never(fails, [square]):
        yield "where every layer is square"
    if problem.weights is not None and whole and _never(fails, [replace(problem, weights=None)]):
        yield "without sample weights"
    if whole and problem.network.reduction != "sum":
        network = replace(problem.network, reduction="sum")
        if _never(fails, [replace(problem, network=network)]):
            yield "where the loss is a sum"
    positive = replace(problem, x=cast(FloatArray, np.abs(problem.x)))
    if (problem.x < 0).any() and _never(fails, [positive]):
        yield "where every input is positive"


def _never(fails: Fails, problems: list[Problem]) -> bool:
    return all(fails(p) is False for p in problems)


def _square(problem: Problem) -> bool:
    return len({*problem.network.widths}) == 1


# -- in words -------------------------------------------------------------------------------------


def spell(problem: Problem, *, kind: str = "network") -> str:
    """Return a problem in one line: its structure and its numbers."""
    network = problem.network
    numbers = {"x": problem.x}
    if kind == "network":
        layers = " ".join(f"→ {layer.width} {layer.activation}" for layer in network.layers)
        front = f"{network.input_width} {layers}, {network.loss}, reduction {network.reduction}"
        numbers |= dict(problem.parameters) | {"t": problem.targets}
        if problem.weights is not None:
            numbers["weights"] = problem.weights
    elif kind == "loss":
        front = f"{network.loss}, reduction {network.reduction}"
        numbers = {"y": problem.x, "t": problem.targets}
    else:
        front = network.layers[0].activation if kind == "activation" else "dense"
        if kind == "dense":
            numbers |= {"W": problem.parameters["layers.0.weight"],
                        "b": problem.parameters["layers.0.bias"]}  # fmt: skip
        weights = np.ones(problem.batch) if problem.weights is None else problem.weights
        numbers["δ"] = -problem.targets * weights[:, None]
    spelled = ", ".join(f"{k} = {_numbers(v)}" for k, v in numbers.items())
    return f"{front}, N = {problem.batch}: {spelled}"


def _numbers(array: npt.NDArray[Any]) -> str:
    if array.ndim:
        return "[" + ", ".join(_numbers(row) for row in array) + "]"
    return f"{array.item() + 0:.4g}"  # + 0: there is no −0 to read
