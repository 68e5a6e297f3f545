"""x̂ = (x - μ)/σ over groups of numbers, with its slope and how that moves (see LayerNorm)."""

from collections.abc import Sequence

import numpy as np

from manual_backprop.arithmetic import Backend, Math, N, Tensor
from manual_backprop.operation import FloatArray

EPSILONS = (2.0**-17, 2.0**-21, 2.0**-7)
"""Near 1e-5 and 1e-6, and exact in float32. 1/√ε, by which a constant x is divided, is rounded."""


def standardised(x: FloatArray, axes: tuple[int, ...], eps: float) -> tuple[FloatArray, FloatArray]:
    """Return x̂ = (x - μ)/σ and σ of the groups that lie along the axes.

    The first number of each group is subtracted before the mean is taken. What rounding then
    loses is measured by the spread of the group, not by its distance from zero, and numbers that
    are all equal give an exact 0.
    """
    first = x[tuple(slice(0, 1) if k in axes else slice(None) for k in range(x.ndim))]
    shifted = x - first
    centred = shifted - shifted.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    return centred / deviation, deviation


def from_standardised(
    g: FloatArray,
    normalised: FloatArray,
    deviation: FloatArray,
    axes: tuple[int, ...],
    eps: float,
) -> FloatArray:
    """Return dx = g - mean(g) - x̂ mean(g x̂) from g = dx̂/σ, dx̂ the cotangent of x̂ (see LayerNorm).

    dx is linear in dx̂, so 1/σ may stand before the means. With g = (γ/σ) dy no digit is lost where
    γ dy leaves the range and dx does not.

    Of two numbers x̂ is (a, -a) with a² = 1 - ε/σ², and g - mean(g) is (d, -d): the difference is
    d - d a² = d ε/σ², of which subtracting leaves no digit where ε is small.
    """
    centred = g - g.mean(axis=axes, keepdims=True)
    if normalised.size == 2 * deviation.size:
        few: FloatArray = centred * (eps / (deviation * deviation))
        return few
    along = (g * normalised).mean(axis=axes, keepdims=True)
    dx: FloatArray = centred - normalised * along
    return dx


class Standardised:
    """x̂ and σ of the groups along the axes, and how they move as x does.

    ∂x̂/∂x is symmetric, so x̂ moves by dx's formula with tx for g, and σ by mean(x̂ tx), from
    ∂σ/∂x_k = x̂_k/D (see LayerNorm).
    """

    def __init__(self, x: FloatArray, tx: FloatArray, axes: tuple[int, ...], eps: float) -> None:
        self.normalised, self.deviation = standardised(x, axes, eps)
        self._axes, self._eps = axes, eps
        self.tangent = self._pulled(tx)
        self._moves = (self.normalised * tx).mean(axis=axes, keepdims=True) / self.deviation

    def _pulled(self, g: FloatArray) -> FloatArray:
        over = g / self.deviation
        return from_standardised(over, self.normalised, self.deviation, self._axes, self._eps)

    def second(self, g: FloatArray, tg: FloatArray) -> FloatArray:
        """Return how dx = (g - mean(g) - x̂ mean(g x̂))/σ moves as g moves by tg.

        The bracket moves in its three places, and 1/σ by -tσ/σ of itself:

            tdx = (tg - mean(tg) - x̂ mean(tg x̂) - tx̂ mean(g x̂) - x̂ mean(g tx̂))/σ - dx tσ/σ

        Of two numbers dx is (g - mean(g)) ε/σ³, which moves by the first part and -3 dx tσ/σ.
        """
        dx, moved = self._pulled(g), self._pulled(tg)
        tdx: FloatArray
        if self.normalised.size == 2 * self.deviation.size:
            tdx = moved - 3.0 * dx * self._moves
            return tdx
        turned = projections(g, self.normalised, self.tangent, self._axes)
        tdx = moved - turned / self.deviation - dx * self._moves
        return tdx


def projections(
    g: FloatArray, normalised: FloatArray, moved: FloatArray, axes: tuple[int, ...]
) -> FloatArray:
    """Return tx̂ mean(g x̂) + x̂ mean(g tx̂)."""
    along, turned = ((g * part).mean(axis=axes, keepdims=True) for part in (normalised, moved))
    both: FloatArray = moved * along + normalised * turned
    return both


def standardised_definition(m: Math[N], x: Sequence[N], eps: N) -> list[N | float]:
    """Return (x_i - μ)/√(v + ε) over the arithmetic m."""
    mean = sum(x[1:], x[0]) / m.number(len(x))
    centred = [x_i - mean for x_i in x]
    squares = [c * c for c in centred]
    deviation = m.sqrt(sum(squares[1:], squares[0]) / m.number(len(x)) + eps)
    return [c / deviation for c in centred]


def standardised_composition(xp: Backend, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Return x̂ by the framework's own primitives."""
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    variance = xp.mean(centred * centred, axis=axes, keepdims=True)
    return centred / xp.sqrt(variance + eps)
