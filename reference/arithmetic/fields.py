"""An arithmetic over arrays: a `definition` at many points at once, with its slopes.

Numbers are NumPy's long doubles, which carry eleven bits more than float64 where the machine has
them. Nothing here is proven: who uses it checks it against balls, and goes back to balls where
the two differ, where a decision is not the same at all points, or where a number is not finite.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Extended = np.longdouble

EXTENDED = np.finfo(Extended).nmant >= 63
"""Whether long doubles are longer than doubles here; where not, balls do all the work."""


class Mixed(Exception):
    """A definition asked something of a target that is not the same for all: ask the two apart."""

    def __init__(self, same: npt.NDArray[np.bool_]) -> None:
        super().__init__("not the same for all")
        self.same = same


class Field:
    """Values at all points, shape (…, M), and slopes by each of K inputs, (K, …, M), or None."""

    __slots__ = ("slope", "value")
    __array_ufunc__ = None  # so that a NumPy number on the left leaves the operation to us

    def __init__(self, value: Any, slope: Any = None) -> None:
        self.value = value
        self.slope = slope

    def __add__(self, other: Any) -> "Field":
        if isinstance(other, Field):
            return Field(self.value + other.value, _sum(self.slope, other.slope))
        return Field(self.value + other, self.slope)

    __radd__ = __add__

    def __neg__(self) -> "Field":
        return Field(-self.value, None if self.slope is None else -self.slope)

    def __sub__(self, other: Any) -> "Field":
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> "Field":
        return self.__neg__().__add__(other)

    def __mul__(self, other: Any) -> "Field":
        if isinstance(other, Field):
            slope = _sum(_times(self.slope, other.value), _times(other.slope, self.value))
            return Field(self.value * other.value, slope)
        return Field(self.value * other, _times(self.slope, other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Field":
        if not isinstance(other, Field):
            slope = None if self.slope is None else self.slope / other
            return Field(self.value / other, slope)
        quotient = self.value / other.value
        across = _sum(self.slope, _times(other.slope, -quotient))
        return Field(quotient, None if across is None else across / other.value)

    def __rtruediv__(self, other: Any) -> "Field":
        quotient = other / self.value
        return Field(quotient, _times(self.slope, -quotient / self.value))


class Given(Field):
    """A target: comparing it with a number says yes or no for all, or asks to be split."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        same = np.asarray(self.value == other)
        if same.all():
            return True
        if not same.any():
            return False
        raise Mixed(same)

    def __ne__(self, other: object) -> bool:
        return not self == other


class ArrayArithmetic:
    """What a definition is written over; the counterpart of `balls.Arithmetic`.

    Of every decision, `first` keeps which way it fell at the first point, and `open` the columns
    where it fell differently at another point, or was a tie, (M,) each. `forced` (D, M) takes a
    branch, 1 or 0, for all points of a column; -1 leaves it to the numbers. A forced `max`, `min`
    or `abs` keeps its value, which does not jump, and takes the branch's slope. `rounds` says
    whether more than sums, products and quotients was asked for.
    """

    def __init__(self, columns: int, forced: npt.NDArray[np.int8] | None = None) -> None:
        self.first: list[npt.NDArray[np.bool_]] = []
        self.open: list[npt.NDArray[np.bool_]] = []
        self.rounds = False
        self._columns = columns
        self._forced = forced

    @property
    def pi(self) -> Any:
        """The ratio of a circle's circumference to its diameter."""
        return Extended("3.14159265358979323846264338327950288")

    def number(self, value: Any) -> Any:
        """Return a constant."""
        if isinstance(value, Fraction):
            return Extended(value.numerator) / Extended(value.denominator)
        return value if isinstance(value, Field) else Extended(value)

    def exp(self, x: Any) -> Any:
        """Return e^x."""
        return self._chain(x, np.exp, lambda v, y: y)

    def log(self, x: Any) -> Any:
        """Return the natural logarithm."""
        return self._chain(x, np.log, lambda v, y: 1 / v)

    def log1p(self, x: Any) -> Any:
        """Return log(1 + x)."""
        return self._chain(x, np.log1p, lambda v, y: 1 / (1 + v))

    def expm1(self, x: Any) -> Any:
        """Return e^x - 1."""
        return self._chain(x, np.expm1, lambda v, y: np.exp(v))

    def sqrt(self, x: Any) -> Any:
        """Return the square root."""
        return self._chain(x, np.sqrt, lambda v, y: 1 / (2 * y))

    def tanh(self, x: Any) -> Any:
        """Return tanh x; its slope is 1/cosh² x."""
        return self._chain(x, np.tanh, lambda v, y: np.cosh(v) ** -2)

    def erf(self, x: Any) -> Any:
        """Return the error function."""
        return self._chain(x, _erf, lambda v, y: 2 * np.exp(-v * v) / np.sqrt(self.pi))

    def erfc(self, x: Any) -> Any:
        """Return 1 - erf x, without the cancellation."""
        return self._chain(x, _erfc, lambda v, y: -2 * np.exp(-v * v) / np.sqrt(self.pi))

    def sin(self, x: Any) -> Any:
        """Return sin x."""
        return self._chain(x, np.sin, lambda v, y: np.cos(v))

    def cos(self, x: Any) -> Any:
        """Return cos x."""
        return self._chain(x, np.cos, lambda v, y: -np.sin(v))

    def _chain(self, x: Any, f: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Any:
        if not isinstance(x, Field):
            return f(Extended(x))
        self.rounds = True
        y = f(x.value)
        return Field(y, None if x.slope is None else x.slope * slope(x.value, y))

    def where(self, c: Any, a: Any, b: Any) -> Any:
        """Return a if c > 0 else b."""
        return self._choose(c, a, b, jumps=True)

    def max(self, a: Any, b: Any) -> Any:
        """Return the larger of two."""
        return self._choose(a - b, a, b)

    def min(self, a: Any, b: Any) -> Any:
        """Return the smaller of two."""
        return self._choose(b - a, a, b)

    def abs(self, a: Any) -> Any:
        """Return the distance from zero."""
        return self._choose(a, a, -a)

    def _choose(self, c: Any, a: Any, b: Any, *, jumps: bool = False) -> Any:
        c, a, b = (f if isinstance(f, Field) else Field(f) for f in (c, a, b))
        taken = valued = np.asarray(c.value > 0)
        tie = (c.value == 0) & (False if c.slope is None else (c.slope != 0).any(axis=0))
        position = len(self.first)
        self._log(taken, tie | np.isnan(c.value))
        if self._forced is not None and position < len(self._forced):
            forced = self._forced[position]
            taken = np.where(forced < 0, taken, forced == 1)
            valued = taken if jumps else valued
        slope = None
        if a.slope is not None or b.slope is not None:
            zero = Extended(0)
            slopes = (zero if s is None else s for s in (a.slope, b.slope))
            slope = np.where(taken, *slopes)
        return Field(np.where(valued, a.value, b.value), slope)

    def _log(self, taken: Any, undecided: Any) -> None:
        shape = (*np.shape(taken)[:-1], self._columns)
        ways = np.broadcast_to(taken, shape).reshape(-1, self._columns)
        unsure = np.broadcast_to(undecided, shape).reshape(-1, self._columns)
        self.first.append(ways[0])
        self.open.append((ways != ways[0]).any(axis=0) | unsure.any(axis=0))


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _times(slope: Any, factor: Any) -> Any:
    return None if slope is None else slope * factor


_FAR = 2.0
_TERMS = 40  # the series' last term at _FAR is below 2^-64 of the first
_STEPS = 60  # and so is what the continued fraction still changes there


def _erf(x: Any) -> Any:
    """Return erf x: below 2 by erf x = 2x e^-x²/√π Σ (2x²)^k/(1·3·…·(2k + 1)), no cancellation."""
    near = np.where(np.abs(x) < _FAR, x, 0)
    square = 2 * near * near
    total = term = np.ones_like(near)
    for k in range(1, _TERMS):
        term = term * square / (2 * k + 1)
        total = total + term
    small = near * np.exp(-near * near) * total * (2 / np.sqrt(_pi()))
    return np.where(np.abs(x) < _FAR, small, np.sign(x) * (1 - _tail(np.abs(x))))


def _erfc(x: Any) -> Any:
    return np.where(x < _FAR, 1 - _erf(x), _tail(x))


def _tail(x: Any) -> Any:
    """Return erfc x beyond 2 by Laplace's continued fraction, x + (1/2)/(x + (2/2)/(x + …))."""
    x = np.maximum(x, _FAR)
    fraction = x
    for k in range(_STEPS, 0, -1):
        fraction = x + (k / 2) / fraction
    return np.exp(-x * x) / (fraction * np.sqrt(_pi()))


def _pi() -> Any:
    return Extended("3.14159265358979323846264338327950288")
