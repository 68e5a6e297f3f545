"""The certified gradient of a network, by ball arithmetic.

Forward, each operation's `definition` is evaluated with balls, together with its slopes. Backward,
cotangents are multiplied by slopes and by the matrices of the dense layers. This reverse mode uses
only the definitions, so it shares no derivation with the hand-written backward.

Every number has an error bound. The precision is raised until each result is decided: it has 30
digits, or its radius is below 2^-30 of the smallest subnormal number, or it is exactly at a kink,
where its ball is the interval of all right slopes. If the highest precision does not decide it, the
ball stays wide.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from flint import arb, arb_mat

from manual_backprop.network import Layer, Problem
from manual_backprop.operation import FloatArray, is_float
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import PointDerivative, at_point, constants
from reference.formats import format_of

FIRST_BITS = 192
MAX_BITS = 8192
_ENOUGH_BITS = 104  # 30 digits are 99.7 bits
# With this precision a result that is not finite stays so, for example log 0. With fewer bits the
# ball of a small positive number may contain 0, so that its logarithm is not finite.
_NOT_FINITE_BITS = 2048

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CertifiedTensor:
    """The balls of one tensor, flat, and its shape."""

    shape: tuple[int, ...]
    balls: list[Ball]

    @cached_property
    def high(self) -> Doubles:
        """The midpoints rounded to float64."""
        return self._array(map(float, self.balls))

    @cached_property
    def low(self) -> Doubles:
        """The rounding errors of `high`: high + low is right to 32 digits."""
        pairs = zip(self.balls, self.high.ravel().tolist(), strict=True)
        return self._array(float(b - h) if abs(h) < np.inf else 0.0 for b, h in pairs)

    @cached_property
    def radius(self) -> Doubles:
        """The radii, rounded up."""
        return self._array(upward(b) for b in self.balls)

    def ball(self, entry: tuple[int, ...] = ()) -> Ball:
        """Return the ball of one entry."""
        return self.balls[int(np.ravel_multi_index(entry, self.shape)) if entry else 0]

    def contains(self, answer: FloatArray) -> npt.NDArray[np.bool_]:
        """Return where the ball contains the answer."""
        flat = np.asarray(answer).ravel().tolist()
        return self._array(
            (b.contains(arb(v)) for b, v in zip(self.balls, flat, strict=True)), bool
        )

    def distance(self, answer: FloatArray) -> Doubles:
        """Return |answer - midpoint|, subtracted in twice float64's precision."""
        with np.errstate(all="ignore"):
            # The first difference is exact if the two are near (Sterbenz's lemma).
            return np.abs((np.asarray(answer, np.float64) - self.high) - self.low)

    def _array(self, values: Iterable[float], dtype: npt.DTypeLike = np.float64) -> np.ndarray:
        return np.fromiter(values, dtype, len(self.balls)).reshape(self.shape)


Rows = list[list[PointDerivative]]
"""An operation at a batch: of each row, or of each number, a PointDerivative for each output."""


@dataclass(frozen=True)
class Certificate:
    """The certified loss and cotangents of a problem, and the derivatives of all its operations."""

    bits: int
    tensors: Mapping[str, CertifiedTensor]
    operations: list[PointDerivative]

    def __getitem__(self, name: str) -> CertifiedTensor:
        return self.tensors[name]

    def undecided_branches(self) -> Iterator[bool]:
        """Yield for each undecided branch whether more precision could decide it.

        If it could not, the number that decides is exactly zero: the operation is at a kink.
        """
        for local in self.operations:
            yield from (not d.tie for d in local.decisions if d.taken is None)


def certify(problem: Problem) -> Certificate:
    """Return the certified loss and cotangents, at a precision that decides them."""
    negligible = exact(format_of(problem.dtype).smallest) / 2**30
    bits, previous = FIRST_BITS, None
    while True:
        with precision(bits):
            walk = NetworkWalk(problem)
            run = Certificate(bits, walk.tensors, walk.operations)
            state = _state(run, previous, negligible)
        if state == "decided" or bits >= MAX_BITS:
            return run
        bits, previous = min(4 * bits, MAX_BITS), run


def _state(
    run: Certificate, previous: Certificate | None, negligible: Ball
) -> Literal["decided", "undecided"]:
    """Say whether every ball is narrow, or wide only because of a kink."""
    undecided = wide = False
    for name, tensor in run.tensors.items():
        for i, ball in enumerate(tensor.balls):
            if _narrow(ball, negligible):
                continue
            if not ball.is_finite():
                undecided |= run.bits < _NOT_FINITE_BITS
                continue
            # More bits make the ball of a number smaller, but not the interval of slopes at a kink.
            before = previous.tensors[name].balls[i] if previous else None
            if before is None or ball.rad() * 2 < before.rad() or not before.is_finite():
                return "undecided"
            wide = True
    if wide:
        undecided |= any(run.undecided_branches())
    return "undecided" if undecided else "decided"


def _narrow(ball: Ball, negligible: Ball) -> bool:
    if ball.rel_accuracy_bits() >= _ENOUGH_BITS:
        return True
    return bool(ball.rad() < negligible) and ball.is_finite()


# -- the two walks ------------------------------------------------------------------------------


class NetworkWalk:
    """The two walks of a network over balls, at the precision that is set.

    `tensors` has the loss and then, from the last layer to the first, every cotangent;
    `operations` has the activations and losses at their inputs. A subclass may widen what
    `product`, `summed`, `total` and `rounded` return.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, n = problem, problem.batch
        self.tensors: dict[str, CertifiedTensor] = {}
        self.operations: list[PointDerivative] = []
        layers: list[tuple[Layer, arb_mat, arb_mat, Rows]] = []
        a = arb_mat(n, problem.network.input_width, numbers(problem.x))
        for i, layer in enumerate(problem.network.layers):
            weight = problem.parameters[f"layers.{i}.weight"]
            bias = problem.parameters.get(f"layers.{i}.bias")
            w = arb_mat(len(weight), layer.width, numbers(weight))
            plus = None if bias is None else numbers(bias) * n
            z = self.product(a, w, len(weight) + 1, plus)
            rows = self._activated(layer, z)
            layers.append((layer, a, w, rows))
            a = arb_mat(n, layer.width, [one.value for row in rows for one in row])
        da = self._loss(a.entries())
        for i, (layer, a, w, rows) in reversed(list(enumerate(layers))):
            da = self._back(f"layers.{i}", layer, a, w, rows, da)
        self.tensors["x"] = CertifiedTensor(problem.x.shape, da)

    # -- what rounding may widen ----------------------------------------------------------------

    def product(
        self, left: arb_mat, right: arb_mat, terms: int, plus: list[Ball] | None = None
    ) -> list[Ball]:
        """Return the entries of left · right + plus, sums of so many terms."""
        entries: list[Ball] = (left * right).entries()
        return entries if plus is None else [p + q for p, q in zip(entries, plus, strict=True)]

    def summed(self, balls: list[Ball], terms: int) -> list[Ball]:
        """Return numbers that are products of so many factors, or sums of so many terms."""
        return balls

    def total(self, parts: list[Ball], divisor: Ball) -> Ball:
        """Return the sum of the parts of the loss, which were divided before."""
        return sum(parts[1:], parts[0])

    def rounded(
        self, rows: Rows, inputs: list[Ball], reach: bool, besides: float | None = None
    ) -> Rows:
        """Return operations at their inputs, with values and slopes as they may be rounded.

        `reach`: a slope may be multiplied by the input. `besides`: the size of a loss's others.
        """
        return rows

    # -- the steps ------------------------------------------------------------------------------

    def _activated(self, layer: Layer, z: list[Ball]) -> Rows:
        rowwise, arguments = layer.operation.rowwise, constants(layer.parameters)
        width = layer.width
        points: Sequence[Any] = (
            [z[k : k + width] for k in range(0, len(z), width)] if rowwise else z
        )
        rows = [at_point(layer.operation.definition, at, (), arguments) for at in points]
        # One evaluation gives a whole row, with one list of decisions for all of its outputs.
        self.operations += [row[0] for row in rows]
        return self.rounded(rows, z, not rowwise)

    def _loss(self, prediction: list[Ball]) -> list[Ball]:
        """Add the loss to `tensors`; return the cotangent of the prediction."""
        problem, n = self.problem, self.problem.batch
        elementwise = problem.network.loss_operation.elementwise
        each = problem.network.widths[-1] if elementwise else 1
        none = problem.network.reduction == "none"
        divisor = arb(1) if none else exact(exact_divisor(problem))
        weights = [arb(1)] * n if problem.weights is None else numbers(problem.weights)
        scales = [weight / divisor for weight in weights for _ in range(each)]
        rows = losses_at(problem, prediction)
        self.operations += [row[0] for row in rows]
        others = [v for v in (problem.targets, *problem.arrays.values()) if is_float(v)]
        largest = max((np.abs(v).max(initial=0.0) for v in others), default=0.0)
        losses = [row[0] for row in self.rounded(rows, prediction, False, largest)]
        pairs = list(zip(losses, scales, strict=True))
        parts = self.summed([one.value * scale for one, scale in pairs], n + 4)
        shape: tuple[int, ...] = (n, each) if elementwise else (n,)
        self.tensors["loss"] = (
            CertifiedTensor(shape, parts)
            if none
            else CertifiedTensor((), [self.total(parts, divisor)])
        )
        return self.summed([slope * scale for one, scale in pairs for slope in one.slopes], n + 4)

    def _back(
        self, name: str, layer: Layer, below: arb_mat, weight: arb_mat, rows: Rows, da: list[Ball]
    ) -> list[Ball]:
        """Add the cotangents of a layer to `tensors`; return that of the layer below."""
        n, (d_in, d_out) = self.problem.batch, (weight.nrows(), weight.ncols())
        if layer.operation.rowwise:
            dz = [
                d
                for k, row in enumerate(rows)
                for d in self.product(
                    arb_mat(1, d_out, da[k * d_out : (k + 1) * d_out]),
                    arb_mat([one.slopes for one in row]),
                    d_out + 2,
                )
            ]
        else:
            dz = self.summed([d * row[0].slopes[0] for d, row in zip(da, rows, strict=True)], 1)
        cotangent = arb_mat(n, d_out, dz)
        found = {
            "a": CertifiedTensor((n, d_out), da),
            "z": CertifiedTensor((n, d_out), dz),
            "weight": CertifiedTensor(
                (d_in, d_out), self.product(below.transpose(), cotangent, n + 1)
            ),
        }
        if layer.bias:
            ones = arb_mat(1, n, [arb(1)] * n)
            found["bias"] = CertifiedTensor((d_out,), self.product(ones, cotangent, n))
        self.tensors |= {f"{name}.{part}": tensor for part, tensor in found.items()}
        return self.product(cotangent, weight.transpose(), d_out)


def losses_at(problem: Problem, prediction: list[Ball]) -> Rows:
    """Return the losses with their slopes, one for each number (elementwise) or row."""
    operation, width = problem.network.loss_operation, problem.network.widths[-1]
    elementwise, labels = operation.elementwise, problem.targets.dtype.kind in "iu"
    arguments = constants(problem.network.loss_parameters)
    t = problem.targets.tolist() if labels else numbers(problem.targets)
    arrays = {
        name: numbers(np.broadcast_to(v, (problem.batch, width)))
        for name, v in problem.arrays.items()
    }
    found = []
    for k in range(0, len(prediction), 1 if elementwise else width):
        at: Any = k if elementwise else slice(k, k + width)
        own = {name: v[at] for name, v in arrays.items()}
        before = (t[k // width] if labels else t[at],)
        found.append(at_point(operation.definition, prediction[at], before, {**arguments, **own}))
    return found


def exact_divisor(problem: Problem) -> Fraction:
    """Return the exact divisor of the sum of the losses, from the definition of the count."""
    match problem.network.reduction:
        case "mean":
            operation, width = problem.network.loss_operation, problem.network.widths[-1]
            if operation.count_definition is None:
                return Fraction(problem.batch * (width if operation.elementwise else 1))
            arrays = {name: _fractions(value) for name, value in problem.arrays.items()}
            arguments = {**problem.network.loss_parameters, **arrays}
            return Fraction(operation.count_definition(problem.targets, **arguments))
        case "batch_mean":
            return Fraction(problem.batch)
        case _:
            return Fraction(1)


def _fractions(array: FloatArray) -> np.ndarray:
    return np.array([Fraction(v) for v in array.ravel().tolist()], object).reshape(array.shape)


def numbers(array: FloatArray) -> list[Ball]:
    """Return the floats of an array as exact balls, in a flat list."""
    return [arb(v) for v in array.ravel().tolist()]


def upward(ball: Ball) -> float:
    """Return a ball's radius, rounded up."""
    if ball.is_exact():
        return 0.0
    radius = float(ball.rad()) if ball.is_finite() else math.inf
    return math.nextafter(radius, math.inf)
