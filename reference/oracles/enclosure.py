"""An enclosure of a network's gradient under rounding: the certificate's walk with wider balls.

After every step its ball is widened by the rounding that is allowed there, and ball arithmetic
propagates it. So final gradients can be judged if an answer has nothing else. It also checks the
judge of single steps, because an answer that is right at every step lies in the enclosure. If
rounding may cross a kink, both branches are included. The balls widen with depth, so deep networks
cannot be judged this way.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from flint import arb, arb_mat

from manual_backprop.network import Problem
from manual_backprop.operation import FloatArray, is_float
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import PointDerivative
from reference.oracles.certified import (
    CertifiedTensor,
    Doubles,
    LayerDerivatives,
    activate,
    exact_divisor,
    losses_at,
    numbers,
    pull,
)
from reference.rounding import RoundingUnit

_BITS = 128
_RESULTS = 4.0  # results that are rounded for a sum: a loss, its weight, the divisor, the sum


def enclose(problem: Problem, unit: RoundingUnit) -> dict[str, CertifiedTensor]:
    """Return the enclosure of the loss and of every cotangent, the loss first and then back."""
    with precision(_BITS), np.errstate(all="ignore"):
        return _EnclosedWalk(problem, unit).tensors


class _EnclosedWalk:
    """The walk forward and back; `tensors` has its results."""

    def __init__(self, problem: Problem, unit: RoundingUnit) -> None:
        self.problem, self.unit = problem, unit
        self.tensors: dict[str, CertifiedTensor] = {}
        a, rows = numbers(problem.x), problem.batch
        below, local = [], []
        for i, layer in enumerate(problem.network.layers):
            weight = problem.parameters[f"layers.{i}.weight"]
            bias = problem.parameters.get(f"layers.{i}.bias")
            z = self._product(a, rows, weight)
            magnitude = _sizes(a).reshape(rows, -1) @ np.abs(weight.astype(np.float64))
            if bias is not None:
                z = [p + q for p, q in zip(z, numbers(bias) * rows, strict=True)]
                magnitude = magnitude + np.abs(bias)
            z = self._summed(z, len(weight) + 1, magnitude)
            below.append(a)
            found, a = activate(layer.operation, layer.parameters, z, layer.width)
            across = np.zeros(1) if layer.operation.rowwise else _sizes(z)
            sizes = _sizes(z).reshape(rows, -1)
            if layer.operation.rowwise:
                sizes = np.broadcast_to(sizes.max(-1, keepdims=True), sizes.shape)
            a = self._widened(a, self._value(a, sizes.ravel()))
            self._slopes(found, across, z)
            local.append(found)
        self._back(*self._loss(a), below, local)

    # -- what rounding adds -------------------------------------------------------------------

    def _widened(self, balls: list[Ball], by: npt.ArrayLike) -> list[Ball]:
        return [b + arb(0, float(r)) for b, r in zip(balls, np.ravel(by), strict=True)]

    def _summed(self, balls: list[Ball], n: int, magnitude: Doubles | float) -> list[Ball]:
        unit = self.unit
        by = unit.allow_overflow(
            unit.sum_rounding(n, magnitude) + unit.input_rounding(magnitude), magnitude
        )
        return self._widened(
            balls, by + unit.k * unit.floor + unit.result_rounding(magnitude, _RESULTS)
        )

    def _value(self, balls: list[Ball], sizes: Doubles) -> Doubles:
        values = _sizes(balls)
        allowed = self.unit.value(values, sizes) + self.unit.result_rounding(values)
        found: Doubles = self.unit.allow_overflow(allowed, values)
        return found

    def _slopes(self, local: LayerDerivatives, across: Doubles, inputs: list[Ball]) -> None:
        """Widen the slopes of every operation in place.

        If an input may overflow, the slope there may be NaN, so it is not bounded.
        """
        flat = [one for row in local for one in (row if isinstance(row, list) else [row])]
        known = np.isfinite(_sizes(inputs)).reshape(len(local), -1).all(axis=1)
        lost = np.repeat(np.where(known, 0.0, np.inf), len(flat) // len(local))
        for k, one in enumerate(flat):
            slopes = one.slope if isinstance(one.slope, list) else [one.slope]
            reach = across[k] if len(across) > 1 else 0.0
            wide = self._widened(slopes, self.unit.slope(_sizes(slopes), reach) + lost[k])
            one.slope = wide if isinstance(one.slope, list) else wide[0]

    # -- the walk -----------------------------------------------------------------------------

    @staticmethod
    def _product(a: list[Ball], rows: int, weight: FloatArray) -> list[Ball]:
        left = arb_mat(rows, len(weight), a)
        entries: list[Ball] = (
            left * arb_mat(len(weight), weight.shape[1], numbers(weight))
        ).entries()
        return entries

    def _loss(self, a: list[Ball]) -> tuple[list[PointDerivative], list[Ball]]:
        """Add the loss to `tensors`; return its derivatives and the scale of every sample."""
        problem, unit = self.problem, self.unit
        n, operation = problem.batch, problem.network.loss_operation
        losses = losses_at(problem, a)
        none = problem.network.reduction == "none"
        divisor = arb(1) if none else exact(exact_divisor(problem))
        weights = [arb(1)] * n if problem.weights is None else numbers(problem.weights)
        scales = [w / divisor for w in weights]
        each = problem.network.widths[-1] if operation.elementwise else 1
        values = [one.value for one in losses]
        others = [v for v in (problem.targets, *problem.arrays.values()) if is_float(v)]
        largest = max([_sizes(a).max(), *(np.abs(v).max(initial=0.0) for v in others)])
        values = self._widened(values, self._value(values, np.full(len(values), largest)))
        parts = [v * scales[k // each] for k, v in enumerate(values)]
        sizes = _sizes(parts)
        parts = self._summed(parts, n + 4, sizes)
        if none:
            shape: tuple[int, ...] = (n, each) if operation.elementwise else (n,)
            self.tensors["loss"] = CertifiedTensor(shape, parts)
        else:
            whole = [sum(parts[1:], parts[0])]
            undivided = sizes.sum() * max(1.0, abs(float(divisor)))
            by = unit.allow_overflow(unit.sum_rounding(len(parts) + 1, sizes.sum()), undivided)
            by = by + unit.result_rounding(sizes.sum())
            self.tensors["loss"] = CertifiedTensor((), self._widened(whole, by))
        self._slopes(losses, np.zeros(1), a)
        return losses, scales

    def _back(
        self,
        losses: list[PointDerivative],
        scales: list[Ball],
        below: list[list[Ball]],
        local: list[LayerDerivatives],
    ) -> None:
        problem, network, n = self.problem, self.problem.network, self.problem.batch
        width = network.widths[-1]
        if network.loss_operation.elementwise:
            da = [one.slope * scales[k // width] for k, one in enumerate(losses)]
        else:
            da = [s * c for one, c in zip(losses, scales, strict=True) for s in one.slope]
        da = self._summed(da, n + 4, _sizes(da))
        for i in reversed(range(len(local))):
            name, layer, found = f"layers.{i}", network.layers[i], local[i]
            d_in, d_out = network.widths[i : i + 2]
            self.tensors[f"{name}.a"] = CertifiedTensor((n, d_out), da)
            rowwise = layer.operation.rowwise
            dz = self._through_rows(found, da, d_out) if rowwise else self._through(found, da)
            self.tensors[f"{name}.z"] = CertifiedTensor((n, d_out), dz)
            cotangent, sizes = arb_mat(n, d_out, dz), _sizes(dz).reshape(n, d_out)
            back = arb_mat(n, d_in, below[i]).transpose()
            magnitude = _sizes(below[i]).reshape(n, d_in).T @ sizes
            made = self._summed((back * cotangent).entries(), n + 1, magnitude)
            self.tensors[f"{name}.weight"] = CertifiedTensor((d_in, d_out), made)
            if layer.bias:
                sums = [sum(dz[j + d_out :: d_out], dz[j]) for j in range(d_out)]
                self.tensors[f"{name}.bias"] = CertifiedTensor(
                    (d_out,), self._summed(sums, n, sizes.sum(0))
                )
            weight = problem.parameters[f"{name}.weight"].T
            magnitude = sizes @ np.abs(weight.astype(np.float64))
            da = self._summed(self._product(dz, n, weight), d_out, magnitude)
        self.tensors["x"] = CertifiedTensor((n, network.input_width), da)

    def _through(self, found: LayerDerivatives, da: list[Ball]) -> list[Ball]:
        """Return dz of an elementwise activation."""
        dz = [d * one.slope for d, one in zip(da, found, strict=True)]
        return self._summed(dz, 1, _sizes(dz))

    def _through_rows(self, found: LayerDerivatives, da: list[Ball], width: int) -> list[Ball]:
        """Return dz of an activation on rows."""
        dz = [d for k, row in enumerate(found) for d in pull(row, da[k * width :])]
        magnitude = np.concatenate([
            _sizes(da[k * width : (k + 1) * width]) @ np.array([_sizes(one.slope) for one in row])
            for k, row in enumerate(found)
        ])  # fmt: skip
        return self._summed(dz, width + 2, magnitude)


def _sizes(balls: list[Ball]) -> Doubles:
    """Return the largest magnitude in each ball; infinite for NaN."""
    found: Callable[[Ball], float] = lambda b: float(b.abs_upper())  # noqa: E731
    sizes = np.array([found(b) for b in balls])
    return np.where(np.isnan(sizes), np.inf, sizes)
