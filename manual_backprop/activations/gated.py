"""x times a gate that opens from 0 to 1: silu, mish, gelu.

Two things cost digits here. In the left tail x e^x: e^x goes below the normal range before the
product does, so the exponential is applied in two halves. And each slope has one zero, where
the textbook's sum cancels: written from that zero x₀, with d = x - x₀ and
e^x = e^{x₀} (1 + expm1(d)), the constant part is gone and the terms left have one sign.
"""

from typing import Any

import numpy as np
from scipy.special import erfcx

from manual_backprop.activations.sigmoid import log_one_plus_exp, logistic
from manual_backprop.spec import FloatArray, activation, counterpart


def _distance(x: FloatArray, zero: tuple[float, float, float]) -> FloatArray:
    """Return x minus a number given in three parts, the first two exact in float32."""
    high, middle, low = zero
    return x - high - middle - low


# The zero of 1 + x + e^x, and e^x there.
SILU_ZERO = (-1.2784645557403564, 1.2979282537628478e-08, 1.1257466309409694e-16)
SILU_EXP = 0.2784645427610738


@activation(torch="torch.nn.functional.silu", jax="jax.nn.silu")
class Silu:
    """y = x σ(x).   dy/dx = σ(x) (1 + x (1 - σ(x))).

    With e = e^{-|x|}: dy/dx = (1 + e + x e)/(1 + e)² for x > 0, all terms positive, and
    e (1 + x + e)/(1 + e)² for x < 0. The latter's bracket vanishes at x₀ = -1.278…; subtracting
    1 + x₀ + e^{x₀} = 0 from it leaves d + e^{x₀} expm1(d), two terms of one sign.
    Elfwing, Uchibe and Doya, 2018.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x/(1 + e) above 0 and x e/(1 + e) below, e as the square of e^{-|x|/2}."""
        half = np.exp(-0.5 * np.maximum(x, -x))
        return np.where(x > 0, x, x * half * half) / (1.0 + half * half)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy times the slope, by e above 0 and from the zero x₀ below."""
        half = np.exp(-0.5 * np.maximum(x, -x))
        e = half * half
        d = _distance(np.minimum(x, 0.0), SILU_ZERO)
        below = half * (d + SILU_EXP * np.expm1(d)) * half
        return dy * (np.where(x > 0, 1.0 + e + x * e, below) / ((1.0 + e) * (1.0 + e)))

    @staticmethod
    def definition(m: Any, x: Any) -> Any:
        """Return x / (1 + e^-x)."""
        return x * logistic(m, x)


# The zero of the bracket of mish's slope, and e^x there.
MISH_ZERO = (-1.1924312114715576, -3.0439375464652585e-09, -4.8484829848031044e-17)
MISH_EXP = 0.3034825352815289


@activation(torch="torch.nn.functional.mish", jax="jax.nn.mish")
class Mish:
    """y = x tanh(log(1 + e^x)).   dy/dx = T + x (1 - T²) σ(x), with T the tanh.

    With w = e^x, T = ((1 + w)² - 1)/((1 + w)² + 1) = w (2 + w)/(2 + w (2 + w)): no logarithm.
    Then 1 - T² = 4 (1 + w)²/(2 + w (2 + w))², and below 0

        dy/dx = w ω/(2 + w (2 + w))²,   ω = 4 (x + 1) + 6w + 4w² + w³ + 4xw,

    whose zero is x₀ = -1.192…. With w = E (1 + q), E = e^{x₀}, q = expm1(x - x₀), subtracting
    ω(x₀) = 0 leaves 4d + q E (6 + 4E (2 + q) + E² (3 + 3q + q²)) + 4E (d + x q).
    Above 0 everything is divided by w², with e = 1/w. Misra, 2019.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x (1 + 2e)/(1 + 2e (1 + e)) above 0 and x w (2 + w)/(2 + w (2 + w)) below."""
        half = np.exp(-0.5 * np.maximum(x, -x))
        e = half * half
        above = x * ((1.0 + 2.0 * e) / (1.0 + 2.0 * e * (1.0 + e)))
        below = x * half * ((2.0 + e) / (2.0 + e * (2.0 + e))) * half
        return np.where(x > 0, above, below)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy times the slope, by e = e^-x above 0 and from the zero x₀ below."""
        half = np.exp(-0.5 * np.maximum(x, -x))
        e = half * half
        whole = 1.0 + 2.0 * e * (1.0 + e)
        above = (1.0 + 2.0 * e + 4.0 * x * e * (e * (1.0 + e) / whole)) / whole
        negative = np.minimum(x, 0.0)
        d = _distance(negative, MISH_ZERO)
        q = np.expm1(d)
        cubic = 6.0 + 4.0 * MISH_EXP * (2.0 + q) + MISH_EXP**2 * (3.0 + q * (3.0 + q))
        omega = 4.0 * d + MISH_EXP * (q * cubic + 4.0 * (d + negative * q))
        whole = 2.0 + e * (2.0 + e)
        return dy * np.where(x > 0, above, half * (omega / (whole * whole)) * half)

    @staticmethod
    def definition(m: Any, x: Any) -> Any:
        """Return x tanh(log(1 + e^x))."""
        return x * m.tanh(log_one_plus_exp(m, x))


SQRT_HALF = 0.70710678118654752440
HALF_SQRT_HALF_PI = 1.2533141373155002512  # √(π/2)
DENSITY = 0.39894228040143267794  # 1/√(2π)


def _gaussian_halves(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two factors of e^{-x²/2}, x ≥ 0, that stay in the normal range until their product is 0.

    x² rounds, and e^{-x²/2} would be off by x²/2 times that rounding. So x is split into h, which
    has half of the digits and an exact square, and the rest: x² = h² + (x - h)(x + h).
    """
    x = np.minimum(x, 40.0)  # e^{-800} is zero in both types
    scaled = x * (2.0 ** ((np.finfo(x.dtype).nmant + 2) // 2) + 1.0)
    h = scaled - (scaled - x)
    quarter = np.exp(-0.25 * h * h)
    return quarter, quarter * np.exp(-0.5 * (x - h) * (x + h))


@activation(torch="torch.nn.functional.gelu", jax=counterpart("jax.nn.gelu", approximate=False))
class Gelu:
    """y = x Φ(x), Φ the normal distribution.   dy/dx = Φ(x) + x φ(x), φ = Φ' = e^{-x²/2}/√(2π).

    Φ(x) = (1 + erf(x/√2))/2 cancels below zero. The scaled erfcx(a) = e^{a²} erfc(a) does not:
    Φ(-a√2) = e^{-a²} erfcx(a)/2, with e^{-a²} in two factors. Below zero the slope is
    φ(x) (x + √(π/2) erfcx(-x/√2)), above it is 1 - Φ(-x) + x φ(x).
    Hendrycks and Gimpel, 2016.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x (1 - Φ(-x)) above 0 and x Φ(x) below."""
        size = np.maximum(x, -x)
        first, second = _gaussian_halves(size)
        tail = 0.5 * erfcx(size * SQRT_HALF)
        return np.where(x > 0, x * (1.0 - tail * first * second), x * tail * first * second)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy (Φ(x) + x φ(x))."""
        size = np.maximum(x, -x)
        first, second = _gaussian_halves(size)
        ratio = erfcx(size * SQRT_HALF)
        held = np.minimum(size, 40.0)
        above = 1.0 - (0.5 * ratio - held * DENSITY) * first * second
        below = DENSITY * (HALF_SQRT_HALF_PI * ratio - size) * first * second
        return dy * np.where(x > 0, above, below)

    @staticmethod
    def definition(m: Any, x: Any) -> Any:
        """Return x (1 + erf(x/√2))/2."""
        return x * (1 + m.erf(x / m.sqrt(m.number(2)))) / 2


# 2 √(2/π): the gate is (1 + tanh u)/2 = σ(2u), u = √(2/π) (x + 0.044715 x³).
TWICE_SQRT_TWO_OVER_PI = 1.5957691216057307117
CUBIC = 0.044715


@activation(
    torch=counterpart("torch.nn.functional.gelu", approximate="tanh"),
    jax=counterpart("jax.nn.gelu", approximate=True),
)
class GeluTanh:
    """y = x (1 + tanh u)/2, u = √(2/π) (x + 0.044715 x³).   dy/dx = σ + x σ (1 - σ) v'.

    (1 + tanh u)/2 = σ(2u), and v = 2u; with e = e^{-|v|} nothing cancels in the gate below zero,
    where 1 + tanh u loses every digit. v' = 2 √(2/π) (1 + 3 · 0.044715 x²).
    Hendrycks and Gimpel, 2016.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x σ(v)."""
        held = np.minimum(np.maximum(x, -30.0), 30.0)
        v = TWICE_SQRT_TWO_OVER_PI * held * (1.0 + CUBIC * held * held)
        half = np.exp(-0.5 * np.maximum(v, -v))
        return np.where(x > 0, x, x * half * half) / (1.0 + half * half)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy (σ + x σ (1 - σ) v')."""
        held = np.minimum(np.maximum(x, -30.0), 30.0)
        square = CUBIC * held * held
        v = TWICE_SQRT_TWO_OVER_PI * held * (1.0 + square)
        half = np.exp(-0.5 * np.maximum(v, -v))
        e = half * half
        pull = TWICE_SQRT_TWO_OVER_PI * held * (1.0 + 3.0 * square)
        above = 1.0 + e * (1.0 + pull)
        below = half * (1.0 + e + pull) * half
        return dy * (np.where(x > 0, above, below) / ((1.0 + e) * (1.0 + e)))

    @staticmethod
    def definition(m: Any, x: Any) -> Any:
        """Return x σ(2u), which is x (1 + tanh u)/2."""
        return x * logistic(m, 2 * m.sqrt(2 / m.pi) * (x + m.number("0.044715") * x * x * x))
