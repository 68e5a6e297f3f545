"""x̂ = (x - μ)/σ over groups of numbers, with its first and second derivatives (see LayerNorm)."""

from collections.abc import Callable, Sequence

import numpy as np

from manual_backprop.arithmetic import Backend, IntArray, Math, N, Tensor
from manual_backprop.operation import FloatArray

EPSILONS = (2.0**-17, 2.0**-21, 2.0**-7)
"""Near 1e-5 and 1e-6, and exact in float32. 1/√ε, by which a constant x is divided, is rounded."""

LOWEST = -(2**17)
"""The exponent of a 0: below all others, also those of products of two long doubles."""


def standardised(x: FloatArray, axes: tuple[int, ...], eps: float) -> tuple[FloatArray, FloatArray]:
    """Return x̂ = (x - μ)/σ and σ of the groups that lie along the axes.

    The rounded mean is subtracted, and then the mean of the differences (Chan, Golub and LeVeque,
    1983). So the rounding error is relative to the spread of the group, not to its distance from
    zero. If the rounded mean is above the largest or below the smallest number, that number is
    subtracted instead, so that equal numbers give an exact 0.
    """
    x, exponent = scaled(x, axes)
    low, mean, high = (of(x, axis=axes, keepdims=True) for of in (np.min, np.mean, np.max))
    centred = x - np.minimum(np.maximum(mean, low), high)
    centred = centred - centred.mean(axis=axes, keepdims=True)
    return over_root(centred, axes, eps, exponent)


def over_root(
    x: FloatArray,
    axes: tuple[int, ...],
    eps: float,
    exponent: IntArray | int = 0,
    total: Callable[..., FloatArray] = np.mean,
) -> tuple[FloatArray, FloatArray]:
    """Return z/ρ and ρ = √(mean(z²) + ε) of the groups of z = x 2^exponent.

    `total` may be a sum instead of the mean. z² may overflow or underflow, and z as well.
    """
    p, exponent = scaled(x, axes, exponent)
    squares = total(p * p, axis=axes, keepdims=True)
    root = np.sqrt(squares + np.ldexp(x.dtype.type(eps), -2 * exponent))
    return p / root, np.ldexp(root, exponent)


def scaled(
    x: FloatArray, axes: tuple[int, ...], exponent: IntArray | int = 0, least: int = 0
) -> tuple[FloatArray, IntArray]:
    """Return p and e with x 2^exponent = p 2^e, e an integer for each group along the axes.

    The largest |p| of a group is between 1/2 and 1, or less if e is the least that it may be. A
    power of two changes no digit. Where p underflows, the error is negligible compared with the
    largest.
    """
    _, of_x = np.frexp(x)
    exponents = np.where(x == 0, LOWEST, of_x + exponent)
    largest = np.maximum(exponents.max(axis=axes, keepdims=True), least)
    return np.ldexp(x, exponent - largest), largest


def scaled_product(
    a: FloatArray, b: FloatArray, axes: tuple[int, ...] = ()
) -> tuple[FloatArray, IntArray]:
    """Return a b = p 2^e like `scaled`, also where a b itself overflows or underflows."""
    (a, of_a), (b, of_b) = np.frexp(a), np.frexp(b)
    return scaled(a * b, axes, of_a + of_b, LOWEST)


def divided(p: FloatArray, exponent: IntArray, divisor: FloatArray) -> FloatArray:
    """Return p 2^e/divisor; no intermediate number overflows if the result does not."""
    divisor, of_divisor = np.frexp(divisor)
    quotient: FloatArray = np.ldexp(p / divisor, exponent - of_divisor)
    return quotient


def divided_by_cube(
    p: FloatArray, exponent: IntArray, deviation: FloatArray, eps: float
) -> FloatArray:
    """Return p 2^e ε/σ³ with σ = s 2^k, because ε/σ² by itself may overflow or underflow."""
    s, k = np.frexp(deviation)
    return divided(p * (eps / (s * s)), exponent - 2 * k, deviation)


def from_standardised(
    dy: FloatArray,
    weight: FloatArray,
    normalised: FloatArray,
    deviation: FloatArray,
    axes: tuple[int, ...],
    eps: float,
) -> FloatArray:
    """Return dx = (g - mean(g) - x̂ mean(g x̂))/σ, g = γ dy the cotangent of x̂ (see LayerNorm).

    g is a `scaled_product`; dx is linear in g, so the power of two is applied at the end.

    For groups of two numbers, x̂ = (a, -a) with a² = 1 - ε/σ² and g - mean(g) = (d, -d). Then the
    difference is d - d a² = d ε/σ². It is computed in this form, because for small ε the
    subtraction would lose all digits.
    """
    g, exponent = scaled_product(dy, weight, axes)
    left = g - g.mean(axis=axes, keepdims=True)
    if normalised.size == 2 * deviation.size:
        return divided_by_cube(left, exponent, deviation, eps)
    left = left - normalised * (left * normalised).mean(axis=axes, keepdims=True)
    return divided(left, exponent, deviation)


class Standardised:
    """x̂ and σ of the groups along the axes, and their tangents.

    ∂x̂/∂x is symmetric, so the tangent of x̂ is the formula of dx with tx for g. That of σ is
    mean(x̂ tx), from ∂σ/∂x_k = x̂_k/D (see LayerNorm).
    """

    def __init__(self, x: FloatArray, tx: FloatArray, axes: tuple[int, ...], eps: float) -> None:
        self.normalised, self.deviation = standardised(x, axes, eps)
        self._axes, self._eps = axes, eps
        self.tangent = self._pulled(tx, np.ones((), x.dtype))
        self._tangent_of_log_deviation = (self.normalised * tx).mean(
            axis=axes, keepdims=True
        ) / self.deviation

    def _pulled(self, dy: FloatArray, weight: FloatArray) -> FloatArray:
        return from_standardised(dy, weight, self.normalised, self.deviation, self._axes, self._eps)

    def second(self, dy: FloatArray, weight: FloatArray, tweight: FloatArray) -> FloatArray:
        """Return the directional derivative of dx = (g - mean(g) - x̂ mean(g x̂))/σ, dy constant.

        The tangent of g = γ dy is tg = tγ dy, and that of 1/σ is -tσ/σ²:

            tdx = (tg - mean(tg) - x̂ mean(tg x̂) - tx̂ mean(g x̂) - x̂ mean(g tx̂))/σ - dx tσ/σ
        """
        dx, of_weight = self._pulled(dy, weight), self._pulled(dy, tweight)
        turned = projections(dy, weight, self.normalised, self.tangent, self.deviation, self._axes)
        tdx: FloatArray = of_weight - turned - dx * self._tangent_of_log_deviation
        return tdx


def projections(
    dy: FloatArray,
    weight: FloatArray,
    normalised: FloatArray,
    tangent: FloatArray,
    deviation: FloatArray,
    axes: tuple[int, ...],
) -> FloatArray:
    """Return (tx̂ mean(g x̂) + x̂ mean(g tx̂))/σ with g = γ dy."""
    g, exponent = scaled_product(dy, weight, axes)
    along, turned = ((g * part).mean(axis=axes, keepdims=True) for part in (normalised, tangent))
    return divided(tangent * along + normalised * turned, exponent, deviation)


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
