"""The functions of one and two scalars: each is its value and its slopes, beside each other."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import SupportsFloat

import numpy as np
from flint import arb

from reference.arithmetic.smooth import SMOOTH, sigmoid

from ._number import (
    CONSTANT,
    NAN,
    ZERO,
    Number,
    Scalar,
    compare,
    constant,
    exactly,
    floor_of,
    order_of,
    power,
    rounded,
    sign_of,
    size_of,
    value_of,
)
from ._tape import STATE

_LIMITS: dict[str, dict[float, float]] = {  # where arb says nan
    "log2": {0.0: -math.inf},
    "log10": {0.0: -math.inf},
    "log1p": {-1.0: -math.inf},
    "reciprocal": {0.0: math.inf},
    "erf": {math.inf: 1.0, -math.inf: -1.0},
    "erfc": {math.inf: 0.0, -math.inf: 2.0},
    "ndtr": {math.inf: 1.0, -math.inf: 0.0},
    "arctanh": {1.0: math.inf, -1.0: -math.inf},
    "logit": {0.0: -math.inf, 1.0: math.inf},
    "expit": {math.inf: 1.0, -math.inf: 0.0},
    "log_expit": {math.inf: 0.0, -math.inf: -math.inf},
    "entr": {math.inf: -math.inf},
    "cosh": {-math.inf: math.inf},
    "expm1": {-math.inf: -1.0},
    "log_ndtr": {math.inf: 0.0, -math.inf: -math.inf},
}


def smooth(name: str, x: Number) -> Number:
    """A function of `SMOOTH` at a Number."""
    rule = SMOOTH[name]
    ball = x.value
    value = rule.value(ball)
    if not value.is_finite() and name in _LIMITS and ball.is_exact():
        value = arb(_LIMITS[name].get(float(ball), value))
    if STATE.recording:
        return Number(value, (x,), (rule.slope(ball, value),))
    return Number(value, CONSTANT, ())


# ---- functions that choose ------------------------------------------------------------------


def larger(a: Scalar, b: Scalar, operation: str = "maximum") -> Scalar:
    """The larger of two scalars, nan if one is; the first of equals."""
    order = order_of(operation, a, b)
    if order is None:
        return constant(float("nan"))
    return constant(a if order >= 0 else b)


def smaller(a: Scalar, b: Scalar, operation: str = "minimum") -> Scalar:
    """The smaller of two scalars, nan if one is; the first of equals."""
    order = order_of(operation, a, b)
    if order is None:
        return constant(float("nan"))
    return constant(a if order <= 0 else b)


def clipped(x: Scalar, low: Scalar | None, high: Scalar | None) -> Scalar:
    """min(max(x, low), high)."""
    if low is not None:
        x = larger(x, low, "clip")
    return x if high is None else smaller(x, high, "clip")


def number_or_nan(choose: Callable[[Scalar, Scalar], Scalar]) -> Callable[[Scalar, Scalar], Scalar]:
    """The same choice, but a nan loses: np.fmax, np.fmin."""

    def chosen(a: Scalar, b: Scalar) -> Scalar:
        if value_of(a).is_nan():
            return constant(b)
        return constant(a) if value_of(b).is_nan() else choose(a, b)

    return chosen


def step(x: Scalar, at_zero: Scalar) -> Scalar:
    """0 below 0, 1 above, `at_zero` at 0: np.heaviside."""
    order = order_of("heaviside", x, 0.0)
    if order is None:
        return constant(float("nan"))
    return constant(at_zero if order == 0 else float(order > 0))


# ---- functions of two scalars ---------------------------------------------------------------


def pair(
    value: arb, a: Scalar, slope_a: Callable[[], arb], b: Scalar, slope_b: Callable[[], arb]
) -> Number:
    """A Number made from two scalars, of which one may be plain. Slopes are functions."""
    if not STATE.recording:
        return Number(value, CONSTANT, ())
    parts = [(x, slope()) for x, slope in ((a, slope_a), (b, slope_b)) if type(x) is Number]
    return Number(value, tuple(x for x, _ in parts), tuple(d for _, d in parts))


def log_add_exp(a: Scalar, b: Scalar) -> Scalar:
    """log(e^a + e^b) = m + log(1 + e^(−|a − b|))."""
    x, y = value_of(a), value_of(b)
    high, low = (y, x) if x < y else (x, y)
    value = exactly("logaddexp", high + (low - high).exp().log1p(), x, y)
    return pair(value, a, lambda: sigmoid(x - y), b, lambda: sigmoid(y - x))


def log_add_exp2(a: Scalar, b: Scalar) -> Scalar:
    """log₂(2^a + 2^b)."""
    scale = Number(arb(2).log(), CONSTANT, ())
    return log_add_exp(a * scale, b * scale) / scale


def hypotenuse(a: Scalar, b: Scalar) -> Scalar:
    """√(a² + b²)."""
    x, y = value_of(a), value_of(b)
    length = (x * x + y * y).sqrt()
    return pair(length, a, lambda: x / length, b, lambda: y / length)


def angle(a: Scalar, b: Scalar) -> Scalar:
    """arctan2(a, b): ∂a = b/(a² + b²), ∂b = −a/(a² + b²)."""
    y, x = value_of(a), value_of(b)
    square = x * x + y * y
    return pair(arb.atan2(y, x), a, lambda: x / square, b, lambda: -y / square)


def x_log_y(a: Scalar, b: Scalar) -> Scalar:
    """The product x log y; 0 where x is 0 (and y no nan)."""
    x, y = value_of(a), value_of(b)
    log = smooth("log", Number(y, CONSTANT, ())).value
    value = ZERO if x == 0 and not y.is_nan() else x * log
    return pair(value, a, lambda: log, b, lambda: x / y)


def x_log1p_y(a: Scalar, b: Scalar) -> Scalar:
    """The product x log(1 + y); 0 where x is 0."""
    return x_log_y(a, b + 1.0)


def relative_entropy(a: Scalar, b: Scalar) -> Scalar:
    """The product x log(x/y); 0 where x is 0 and y ≥ 0: scipy's rel_entr."""
    x, y = value_of(a), value_of(b)
    if x == 0 and y >= 0:
        return pair(ZERO, a, lambda: NAN, b, lambda: ZERO)
    return a * smooth("log", constant(a / b))


def divergence(a: Scalar, b: Scalar) -> Scalar:
    """The term x log(x/y) − x + y: scipy's kl_div."""
    return relative_entropy(a, b) - a + b


def huber(delta: Scalar, r: Scalar) -> Scalar:
    """r²/2 where |r| ≤ δ, δ(|r| − δ/2) beyond: scipy's huber."""
    size = size_of(r)
    within = order_of("huber", size, delta)
    if within is None or within <= 0:
        return constant(r * r / 2.0)
    return delta * (size - delta / 2.0)


def pseudo_huber(delta: Scalar, r: Scalar) -> Scalar:
    """δ²(√(1 + (r/δ)²) − 1): scipy's pseudo_huber."""
    return delta * delta * (power(1.0 + power(r / delta, 2), 0.5) - 1.0)


def copy_sign(a: Scalar, b: Scalar) -> Scalar:
    """|a| with the sign of b."""
    order = order_of("copysign", b, 0.0)
    size = size_of(a)
    return constant(size if order is None or order >= 0 else -size)


def divide(a: Scalar, b: Scalar) -> Scalar:
    """a/b."""
    return a / b


def ceiling(x: Number) -> float:
    """⌈x⌉ as a plain float."""
    return -floor_of(-x, "ceil")


def truncated(x: Number) -> float:
    """X without its fraction, as a plain float; its only jumps are at integers other than 0."""
    if abs(x.value) < 1:
        return 0.0
    return floor_of(x, "trunc") if x.value > 0 else ceiling(x)


def remainder(a: Scalar, b: Scalar) -> Scalar:
    """The rest a − b⌊a/b⌋: np.mod."""
    return a - b * floor_of(constant(a / b), "remainder")


CHOICES: dict[str, Callable[..., Scalar]] = {  # of one Number; of two scalars, one of them a Number
    "absolute": abs,
    "fabs": abs,
    "sign": sign_of,
    "floor": floor_of,
    "ceil": ceiling,
    "trunc": truncated,
    "rint": rounded,
    "positive": operator.pos,
    "conjugate": operator.pos,
    "maximum": larger,
    "minimum": smaller,
    "fmax": number_or_nan(larger),
    "fmin": number_or_nan(smaller),
    "clip": clipped,
    "heaviside": step,
    "copysign": copy_sign,
}
PAIRS: dict[str, Callable[..., Scalar]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": power,
    "float_power": power,
    "floor_divide": operator.floordiv,
    "remainder": remainder,
    "logaddexp": log_add_exp,
    "logaddexp2": log_add_exp2,
    "hypot": hypotenuse,
    "arctan2": angle,
    "xlogy": x_log_y,
    "xlog1py": x_log1p_y,
    "rel_entr": relative_entropy,
    "kl_div": divergence,
    "huber": huber,
    "pseudo_huber": pseudo_huber,
}


def _is_finite(x: Scalar) -> bool:
    return bool(value_of(x).is_finite())


def _is_infinite(x: Scalar) -> bool:
    return not _is_finite(x) and not value_of(x).is_nan()


def _sign_bit(x: Scalar) -> bool:
    return bool(compare("less", x, 0.0)) if type(x) is Number else math.copysign(1.0, x) < 0


TESTS: dict[str, Callable[..., bool]] = {  # functions whose result is a bool
    "isnan": lambda x: bool(value_of(x).is_nan()),
    "isfinite": _is_finite,
    "isinf": _is_infinite,
    "signbit": _sign_bit,
    "logical_not": lambda x: not x,
    "logical_and": lambda x, y: bool(x) and bool(y),
    "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_xor": lambda x, y: bool(x) != bool(y),
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}

FUNCTIONS: dict[str, Callable[..., Scalar]] = {
    **{name: (lambda x, name=name: smooth(name, x)) for name in SMOOTH},
    **CHOICES,
    **PAIRS,
}


STATE.methods = {name: FUNCTIONS[name] for name in SMOOTH}


def scalar_function(name: str, plain: Callable[..., SupportsFloat]) -> Callable[..., Scalar]:
    """The function of that name for scalars: `plain` (NumPy's) where no argument is a Number."""
    rule = FUNCTIONS[name]

    def evaluate(*arguments: Scalar) -> Scalar:
        for argument in arguments:
            if type(argument) is Number:
                return rule(*arguments)
        with np.errstate(all="ignore"):
            return float(plain(*arguments))

    return evaluate
