"""The smooth functions of one ball: each is its value and its slope, beside each other."""

import operator
from collections.abc import Callable
from typing import NamedTuple

from flint import arb

ZERO, HALF, ONE = arb(0), arb(0.5), arb(1)


class Smooth(NamedTuple):
    """A smooth function of one ball: its value, and its slope from x and the value y."""

    value: Callable[[arb], arb]
    slope: Callable[[arb, arb], arb]


def sigmoid(x: arb) -> arb:
    """1/(1 + e^(−x)), without losing the small end: e^x/(1 + e^x) below 0."""
    if x < 0:
        small = x.exp()
        return small / (ONE + small)
    return ONE / (ONE + (-x).exp())


def _log_sigmoid(x: arb) -> arb:
    """−log(1 + e^(−x)); x − log(1 + e^x) below 0."""
    return x - x.exp().log1p() if x < 0 else -(-x).exp().log1p()


def _cube_root(x: arb) -> arb:
    if x < 0:
        return -((-x).root(3))
    return x.root(3)


def _normal(x: arb) -> arb:
    """The standard normal's density: e^(−x²/2)/√(2π)."""
    return (-x * x / 2).exp() / (2 * arb.pi()).sqrt()


def _normal_below(x: arb) -> arb:
    """The standard normal's distribution: erfc(−x/√2)/2."""
    return (-x / arb(2).sqrt()).erfc() / 2


def _entropy(x: arb) -> arb:
    """−x log x; 0 at 0."""
    return ZERO if x == 0 else -x * x.log()


def _ln(number: int) -> arb:
    return arb(number).log()


def _log(x: arb) -> arb:
    return arb.neg_inf() if x.is_zero() else x.log()


SMOOTH: dict[str, Smooth] = {
    "exp": Smooth(arb.exp, lambda x, y: y),
    "exp2": Smooth(lambda x: (x * _ln(2)).exp(), lambda x, y: y * _ln(2)),
    "expm1": Smooth(arb.expm1, lambda x, y: x.exp()),
    "log": Smooth(_log, lambda x, y: ONE / x),
    "log2": Smooth(lambda x: x.log() / _ln(2), lambda x, y: ONE / (x * _ln(2))),
    "log10": Smooth(lambda x: x.log() / _ln(10), lambda x, y: ONE / (x * _ln(10))),
    "log1p": Smooth(arb.log1p, lambda x, y: ONE / (ONE + x)),
    "sqrt": Smooth(arb.sqrt, lambda x, y: HALF / y),
    "cbrt": Smooth(_cube_root, lambda x, y: ONE / (3 * y * y)),
    "square": Smooth(lambda x: x * x, lambda x, y: 2 * x),
    "reciprocal": Smooth(lambda x: ONE / x, lambda x, y: -y * y),
    "negative": Smooth(operator.neg, lambda x, y: -ONE),
    "sin": Smooth(arb.sin, lambda x, y: x.cos()),
    "cos": Smooth(arb.cos, lambda x, y: -x.sin()),
    "tan": Smooth(arb.tan, lambda x, y: x.sec() ** 2),
    "arcsin": Smooth(arb.asin, lambda x, y: ONE / ((ONE - x) * (ONE + x)).sqrt()),
    "arccos": Smooth(arb.acos, lambda x, y: -ONE / ((ONE - x) * (ONE + x)).sqrt()),
    "arctan": Smooth(arb.atan, lambda x, y: ONE / (ONE + x * x)),
    "sinh": Smooth(arb.sinh, lambda x, y: x.cosh()),
    "cosh": Smooth(arb.cosh, lambda x, y: x.sinh()),
    "tanh": Smooth(arb.tanh, lambda x, y: x.sech() ** 2),
    "arcsinh": Smooth(arb.asinh, lambda x, y: ONE / (ONE + x * x).sqrt()),
    "arccosh": Smooth(arb.acosh, lambda x, y: ONE / (x * x - ONE).sqrt()),
    "arctanh": Smooth(arb.atanh, lambda x, y: ONE / ((ONE - x) * (ONE + x))),
    "deg2rad": Smooth(lambda x: x * arb.pi() / 180, lambda x, y: arb.pi() / 180),
    "rad2deg": Smooth(lambda x: x * 180 / arb.pi(), lambda x, y: 180 / arb.pi()),
    "sinc": Smooth(arb.sinc_pi, lambda x, y: ZERO if x == 0 else ((arb.pi() * x).cos() - y) / x),
    # scipy.special
    "expit": Smooth(sigmoid, lambda x, y: y * sigmoid(-x)),
    "log_expit": Smooth(_log_sigmoid, lambda x, y: sigmoid(-x)),
    "logit": Smooth(lambda x: (x / (ONE - x)).log(), lambda x, y: ONE / (x * (ONE - x))),
    "erf": Smooth(arb.erf, lambda x, y: 2 * (-(x**2)).exp() / arb.pi().sqrt()),
    "erfc": Smooth(arb.erfc, lambda x, y: -2 * (-(x**2)).exp() / arb.pi().sqrt()),
    "erfinv": Smooth(arb.erfinv, lambda x, y: (y * y).exp() * arb.pi().sqrt() / 2),
    "gamma": Smooth(arb.gamma, lambda x, y: y * x.digamma()),
    "gammaln": Smooth(lambda x: abs(x.gamma()).log(), lambda x, y: x.digamma()),
    "ndtr": Smooth(_normal_below, lambda x, y: _normal(x)),
    "log_ndtr": Smooth(lambda x: _normal_below(x).log(), lambda x, y: _normal(x) / y.exp()),
    "entr": Smooth(_entropy, lambda x, y: -x.log() - ONE),
}
SMOOTH |= {"radians": SMOOTH["deg2rad"], "degrees": SMOOTH["rad2deg"]}
