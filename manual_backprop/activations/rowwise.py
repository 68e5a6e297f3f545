"""Over the last axis: softmax and its logarithm.

Shapes: x, y, dy (…, N, C); each row of C numbers by itself.
"""

import operator
from collections.abc import Callable
from functools import reduce
from itertools import accumulate

import numpy as np

from manual_backprop.arithmetic import Math, N
from manual_backprop.operation import FloatArray, activation, counterpart


def exponentials(x: FloatArray) -> FloatArray:
    """Return e^{x_i - max x} for each row.

    The difference rounds, and its exponential would be off by that rounding, hundreds of units in
    the last place far from the maximum. What the difference lost is computed (Knuth's two-sum)
    and multiplied back in: e^{s + r} = e^s (1 + r). At x = -inf, a class that is masked, r is NaN
    and e^s an exact 0.
    """
    top = x.max(axis=-1, keepdims=True)
    s = x - top
    back = s - x
    lost = (x - (s - back)) - (top + back)
    e: FloatArray = np.exp(s)
    return e + np.where(e == 0.0, e, e * lost)


def _probabilities(x: FloatArray) -> FloatArray:
    """Return the softmax of each row."""
    e = exponentials(x)
    p: FloatArray = e / e.sum(axis=-1, keepdims=True)
    return p


def centred(p: FloatArray, v: FloatArray, axis: int | tuple[int, ...] = -1) -> FloatArray:
    """Return v - Σ p v for rows p that sum to 1, v counted from that of a class with over half.

    Its own term is then exactly 0, and the sum is left to the small ones.
    """
    shifted = v - np.sum(v * (p > 0.5), axis=axis, keepdims=True)
    difference: FloatArray = shifted - np.sum(p * shifted, axis=axis, keepdims=True)
    return difference


def shifted_exponentials(m: Math[N], x: list[N]) -> tuple[list[N], list[N]]:
    """Return s_i = x_i - max x and e^{s_i} over the arithmetic m, to form what no shift changes."""
    top = reduce(m.max, x)
    s = [m.shifted(x_i, top) for x_i in x]
    return s, [m.exp(s_i) for s_i in s]


def log_shares(m: Math[N], x: list[N]) -> list[N]:
    """Return log p_i = x_i - log Σ_j e^{x_j} for each i of a row of two or more.

    For the largest x_i it is -log(1 + Σ_{j≠i} e^{x_j - x_i}), which is small where it has nearly
    all; for any other s_i - log Σ_j e^{s_j}, two numbers below 0.
    """
    s, e = shifted_exponentials(m, x)
    log_total = m.log(sum(e[1:], e[0]))
    return [
        m.where(x_i - others, -m.log1p(rest / e_i), s_i - log_total)
        for x_i, others, s_i, e_i, rest in zip(
            x, _of_others(m.max, x), s, e, _of_others(operator.add, e), strict=True
        )
    ]


def _of_others(combine: Callable[[N, N], N], x: list[N]) -> list[N]:
    """Return what `combine` makes of all numbers but one, for each of two or more."""
    left = list(accumulate(x[:-1], combine))
    right = list(accumulate(x[:0:-1], combine))[::-1]
    return [right[0], *map(combine, left, right[1:]), left[-1]]


@activation(
    torch=counterpart("torch.nn.functional.softmax", dim=-1),
    jax=counterpart("jax.nn.softmax", axis=-1),
    rowwise=True,
    range="simplex",
)
class Softmax:
    """y_i = e^{x_i} / Σ_j e^{x_j}.   dx_i = y_i (dy_i - Σ_j y_j dy_j).

    From ∂y_j/∂x_i = y_j ([i = j] - y_i). The bracket does not change when one number is taken
    from every dy. Where a class has more than half, its own dy is taken: its term is then
    exactly 0 and the sum is left to the small ones. Without this, 1 - y_i cancels where one class
    has it all. Subtracting the row's maximum keeps e^x from overflowing.
    Boltzmann, 1868; Bridle, 1990.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return the exponentials of a row over their sum."""
        return _probabilities(x)

    @staticmethod
    def textbook_forward(x: FloatArray) -> FloatArray:
        """Return e^{x - max x} over its sum.

        Loses what x - max x has lost by rounding: with a gap g up to u g of e^-g, or two to
        three of the 16 digits where the class is hopeless (g = 700).
        """
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y: FloatArray = e / e.sum(axis=-1, keepdims=True)
        return y

    @staticmethod
    def textbook_backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return y (dy - Σ y dy), the Jacobian diag(y) - y yᵀ times dy.

        Loses digits where one class has nearly all: its dy and the sum are then equal but for
        1 - y, which is u at the gap 37 (float64) or 17 (float32): from there on none is left.
        """
        dx: FloatArray = y * (dy - np.sum(y * dy, axis=-1, keepdims=True))
        return dx

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return y (dy - Σ y dy), dy counted from that of a class with more than half."""
        return y * centred(y, dy)

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return y (a b - Σ y a b) with a = dy - Σ y dy and b = tx - Σ y tx.

        From `backward` dx = y a. The tangent of y is y b, because the Jacobian diag(y) - y yᵀ is
        symmetric. So the derivative of y a is (y b) a - y Σ_j (y_j b_j) dy_j. As Σ_j y_j b_j = 0,
        dy_j may be replaced by a_j in that sum. The result is `backward` with the cotangent a b;
        a and b are computed as there if one class has y > 1/2.
        """
        a, b = centred(y, dy), centred(y, tx)
        return y * centred(y, a * b)

    @staticmethod
    def definition(m: Math[N], x: list[N]) -> list[N]:
        """Return e^{s_i} / Σ_j e^{s_j} with s = x - max x."""
        if len(x) == 1:
            return [0 * x[0] + 1]
        _, e = shifted_exponentials(m, x)
        return list(map(m.share, e, _of_others(operator.add, e)))


@activation(
    torch=counterpart("torch.nn.functional.log_softmax", dim=-1),
    jax=counterpart("jax.nn.log_softmax", axis=-1),
    rowwise=True,
    range="log_simplex",
)
class LogSoftmax:
    """y_i = x_i - log Σ_j e^{x_j}.   dx_i = dy_i - p_i Σ_j dy_j, p = softmax(x).

    From ∂y_j/∂x_i = [i = j] - p_i. With the row's maximum M = max_j x_j the value is
    y_i = x_i - M - log(Σ_j e^{x_j - M}), where one of the largest terms is 1: the logarithm is
    log1p of the others, so the value of the most likely class has all its digits. Its slope is
    1 - p_i = -expm1(y_i), so dx_i = dy_i (1 - p_i) - p_i (Σ_j dy_j - dy_i) is used.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x - M - log1p(rest)."""
        s = x - x.max(axis=-1, keepdims=True)
        below = s < 0
        ties = (~below).sum(axis=-1, keepdims=True, dtype=x.real.dtype)
        rest = np.sum(exponentials(x) * below, axis=-1, keepdims=True) + (ties - 1.0)
        y: FloatArray = s - np.log1p(rest)
        return y

    @staticmethod
    def textbook_forward(x: FloatArray) -> FloatArray:
        """Return s - log Σ e^s with s = x - max x.

        Loses the value of a class that has nearly all: the logarithm of 1 + r, r the others'
        exponentials, is right to u, and r is smaller from the gap 37 (float64) or 17 on.
        """
        s = x - x.max(axis=-1, keepdims=True)
        y: FloatArray = s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
        return y

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy (1 - p) - p (Σ dy - dy)."""
        p = _probabilities(x)
        # Σ dy may leave the range where the slope does not: then 2^-k of each is added up.
        n = dy.shape[-1]
        most = np.abs(dy).max(axis=-1, keepdims=True)
        fits = most <= np.finfo(dy.dtype).max / n
        share = np.where(fits, 1, 2.0 ** -n.bit_length()).astype(dy.dtype)
        others = (share * dy).sum(axis=-1, keepdims=True) - share * dy
        dx: FloatArray = -dy * np.expm1(y) - p * others / share
        return dx

    @staticmethod
    def textbook_backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy - e^y Σ dy, the Jacobian I - 1 pᵀ times dy.

        Loses the slope of a class that has nearly all: with a dy for it alone, dy (1 - p) is the
        difference of numbers that are equal to u from the gap 37 (float64) or 17 (float32) on.
        """
        dx: FloatArray = dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)
        return dx

    @staticmethod
    def tangent(x: FloatArray, y: FloatArray, tx: FloatArray) -> FloatArray:
        """Return tx - Σ p tx.

        The Jacobian I - 1 pᵀ is not symmetric: `backward` takes its columns, this its rows. tx is
        counted from that of a class with more than half, so that 1 - p is nowhere taken.
        """
        return centred(_probabilities(x), tx)

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return -(Σ dy) p (tx - Σ p tx).

        In dx = dy - p Σ dy only p depends on x; its tangent is that of the softmax.
        """
        p = _probabilities(x)
        bend: FloatArray = -dy.sum(axis=-1, keepdims=True) * (p * centred(p, tx))
        return bend

    @staticmethod
    def definition(m: Math[N], x: list[N]) -> list[N]:
        """Return x_i - log Σ_j e^{x_j}."""
        return [0 * x[0]] if len(x) == 1 else log_shares(m, x)
