"""The certified value of one entry of second order: of its operation at the answer's own inputs."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from flint import arb

from reference.arithmetic.balls import Ball, exact, precision
from reference.blocks.gather import LossPlan
from reference.blocks.tapes import activation_tape
from reference.formats import Array
from reference.oracles import Answer
from reference.oracles.certified import exact_divisor
from reference.problems import DirectedProblem

_Rows = Sequence[Sequence[Ball]]

_BITS = 4400  # holds any sum of products of three float64 numbers but the most extreme


def second_truth(
    problem: DirectedProblem, answer: Answer, tensor: str, entry: tuple[int, ...]
) -> Ball:
    """Return the certified value of an entry of "tangent …" or "product …"."""
    kind, _, step = tensor.partition(" ")
    with precision(_BITS):
        return _Step(problem, answer).truth(kind, step, entry)


class _Step:
    """The steps of one answer, with their tangents and products."""

    def __init__(self, problem: DirectedProblem, answer: Answer) -> None:
        self.problem, self.answer = problem, answer
        self._negligible = exact(float(np.finfo(problem.dtype).smallest_subnormal)) / 2**30

    def truth(self, kind: str, step: str, entry: tuple[int, ...]) -> Ball:
        last = len(self.problem.network.layers) - 1
        if kind == "product" and step == f"layers.{last}.a":
            return self._loss(entry)
        number, part = (-1, "a") if step == "x" else (int(step.split(".")[1]), step.split(".")[2])
        if kind == "tangent":
            if part == "z":
                return self._tangent_of_sum(number, *entry)
            return self._activation(number, entry, self._tangent)
        if part == "z":
            return self._activation(number, entry, self._product)
        return self._product_of_sum(number, part, entry)

    # -- sums ---------------------------------------------------------------------------------

    def _below(self, i: int) -> tuple[Array, Array]:
        if i == 0:
            return self.problem.x, self.problem.direction["x"]
        name = f"layers.{i - 1}.a"
        return self.answer.values[name], self.answer.tangents[name]

    def _weight(self, i: int) -> tuple[Array, Array]:
        name = f"layers.{i}.weight"
        return self.problem.parameters[name], self.problem.direction[name]

    def _tangent_of_sum(self, i: int, n: int, j: int) -> Ball:
        (a, ta), (weight, tweight) = self._below(i), self._weight(i)
        total = _dot(ta[n], weight[:, j]) + _dot(a[n], tweight[:, j])
        if self.problem.network.layers[i].bias:
            total = total + arb(float(self.problem.direction[f"layers.{i}.bias"][j]))
        return total

    def _product_of_sum(self, i: int, part: str, entry: tuple[int, ...]) -> Ball:
        layer = f"layers.{i + (part == 'a')}"
        dz, tdz = self.answer.gradients[f"{layer}.z"], self.answer.products[f"{layer}.z"]
        if part == "bias":
            return _dot(np.ones(len(tdz)), tdz[:, entry[0]])
        if part == "weight":
            a, ta = self._below(i)
            return _dot(ta[:, entry[0]], dz[:, entry[1]]) + _dot(a[:, entry[0]], tdz[:, entry[1]])
        weight, tweight = self._weight(i + 1)
        return _dot(tdz[entry[0]], weight[entry[1]]) + _dot(dz[entry[0]], tweight[entry[1]])

    # -- operations ---------------------------------------------------------------------------

    def _activation(self, i: int, entry: tuple[int, ...], what: Callable[..., Ball]) -> Ball:
        layer, (n, j) = self.problem.network.layers[i], entry
        rowwise = layer.operation.rowwise
        width = layer.width if rowwise else None
        tape = activation_tape(layer.operation, layer.parameters, width, 2)
        z, a = f"layers.{i}.z", f"layers.{i}.a"
        answer = self.answer
        rows = [part[n] if rowwise else part[n, j : j + 1]
                for part in (answer.values[z], answer.tangents[z], answer.gradients[a],
                             answer.products[a])]  # fmt: skip
        slopes = tape.evaluate_with_arb(_balls(rows[0]), self._negligible).slopes
        return what(slopes, j if rowwise else 0, *map(_balls, rows[1:]))

    @staticmethod
    def _tangent(slopes: _Rows, j: int, tz: list[Ball], da: list[Ball], tda: list[Ball]) -> Ball:
        return _sum(slope * t for slope, t in zip(slopes[j], tz, strict=True))

    @staticmethod
    def _product(slopes: _Rows, j: int, tz: list[Ball], da: list[Ball], tda: list[Ball]) -> Ball:
        pairs = [d * t for d in da for t in tz]
        cotangents = [*tda, *pairs]
        return _sum(
            c * row[j] for c, row in zip(cotangents, slopes, strict=True) if not c.is_zero()
        )

    def _loss(self, entry: tuple[int, ...]) -> Ball:
        problem, (n, j) = self.problem, entry
        last = f"layers.{len(problem.network.layers) - 1}.a"
        y, ty = self.answer.values[last], self.answer.tangents[last]
        plan, width = LossPlan(problem, 2), y.shape[1]
        divisor = exact(1 if problem.network.reduction == "none" else exact_divisor(problem))
        weight = 1.0 if problem.weights is None else float(problem.weights[n])
        wanted = n * width + j if plan.elementwise else n
        for tape, rows, _, given in plan.groups:
            for k in np.flatnonzero(rows == wanted).tolist():
                at, along = (part.ravel()[wanted : wanted + 1] if plan.elementwise else part[n]
                             for part in (y, ty))  # fmt: skip
                rest = () if given is None else np.atleast_1d(given[k])
                slopes = tape.evaluate_with_arb(_balls((*at, *rest)), self._negligible).slopes[1:]
                column = 0 if plan.elementwise else j
                pairs = zip(_balls(along), slopes, strict=True)
                return _sum(t * row[column] for t, row in pairs) * arb(weight) / divisor
        raise AssertionError(f"no loss has the entry {entry}")


def _balls(numbers: Iterable[float]) -> list[Ball]:
    return [arb(float(v)) for v in numbers]


def _dot(left: Array, right: Array) -> Ball:
    return _sum(a * b for a, b in zip(_balls(left), _balls(right), strict=True))


def _sum(terms: Iterable[Ball]) -> Ball:
    return sum(terms, arb(0))
