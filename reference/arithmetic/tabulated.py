"""Functions of float64 numbers from tables, with an error of little more than one rounding.

x = c + r, where c is the nearest multiple of 1/128: both are exact, and |r| <= 2^-8. A table has
f(c) = f_h + f_l, with nearly twice the digits. An addition theorem gives f(x) = f_h + rest, or
f_h + r + rest if f(0) = 0; then f_h + r is computed without error. (P. T. P. Tang, Table-driven
implementation of the exponential function, ACM TOMS 15, 1989; of the expm1 function, 18, 1992.)

The proof, with u = 2^-53: `rest` is at most 2^-6.5 of f(x), and its roundings add up to at most
12 u of it, which is 0.14 u of f(x). The truncation of the polynomials is below 0.05 u, the error of
the table below 0.02 u, and the last sum is rounded once. Together this is below 1.25 u. log1p has
v = r/(1 + c) in place of r, which is itself rounded and may be as large as f(x): 2.25 u. Outside
the table (|c| > 64, for log1p also c < 0) the result is NaN.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from reference.arithmetic.split import two_sum

Array = np.ndarray

UNITS = {"EXP": 1.25, "EXPM1": 1.25, "TANH": 1.25, "SECH2": 1.25, "LOG1P": 2.25}
"""How many units of 2^-53 each function may be off by."""

_STEPS = 128.0
_END = 64


LIBRARY: dict[str, Callable[[Array], Array]] = {
    "EXP": np.exp, "EXPM1": np.expm1, "TANH": np.tanh,
    "SECH2": lambda x: 1 / np.cosh(x) ** 2, "LOG1P": np.log1p,
}  # fmt: skip
"""The same functions of NumPy, for any floating type."""


@cache
def _table(name: str) -> tuple[Array, Array]:
    """Return f at -64 to 64 in steps of 1/128, as f_h and f_l, and NaN beyond both ends.

    They are computed by NumPy in long double, with an assumed error of at most 16 units of 2^-64
    (`evaluation.OTHER_UNITS`).
    """
    c = np.arange(-_END * _STEPS - 1, _END * _STEPS + 2).astype(np.longdouble) / _STEPS
    with np.errstate(all="ignore"):
        exact = LIBRARY[name](c)
        if name == "LOG1P":
            exact[c < 0] = np.nan
        exact[[0, -1]] = np.nan
        high = exact.astype(np.float64)
        return high, (exact - high).astype(np.float64)


def _parts(x: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return r and the index of c in a table; the index of the end for numbers outside."""
    steps = np.rint(x * _STEPS)
    place = steps.astype(np.intp)
    place += int(_END * _STEPS) + 1
    steps *= -1 / _STEPS
    steps += x
    return steps, place


def _read(name: str, place: npt.NDArray[np.intp]) -> tuple[Array, Array]:
    high, low = _table(name)
    return high.take(place, mode="clip"), low.take(place, mode="clip")


def _added(high: Array, r: Array, rest: Array) -> Array:
    """Return high + r + rest, rounded once."""
    total, lost = two_sum(high, r)
    rest += lost
    total += rest
    return total


def _polynomial(x: Array, *coefficients: float) -> Array:
    """Return Σ coefficients[k] x^k."""
    found: Array = x * coefficients[-1]
    for coefficient in coefficients[-2:0:-1]:
        found += coefficient
        found *= x
    found += coefficients[0]
    return found


def _expm1_rest(r: Array) -> Array:
    """Return e^r - 1 - r, to r^6."""
    q = _polynomial(r, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)
    q *= r
    q *= r
    return q


def exp(x: Array) -> Array:
    """Return e^c + e^c (e^r - 1)."""
    r, place = _parts(x)
    high, low = _read("EXP", place)
    q = _expm1_rest(r)
    q += r
    q *= high
    q += low
    q += high
    return q


def expm1(x: Array) -> Array:
    """Return m + r + (e^r - 1 - r) + m (e^r - 1), with m = e^c - 1."""
    r, place = _parts(x)
    high, low = _read("EXPM1", place)
    q = _expm1_rest(r)
    low += q
    q += r
    q *= high
    q += low
    return _added(high, r, q)


def tanh(x: Array) -> Array:
    """Return t + r + (s - r) - s t (t + s)/(1 + t s), with t = tanh c and s = tanh r."""
    r, place = _parts(x)
    high, low = _read("TANH", place)
    square = r * r
    q = _polynomial(square, -1 / 3, 2 / 15, -17 / 315)
    q *= square
    q *= r
    low += q
    q += r
    product = q * high
    factor = high + q
    factor *= product
    product += 1
    factor /= product
    low -= factor
    return _added(high, r, low)


def sech2(x: Array) -> Array:
    """Return s - s w (2 + w)/(1 + w)², with s = 1/cosh² c and 1 + w = cosh r + tanh c · sinh r."""
    r, place = _parts(x)
    high, low = _read("SECH2", place)
    square = r * r
    w = _polynomial(square, 1.0, 1 / 6, 1 / 120)
    w *= r
    w *= _read("TANH", place)[0]
    even = _polynomial(square, 1 / 2, 1 / 24, 1 / 720)
    even *= square
    w += even
    lost = high * w
    lost *= w + 2
    w += 1
    w *= w
    lost /= w
    low -= lost
    low += high
    return low


def log1p(x: Array) -> Array:
    """Return log(1 + c) + v + (log(1 + v) - v), with v = r/(1 + c)."""
    r, place = _parts(x)
    high, low = _read("LOG1P", place)
    r /= (x - r) + 1
    q = _polynomial(r, -1 / 2, 1 / 3, -1 / 4, 1 / 5, -1 / 6, 1 / 7)
    q *= r
    q *= r
    low += q
    return _added(high, r, low)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "EXP": exp, "EXPM1": expm1, "TANH": tanh, "SECH2": sech2, "LOG1P": log1p,
}  # fmt: skip
