"""An enclosure of a network's gradient under rounding: the certificate's walk with wider balls.

After every step its ball is widened by the rounding that is allowed there, and ball arithmetic
propagates it. So final gradients can be judged if an answer has nothing else. It also checks the
judge of single steps, because an answer that is right at every step lies in the enclosure. If
rounding may cross a kink, both branches are included. The balls widen with depth, so deep networks
cannot be judged this way.
"""

import numpy as np
import numpy.typing as npt
from flint import arb, arb_mat

from manual_backprop.network import Problem
from reference.arithmetic.balls import Ball, precision
from reference.arithmetic.point_derivative import PointDerivative
from reference.oracles.certified import CertifiedTensor, Doubles, NetworkWalk, Rows
from reference.rounding import RoundingUnit

_BITS = 128
_RESULTS = 4.0  # results that are rounded for a sum: a loss, its weight, the divisor, the sum


def enclose(problem: Problem, unit: RoundingUnit) -> dict[str, CertifiedTensor]:
    """Return the enclosure of the loss and of every cotangent, the loss first and then back."""
    with precision(_BITS), np.errstate(all="ignore"):
        return _EnclosedWalk(problem, unit).tensors


class _EnclosedWalk(NetworkWalk):
    """The walk with what rounding may add after each step."""

    def __init__(self, problem: Problem, unit: RoundingUnit) -> None:
        self.unit = unit
        super().__init__(problem)

    def product(
        self, left: arb_mat, right: arb_mat, terms: int, plus: list[Ball] | None = None
    ) -> list[Ball]:
        """Return the entries of left · right + plus, which may be off by terms · u · Σ|terms|."""
        sizes = [_sizes(m.entries()).reshape(m.nrows(), m.ncols()) for m in (left, right)]
        magnitude = (sizes[0] @ sizes[1]).ravel() + (0.0 if plus is None else _sizes(plus))
        return self._summed(super().product(left, right, terms, plus), terms, magnitude)

    def summed(self, balls: list[Ball], terms: int) -> list[Ball]:
        """Return the numbers as so many operations may round them."""
        return self._summed(balls, terms, _sizes(balls))

    def _summed(self, balls: list[Ball], terms: int, magnitude: Doubles) -> list[Ball]:
        unit = self.unit
        by = unit.allow_overflow(
            unit.sum_rounding(terms, magnitude) + unit.input_rounding(magnitude), magnitude
        )
        return _widened(balls, by + unit.k * unit.floor + unit.result_rounding(magnitude, _RESULTS))

    def total(self, parts: list[Ball], divisor: Ball) -> Ball:
        """Return the loss, a sum that may also be divided last and leave the range before."""
        unit, size = self.unit, _sizes(parts).sum()
        undivided = size * max(1.0, abs(float(divisor)))
        by = unit.allow_overflow(unit.sum_rounding(len(parts) + 1, size), undivided)
        return _widened([super().total(parts, divisor)], by + unit.result_rounding(size))[0]

    def rounded(
        self, rows: Rows, inputs: list[Ball], reach: bool, besides: float | None = None
    ) -> Rows:
        """Return the operations with their values and slopes as they may be rounded.

        If an input may overflow, the slope there may be NaN, so it is not bounded.
        """
        unit, sizes = self.unit, _sizes(inputs).reshape(len(rows), -1)
        outputs = len(rows[0])
        lost = np.where(np.isfinite(sizes).all(axis=1), 0.0, np.inf)
        largest = sizes.max(axis=1)
        across = largest if reach else np.zeros(len(rows))
        if besides is not None:
            largest = np.full(len(rows), max(largest.max(), besides))
        flat = [one for row in rows for one in row]
        values = [one.value for one in flat]
        known = _sizes(values)
        allowed = unit.value(known, np.repeat(largest, outputs)) + unit.result_rounding(known)
        values = _widened(values, unit.allow_overflow(allowed, known))
        slopes = [slope for one in flat for slope in one.slopes]
        each = len(slopes) // len(rows)
        off = unit.slope(_sizes(slopes), np.repeat(across, each)) + np.repeat(lost, each)
        wide, k = _widened(slopes, off), len(flat[0].slopes)
        made = [
            PointDerivative(value, wide[i * k : (i + 1) * k], one.decisions)
            for i, (one, value) in enumerate(zip(flat, values, strict=True))
        ]
        return [made[i : i + outputs] for i in range(0, len(made), outputs)]


def _widened(balls: list[Ball], by: npt.ArrayLike) -> list[Ball]:
    return [b + arb(0, float(r)) for b, r in zip(balls, np.ravel(by), strict=True)]


def _sizes(balls: list[Ball]) -> Doubles:
    """Return the largest magnitude in each ball; infinite for NaN."""
    sizes = np.array([float(b.abs_upper()) for b in balls])
    return np.where(np.isnan(sizes), np.inf, sizes)
