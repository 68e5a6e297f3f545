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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from flint import arb, arb_mat

from manual_backprop.network import Problem
from manual_backprop.operation import Activation, FloatArray
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import PointDerivative, at_number, at_row, constants
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


LayerDerivatives = list[Any]
"""The derivatives of an activation at a batch: a PointDerivative for each number, or for operations
on rows a list of them for each row, one for each output."""


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
            run = _sweep(problem, bits)
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


def _sweep(problem: Problem, bits: int) -> Certificate:
    """Compute forward and backward once, at the precision that is set."""
    network, n = problem.network, problem.batch
    below, derivatives, weights = [], [], []
    a, a_width = numbers(problem.x), network.input_width
    for i, layer in enumerate(network.layers):
        weight = arb_mat(a_width, layer.width, numbers(problem.parameters[f"layers.{i}.weight"]))
        z = (arb_mat(n, a_width, a) * weight).entries()
        bias = problem.parameters.get(f"layers.{i}.bias")
        if bias is not None:
            b = numbers(bias) * n
            z = [p + q for p, q in zip(z, b, strict=True)]
        local, values = activate(layer.operation, layer.parameters, z, layer.width)
        below.append(a)
        derivatives.append(local)
        weights.append(weight)
        a, a_width = values, layer.width
    losses = losses_at(problem, a)
    scales, loss = _reduce(problem, losses)
    tensors = {"loss": loss, **_backward(problem, below, derivatives, weights, losses, scales)}
    # One evaluation gives a whole row, with one list of decisions for all of its outputs.
    every = [one[0] if isinstance(one, list) else one for local in derivatives for one in local]
    return Certificate(bits, tensors, [*every, *losses])


def _backward(
    problem: Problem,
    below: list[list[Ball]],
    derivatives: list[LayerDerivatives],
    weights: list[arb_mat],
    losses: list[PointDerivative],
    scales: list[Ball],
) -> dict[str, CertifiedTensor]:
    network, n = problem.network, problem.batch
    width = network.widths[-1]
    if network.loss_operation.elementwise:
        da = [local.slope * scales[k // width] for k, local in enumerate(losses)]
    else:
        da = [s * c for local, c in zip(losses, scales, strict=True) for s in local.slope]
    tensors: dict[str, CertifiedTensor] = {}
    for i in reversed(range(len(derivatives))):
        ran, layer, d_in, d_out = derivatives[i], network.layers[i], *network.widths[i : i + 2]
        tensors[f"layers.{i}.a"] = CertifiedTensor((n, d_out), da)
        if layer.operation.rowwise:
            dz = [d for k, row in enumerate(ran) for d in pull(row, da[k * d_out :])]
        else:
            dz = [d * local.slope for d, local in zip(da, ran, strict=True)]
        tensors[f"layers.{i}.z"] = CertifiedTensor((n, d_out), dz)
        cotangent = arb_mat(n, d_out, dz)
        back = arb_mat(n, d_in, below[i]).transpose()
        tensors[f"layers.{i}.weight"] = CertifiedTensor((d_in, d_out), (back * cotangent).entries())
        if layer.bias:
            column_sums = [sum(dz[j + d_out :: d_out], dz[j]) for j in range(d_out)]
            tensors[f"layers.{i}.bias"] = CertifiedTensor((d_out,), column_sums)
        da = (cotangent * weights[i].transpose()).entries()
    tensors["x"] = CertifiedTensor((n, network.input_width), da)
    return tensors


def pull(row: list[PointDerivative], da: list[Ball]) -> list[Ball]:
    """Return Σ_i da_i ∂y_i/∂z_j for each j of a row."""
    columns = range(len(row[0].slope))
    return [sum((da[i] * y.slope[j] for i, y in enumerate(row)), arb(0)) for j in columns]


def activate(
    operation: Activation, parameters: Mapping[str, float], z: list[Ball], width: int
) -> tuple[LayerDerivatives, list[Ball]]:
    """Return the derivatives of an activation at a batch, and its values as a flat list."""
    arguments = constants(parameters)
    if operation.rowwise:
        rows = [
            at_row(operation.definition, z[k : k + width], (), arguments)
            for k in range(0, len(z), width)
        ]
        return rows, [y.value for row in rows for y in row]
    local = [at_number(operation.definition, v, (), arguments) for v in z]
    return local, [y.value for y in local]


def losses_at(problem: Problem, prediction: list[Ball]) -> list[PointDerivative]:
    """Return the losses with their slopes, one for each number (elementwise) or row."""
    operation, width = problem.network.loss_operation, problem.network.widths[-1]
    targets = problem.targets
    labels = np.issubdtype(targets.dtype, np.integer)
    arguments = constants(problem.network.loss_parameters)
    arrays = {name: (operation.arrays[name], numbers(v)) for name, v in problem.arrays.items()}
    t = targets.tolist() if labels else numbers(targets)
    found: list[PointDerivative] = []
    for n in range(problem.batch):
        row = slice(n * width, (n + 1) * width)
        if not operation.elementwise:
            own: dict[str, object] = {
                k: v if kind == "classes" else v[row] for k, (kind, v) in arrays.items()
            }
            before = (t[n] if labels else t[row],)
            given = {**arguments, **own}
            found.append(at_row(operation.definition, prediction[row], before, given)[0])
            continue
        for j in range(width):
            k = n * width + j
            own = {k_: v[j if kind == "classes" else k] for k_, (kind, v) in arrays.items()}
            given = {**arguments, **own}
            found.append(at_number(operation.definition, prediction[k], (t[k],), given))
    return found


def _reduce(problem: Problem, losses: list[PointDerivative]) -> tuple[list[Ball], CertifiedTensor]:
    """Return ∂loss/∂(each sample's loss), and the loss."""
    n, elementwise = problem.batch, problem.network.loss_operation.elementwise
    weights = [arb(1)] * n if problem.weights is None else numbers(problem.weights)
    each = problem.network.widths[-1] if elementwise else 1
    weighted = [local.value * weights[k // each] for k, local in enumerate(losses)]
    if problem.network.reduction == "none":
        return weights, CertifiedTensor((n, each) if elementwise else (n,), weighted)
    divisor = exact(exact_divisor(problem))
    return [w / divisor for w in weights], CertifiedTensor(
        (), [sum(weighted[1:], weighted[0]) / divisor]
    )


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
