"""x times a gate that opens from 0 to 1: silu, mish, gelu.

Two things lose digits here. First, for very negative x, e^x is below the normal range although
x e^x is not. So e^x is written as a product of two factors, and x is multiplied by one after the
other. Second, each slope has one zero x₀, near which
the textbook formula cancels. There the slope is written with d = x - x₀ and
e^x = e^{x₀} (1 + expm1(d)): the constants cancel exactly, and the other terms have the same sign.
"""

import numpy as np
from scipy.special import erf, erfcx

from manual_backprop.activations.sigmoid import log_one_plus_exp, logistic
from manual_backprop.arithmetic import Math, N
from manual_backprop.operation import FloatArray, activation, counterpart


def _difference_from(x: FloatArray, zero: tuple[float, float, float]) -> FloatArray:
    """Return x minus a number given in three parts, the first two exact in float32."""
    high, middle, low = zero
    return x - high - middle - low


def _exp_in_two_factors(size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return e^{-size} in two factors that stay in the normal range until their product is 0.

    The second is exactly 1 up to size 60, and 60 - size is exact beyond.
    """
    return np.exp(-np.minimum(size, 60.0)), np.exp(60.0 - np.maximum(size, 60.0))


# The zero of 1 + x + e^x, and e^x there.
SILU_ZERO = (-1.2784645557403564, 1.2979282537628478e-08, 1.1257466309409694e-16)
SILU_EXP = 0.2784645427610738


@activation(torch="torch.nn.functional.silu", jax="jax.nn.silu")
class Silu:
    """y = x σ(x).   dy/dx = σ(x) (1 + x (1 - σ(x))).

    With e = e^{-|x|}: dy/dx = (1 + e + x e)/(1 + e)² for x > 0, all terms positive, and
    dy/dx = e (1 + x + e)/(1 + e)² for x < 0. The latter's bracket vanishes at
    x₀ = -1.27846454276107…; subtracting 1 + x₀ + e^{x₀} = 0 from it leaves, with d = x - x₀,
    1 + x + e^x = d + e^{x₀} expm1(d), two terms of the same sign, so nothing cancels.
    Elfwing, Uchibe and Doya, 2018.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x/(1 + e) above 0 and x e/(1 + e) below."""
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        return np.where(x > 0, x, x * near * far) / (1.0 + near * far)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy times the slope, by e above 0 and from the zero x₀ below."""
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        e = near * far
        d = _difference_from(np.minimum(x, 0.0), SILU_ZERO)
        below = near * (d + SILU_EXP * np.expm1(d)) * far
        return dy * (np.where(x > 0, 1.0 + e + x * e, below) / ((1.0 + e) * (1.0 + e)))

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy f'' tx with f'' = σ' (2 - x tanh(x/2)).

        From f' = σ + x σ': f'' = 2 σ' + x σ'', and σ'' = -σ' tanh(x/2). With e = e^{-|x|},
        σ' = e/(1 + e)²; e is applied in two factors, as in `forward`.
        """
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        e = near * far
        clipped = np.minimum(np.maximum(x, -1024.0), 1024.0)  # e is 0 there, but ∞ · 0 is NaN
        curvature = near * (2.0 - clipped * np.tanh(0.5 * clipped)) * far
        return dy * (curvature / ((1.0 + e) * (1.0 + e))) * tx

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x / (1 + e^-x)."""
        return x * logistic(m, x)


# The zero of the bracket of mish's slope, and e^x there.
MISH_ZERO = (-1.1924312114715576, -3.0439375464652585e-09, -4.8484829848031044e-17)
MISH_EXP = 0.3034825352815289
C1 = MISH_EXP * (6.0 + MISH_EXP * (8.0 + 3.0 * MISH_EXP)) / 4.0
C2 = MISH_EXP**2 * (4.0 + 3.0 * MISH_EXP) / 4.0
C3 = MISH_EXP**3 / 4.0


@activation(torch="torch.nn.functional.mish", jax="jax.nn.mish")
class Mish:
    """y = x T with T = tanh(log(1 + e^x)).   dy/dx = T + x (1 - T²) σ(x).

    With w = e^x, T = ((1 + w)² - 1)/((1 + w)² + 1) = w (2 + w)/(2 + w (2 + w)): no logarithm.
    Then 1 - T² = 4 (1 + w)²/(2 + w (2 + w))², and below 0

        dy/dx = w ω/(2 + w (2 + w))²,   ω = 4 (x + 1) + 6w + 4w² + w³ + 4xw,

    whose zero is x₀ = -1.19243121451549…. With E = e^{x₀}, d = x - x₀ and q = expm1(d), that is
    w = E (1 + q), subtracting 4 (x₀ + 1) + 6E + 4E² + E³ + 4x₀ E = 0 leaves

        ω/4 = (1 + E) d + q (E x + c₁ + c₂ q + c₃ q²)
        c₁ = E (6 + 8E + 3E²)/4,   c₂ = E² (4 + 3E)/4,   c₃ = E³/4

    Above 0 everything is divided by w², with v = 1/w: T = (1 + 2v)/(1 + 2v (1 + v)).
    Misra, 2019.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x (1 + 2e)/(1 + 2e (1 + e)) above 0 and x w (2 + w)/(2 + w (2 + w)) below."""
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        e = near * far  # e above 0, w below
        above = x * ((1.0 + 2.0 * e) / (1.0 + 2.0 * e * (1.0 + e)))
        below = x * near * ((2.0 + e) / (2.0 + e * (2.0 + e))) * far
        return np.where(x > 0, above, below)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy times the slope, by e = e^-x above 0 and from the zero x₀ below."""
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        e = near * far
        whole = 1.0 + 2.0 * e * (1.0 + e)
        above = (1.0 + 2.0 * e + 4.0 * (x * e) * (e * (1.0 + e) / whole)) / whole
        negative = np.minimum(np.maximum(x, -1024.0), 0.0)  # e^x is 0 long before; ∞ · 0 is not
        d = _difference_from(negative, MISH_ZERO)
        q = np.expm1(d)
        quarter = (1.0 + MISH_EXP) * d + q * (MISH_EXP * negative + (C1 + q * (C2 + q * C3)))
        root = 1.0 + e * (1.0 + 0.5 * e)
        below = near * (quarter / (root * root)) * far
        return dy * np.where(x > 0, above, below)

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy f'' tx with f'' = 2 T' + x T''.

        With w = e^x, D = 2 + 2w + w²: T' = 4 w (1 + w)/D², and its logarithmic derivative
        T''/T' = 1 + w/(1 + w) - 4 w (1 + w)/D = (2 + 2w - 3w² - 2w³)/((1 + w) D). Together

            f'' = 4 w (2 (1 + w) D + x (2 + 2w - 3w² - 2w³))/D³

        Above 0 numerator and denominator are divided by w⁶: with v = 1/w and E = 1 + 2v + 2v²,
        f'' = 4 v² (2 (1 + v) E + x (2v³ + 2v² - 3v - 2))/E³.
        """
        near, far = _exp_in_two_factors(np.maximum(x, -x))
        e = near * far  # e^-x above 0, e^x below
        clipped = np.minimum(np.maximum(x, -1024.0), 1024.0)
        up = 1.0 + 2.0 * e * (1.0 + e)
        above = 2.0 * (1.0 + e) * up + clipped * (e * (e * (2.0 * e + 2.0) - 3.0) - 2.0)
        above = 4.0 * e * (e * above) / (up * up * up)
        down = 2.0 + e * (2.0 + e)
        below = 2.0 * (1.0 + e) * down + clipped * (2.0 + e * (2.0 - e * (3.0 + 2.0 * e)))
        below = 4.0 * near * (below / (down * down * down)) * far
        return dy * np.where(x > 0, above, below) * tx

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x tanh(log(1 + e^x))."""
        return x * m.tanh(log_one_plus_exp(m, x))


SQRT_HALF = 0.70710678118654752440
SQRT_TWO = (1.4142135381698608, 2.4203234971764687e-08, -7.628067479096231e-16)
SQRT_HALF_PI = 1.2533141373155002512  # √(π/2)
DENSITY = 0.39894228040143267794  # 1/√(2π)
GELU_ZERO = (-0.7517915368080139, 1.211444988769017e-08, -4.291324506730527e-16)


def _mills_series(terms: int) -> tuple[float, ...]:
    """Return the Taylor coefficients, last first, of M(a) - a about its zero a₀ = 0.7517….

    M(a) = √(π/2) e^{a²/2} erfc(a/√2) has M' = a M - 1, so g = M - a has g' = a g + a² - 2.
    """
    a = -sum(GELU_ZERO)
    c = [0.0, a * a - 2.0, a**3 / 2.0]
    c.append((a * c[2] + c[1] + 1.0) / 3.0)
    for k in range(3, terms):
        c.append((a * c[k] + c[k - 1]) / (k + 1))
    return tuple(reversed(c[1:]))


GELU_SERIES = _mills_series(20)


def _gaussian(size: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return e^{-size²/2} in two factors that stay in the normal range until their product is 0.

    size² rounds, and the exponential would be off by size²/2 times that rounding. So the size is
    split into h, which has half of the digits and an exact square, and the rest:
    size² = h² + (size - h)(size + h).
    """
    size = np.minimum(size, 60.0)  # e^{-1800} is zero in both types
    scaled = size * (2.0 ** ((np.finfo(size.dtype).nmant + 2) // 2) + 1.0)
    h = scaled - (scaled - size)
    near, far = _exp_in_two_factors(0.5 * h * h)
    return near + near * np.expm1(-0.5 * (size - h) * (size + h)), far


@activation(torch="torch.nn.functional.gelu", jax=counterpart("jax.nn.gelu", approximate=False))
class Gelu:
    """y = x Φ(x), Φ the normal distribution.   dy/dx = Φ(x) + x φ(x), φ its density.

    φ(x) = e^{-x²/2}/√(2π), and Φ(x) = (1 + erf(x/√2))/2, which cancels far below zero. The scaled
    erfcx(x) = e^{x²} erfc(x) does not: Φ(x) = e^{-x²/2} erfcx(-x/√2)/2, with the exponential in
    two factors, and dy/dx = φ(x) (x + √(π/2) erfcx(-x/√2)). Both are used for x ≤ -1/2. The
    slope's bracket is zero at x₀ = -0.75179152469356…, x₀ + √(π/2) erfcx(-x₀/√2) = 0. For
    -5/4 < x ≤ -1/2 the bracket is computed with its Taylor series about x₀, so that it is right
    near this zero, too.
    Hendrycks and Gimpel, 2016.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x (1 + erf(x/√2))/2, and x e^{-x²/2} erfcx(-x/√2)/2 below -1/2."""
        size = np.maximum(x, -x)
        near, far = _gaussian(size)
        below = 0.5 * x * erfcx(size * SQRT_HALF) * near * far
        return np.where(x > -0.5, x * (0.5 + 0.5 * erf(x * SQRT_HALF)), below)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy (Φ(x) + x φ(x)), and dy φ(x) (x + √(π/2) erfcx(-x/√2)) below -1/2."""
        size = np.maximum(x, -x)
        near, far = _gaussian(size)
        clipped = np.minimum(np.maximum(x, -60.0), 60.0)
        above = 0.5 + 0.5 * erf(x * SQRT_HALF) + DENSITY * clipped * near * far
        d = _difference_from(np.minimum(np.maximum(x, -1.3), 0.0), GELU_ZERO)
        series = GELU_SERIES[0] * -d
        for coefficient in GELU_SERIES[1:-1]:
            series = (series + coefficient) * -d
        series = (series + GELU_SERIES[-1]) * -d
        bracket = np.where(x > -1.25, series, x + SQRT_HALF_PI * erfcx(size * SQRT_HALF))
        below = bracket * (DENSITY * near) * far
        return dy * np.where(x > -0.5, above, below)

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy f'' tx with f'' = φ(x) (2 - x²).

        From f' = Φ + x φ, with Φ' = φ and φ' = -x φ: f'' = 2 φ - x² φ. The bracket is computed as
        (√2 - x)(√2 + x), with √2 as a sum of three parts, so that it is right near its zeros ±√2.
        """
        size = np.minimum(np.maximum(x, -x), 60.0)
        near, far = _gaussian(size)
        bracket = -_difference_from(size, SQRT_TWO) * (sum(SQRT_TWO) + size)
        return dy * (bracket * (DENSITY * near) * far) * tx

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x (1 + erf(x/√2))/2, which is x erfc(-x/√2)/2."""
        return x * m.erfc(-x / m.sqrt(m.number(2))) / 2


# 2 √(2/π): the gate is (1 + tanh u)/2 = σ(2u), u = √(2/π) (x + 0.044715 x³).
TWICE_SQRT_TWO_OVER_PI = 1.5957691216057307117
CUBIC = 0.044715

# The zero of 1 + e^v + x v', and e^v there.
GELU_TANH_ZERO = (-0.7524614334106445, 1.1339627903339533e-08, 3.694225124796238e-16)
GELU_TANH_EXP = 0.29195521191476714


@activation(
    torch=counterpart("torch.nn.functional.gelu", approximate="tanh"),
    jax=counterpart("jax.nn.gelu", approximate=True),
)
class GeluTanh:
    """y = x g with g = (1 + tanh u)/2, u = √(2/π) (x + κ x³).   dy/dx = g + x g (1 - g) v'.

    κ = 0.044715, and g = σ(v) with v = 2u; with e = e^{-|v|} nothing cancels in the gate
    g = e/(1 + e) for x < 0, where 1 + tanh u loses every digit. Here v = c (x + κ x³) and
    v' = c (1 + 3κ x²), c = 2 √(2/π). Below zero dy/dx = e^v (1 + e^v + x v')/(1 + e^v)². The
    bracket's zero is x₀ = -0.75246142207101…, where v is v₀ = c (x₀ + κ x₀³). With d = x - x₀,
    r = x² + x x₀ + x₀² and x³ - x₀³ = d r, subtracting its value there leaves

        1 + e^v + x v' = c d (1 + 3κ r) + e^{v₀} expm1(c d (1 + κ r))

    which is two terms of one sign. For very negative x, a rounding error of one unit in v becomes
    an error of about |v| units in e^v. So value and slope are off by up to 2 |v| units in the last
    place, |v| up to 745.
    Hendrycks and Gimpel, 2016.
    """

    @staticmethod
    def forward(x: FloatArray) -> FloatArray:
        """Return x σ(v)."""
        clipped = np.minimum(np.maximum(x, -30.0), 30.0)
        v = TWICE_SQRT_TWO_OVER_PI * clipped * (1.0 + CUBIC * clipped * clipped)
        near, far = _exp_in_two_factors(np.maximum(v, -v))
        return np.where(x > 0, x, x * near * far) / (1.0 + near * far)

    @staticmethod
    def backward(x: FloatArray, y: FloatArray, dy: FloatArray) -> FloatArray:
        """Return dy (σ + x σ (1 - σ) v')."""
        clipped = np.minimum(np.maximum(x, -30.0), 30.0)
        square = CUBIC * clipped * clipped
        v = TWICE_SQRT_TWO_OVER_PI * clipped * (1.0 + square)
        near, far = _exp_in_two_factors(np.maximum(v, -v))
        e = near * far
        above = 1.0 + e * (1.0 + TWICE_SQRT_TWO_OVER_PI * clipped * (1.0 + 3.0 * square))
        negative = np.minimum(clipped, 0.0)
        scaled = TWICE_SQRT_TWO_OVER_PI * _difference_from(negative, GELU_TANH_ZERO)
        zero = sum(GELU_TANH_ZERO)
        r = CUBIC * (negative * (negative + zero) + zero * zero)
        below = scaled * (1.0 + 3.0 * r) + GELU_TANH_EXP * np.expm1(scaled * (1.0 + r))
        below = near * below * far
        return dy * (np.where(x > 0, above, below) / ((1.0 + e) * (1.0 + e)))

    @staticmethod
    def second(x: FloatArray, y: FloatArray, dy: FloatArray, tx: FloatArray) -> FloatArray:
        """Return dy f'' tx with f'' = σ'(v) c (2 + 12κx² - c x (1 + 3κx²)² tanh(v/2)).

        From f' = σ + x σ' v': f'' = 2 σ' v' + x (σ'' v'² + σ' v''), with σ'' = -σ' tanh(v/2),
        v' = c (1 + 3κx²) and v'' = 6 c κ x. σ' = e^{-|v|}/(1 + e^{-|v|})², in two factors.
        """
        clipped = np.minimum(np.maximum(x, -30.0), 30.0)
        square = CUBIC * clipped * clipped
        v = TWICE_SQRT_TWO_OVER_PI * clipped * (1.0 + square)
        near, far = _exp_in_two_factors(np.maximum(v, -v))
        e = near * far
        steep = 1.0 + 3.0 * square
        bracket = TWICE_SQRT_TWO_OVER_PI * clipped * (steep * steep) * np.tanh(0.5 * v)
        curvature = TWICE_SQRT_TWO_OVER_PI * near * (2.0 + 12.0 * square - bracket) * far
        return dy * (curvature / ((1.0 + e) * (1.0 + e))) * tx

    @staticmethod
    def definition(m: Math[N], x: N) -> N:
        """Return x σ(2u), which is x (1 + tanh u)/2."""
        return x * logistic(m, 2 * m.sqrt(2 / m.pi) * (x + m.number("0.044715") * x * x * x))
