"""Truth to fifty digits: an arithmetic over mpmath that the definitions run on.

`value(definition, x, **parameters)` and `slope(definition, x, **parameters)` raise the precision
until fifty digits no longer change. The slope is carried by dual numbers, exact but for the
arithmetic, and shares no derivation with a hand-written backward. At an exact tie of a maximum,
a sign or a choice it has two values, one from each side.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from mpmath import mp, mpf

DIGITS = 50
LARGEST_PRECISION = 8000


class Dual:
    """A number and its slope along one direction."""

    __slots__ = ("slope", "value")

    def __init__(self, value: Any, slope: Any = 0) -> None:
        self.value, self.slope = mpf(value), mpf(slope)

    def __neg__(self) -> "Dual":
        return Dual(-self.value, -self.slope)

    def __add__(self, other: Any) -> "Dual":
        other = _dual(other)
        return Dual(self.value + other.value, self.slope + other.slope)

    def __sub__(self, other: Any) -> "Dual":
        return self + -_dual(other)

    def __rsub__(self, other: Any) -> "Dual":
        return _dual(other) - self

    def __mul__(self, other: Any) -> "Dual":
        other = _dual(other)
        return Dual(
            _product(self.value, other.value),
            _product(self.slope, other.value) + _product(self.value, other.slope),
        )

    def __truediv__(self, other: Any) -> "Dual":
        other = _dual(other)
        if other.value == 0:  # an infinite branch that a `where` does not choose
            return Dual(mp.nan, mp.nan)
        value = self.value / other.value
        return Dual(value, (self.slope - _product(value, other.slope)) / other.value)

    def __rtruediv__(self, other: Any) -> "Dual":
        return _dual(other) / self

    __radd__, __rmul__ = __add__, __mul__


def _dual(number: Any) -> Dual:
    return number if isinstance(number, Dual) else Dual(number)


def _product(a: Any, b: Any) -> Any:
    """Return a b; zero where one of them is an exact zero, as the limit of a chosen branch is."""
    return mpf(0) if a == 0 or b == 0 else a * b


class Arithmetic:
    """What a definition may call, over `Dual`. `side` says from where a tie is approached.

    `tied` says whether one was met: if not, both sides give the same.
    """

    def __init__(self, side: int = 1) -> None:
        self.side, self.tied = side, False

    @property
    def pi(self) -> Dual:
        """π at the precision of the moment."""
        return Dual(+mp.pi)

    def number(self, exact: str | int | float | Fraction) -> Dual:
        """Return an exact number; a string is a decimal fraction."""
        fraction = Fraction(exact)
        return Dual(mpf(fraction.numerator) / mpf(fraction.denominator))

    def exp(self, x: Any) -> Dual:
        x = _dual(x)
        y = _exp(x.value)
        return Dual(y, _product(y, x.slope))

    def log(self, x: Any) -> Dual:
        x = _dual(x)
        if x.value <= 0:
            return Dual(-mp.inf if x.value == 0 else mp.nan, mp.nan if x.slope else 0)
        return Dual(mp.log(x.value), x.slope / x.value)

    def log1p(self, x: Any) -> Dual:
        x = _dual(x)
        if x.value <= -1:
            return Dual(-mp.inf if x.value == -1 else mp.nan, mp.nan if x.slope else 0)
        return Dual(mp.log1p(x.value), x.slope / (1 + x.value))

    def expm1(self, x: Any) -> Dual:
        x = _dual(x)
        return Dual(mp.expm1(x.value), _product(_exp(x.value), x.slope))

    def sqrt(self, x: Any) -> Dual:
        x = _dual(x)
        y = mp.sqrt(x.value)
        return Dual(y, x.slope / (2 * y) if x.slope else 0)

    def tanh(self, x: Any) -> Dual:
        x = _dual(x)
        e = _exp(-2 * abs(x.value))  # 1 - tanh² would need as many digits as it saturates
        y = mp.tanh(x.value) if abs(x.value) < 1 else mp.sign(x.value) * (1 - e) / (1 + e)
        return Dual(y, _product(4 * e / (1 + e) ** 2, x.slope))

    def erf(self, x: Any) -> Dual:
        x = _dual(x)
        density = 2 / mp.sqrt(mp.pi) * _exp(-x.value * x.value)
        return Dual(mp.erf(x.value), _product(density, x.slope))

    def erfc(self, x: Any) -> Dual:
        x = _dual(x)
        density = -2 / mp.sqrt(mp.pi) * _exp(-x.value * x.value)
        return Dual(_erfc(x.value), _product(density, x.slope))

    def sin(self, x: Any) -> Dual:
        x = _dual(x)
        return Dual(mp.sin(x.value), _product(mp.cos(x.value), x.slope))

    def cos(self, x: Any) -> Dual:
        x = _dual(x)
        return Dual(mp.cos(x.value), _product(-mp.sin(x.value), x.slope))

    def where(self, c: Any, a: Any, b: Any) -> Dual:
        """Return a if c > 0, else b; at c = 0 the slope is that of the side we stand on."""
        c, a, b = _dual(c), _dual(a), _dual(b)
        if c.value != 0:
            return a if c.value > 0 else b
        self.tied = True
        return Dual(b.value, a.slope if c.slope * self.side > 0 else b.slope)

    def share(self, part: Any, rest: Any) -> Dual:
        a, r = _dual(part), _dual(rest)
        total = a.value + r.value
        slope = _product(a.slope, r.value / total) - _product(r.slope, a.value / total)
        return Dual(a.value / total, slope / total)

    def shifted(self, x: Any, by: Any) -> Dual:
        x, by = _dual(x), _dual(by)
        return Dual(x.value - by.value, x.slope)

    def max(self, a: Any, b: Any) -> Dual:
        return self.where(_dual(a) - b, a, b)

    def min(self, a: Any, b: Any) -> Dual:
        return self.where(_dual(a) - b, b, a)

    def abs(self, x: Any) -> Dual:
        x = _dual(x)
        return self.where(x, x, -x)


def _exp(x: Any) -> Any:
    """Return e^x; mpmath raises e to an integer x by repeated squaring, slow where x is huge."""
    if abs(x) < 10_000:
        return mp.exp(x)
    with mp.workprec(mp.prec + mp.frexp(x)[1] + 10):
        n = mp.nint(x / mp.ln2)
        return mp.ldexp(mp.exp(x - n * mp.ln2), int(n))


def _erfc(x: Any) -> Any:
    """Return erfc x; far out by its asymptotic series, which mpmath does not use."""
    if x < 1000:
        return mp.erfc(x)
    square, total, term, k = x * x, mpf(1), mpf(1), 0
    while abs(term) > mpf(10) ** -mp.dps and k < 400:
        k += 1
        term *= -(2 * k - 1) / (2 * square)
        total += term
    return _exp(-square) / (x * mp.sqrt(mp.pi)) * total


def _settled(compute: Callable[[], Any], digits: int) -> Any:
    """Return what `compute` gives once fifty digits stay when the precision is doubled."""
    precision, before = digits + 15, None
    while precision <= LARGEST_PRECISION:
        with mp.workdps(precision):
            now = compute()
            if before is not None and _same(before, now, digits):
                return now
        # A zero may be a difference smaller than the precision: try once far beyond it.
        hidden = before is None and any(number == 0 for number in _numbers(now))
        before, precision = now, 1500 if hidden and precision < 700 else precision * 2
    raise AssertionError(f"no {digits} digits settle below {LARGEST_PRECISION}: {before}")


def _same(before: Any, now: Any, digits: int) -> bool:
    tolerance = mpf(10) ** -digits
    pairs = zip(_numbers(before), _numbers(now), strict=True)
    return all(a == b or abs(a - b) <= tolerance * abs(b) for a, b in pairs)


def _numbers(found: Any) -> list[Any]:
    if isinstance(found, list | tuple):
        return [number for part in found for number in _numbers(part)]
    return [found]


def value(
    definition: Callable[..., Any],
    x: float | Sequence[float],
    *args: Any,
    digits: int = DIGITS,
    **parameters: Any,
) -> Any:
    """Return the definition at a number or a row, as one mpf or a list of them."""

    def compute() -> Any:
        given = [Dual(x_i) for x_i in x] if isinstance(x, Sequence) else Dual(x)
        return _part(definition(Arithmetic(), given, *args, **parameters), "value")

    return _settled(compute, digits)


def slope(
    definition: Callable[..., Any],
    x: float,
    *args: Any,
    digits: int = DIGITS,
    **parameters: Any,
) -> tuple[Any, Any]:
    """Return the slope from the left and from the right; the same number away from a tie."""

    def compute() -> Any:
        return _sides(lambda m: _part(definition(m, Dual(x, 1), *args, **parameters), "slope"))

    left, right = _settled(compute, digits)
    return left, right


def _sides(found: Callable[[Arithmetic], Any]) -> tuple[Any, Any]:
    """Return what is found from the left and from the right."""
    m = Arithmetic(-1)
    left = found(m)
    return left, found(Arithmetic(1)) if m.tied else left


_STEP = 220  # bits: the difference quotient of a slope is off by the step, 6e-67


def bend(
    definition: Callable[..., Any],
    x: float | Sequence[float],
    *args: Any,
    along: Sequence[float] = (),
    digits: int = 60,
    **parameters: Any,
) -> list[tuple[Any, Any]]:
    """Return how the slope moves by each x_j, from the left and from the right.

    Of a function of a number that is f''. Of one of a row it is the slope along the direction
    `along` that moves: one number for a loss, a list for a row, as in `jacobian`.
    """
    row = isinstance(x, Sequence)
    given = x if isinstance(x, Sequence) else [x]
    directions = along if isinstance(x, Sequence) else [1.0]

    def slopes(m: Arithmetic, j: int, by: Any) -> Any:
        at = [Dual(mpf(v) + (by if k == j else 0), t)
              for k, (v, t) in enumerate(zip(given, directions, strict=True))]  # fmt: skip
        return _part(definition(m, at if row else at[0], *args, **parameters), "slope")

    def compute() -> Any:
        # Beside the largest number the step still has its digits.
        largest = max(mp.frexp(mpf(v))[1] if v else 0 for v in given)
        with mp.workprec(mp.prec + _STEP + max(0, largest)):
            h = mpf(2) ** -_STEP
            here = list(zip((-1, 1), _sides(lambda m: slopes(m, 0, 0)), strict=True))
            return [
                tuple(_quotient(at, slopes(Arithmetic(s), j, s * h), s * h) for s, at in here)
                for j in range(len(given))
            ]

    found: list[tuple[Any, Any]] = _settled(compute, digits)
    return found


def _quotient(here: Any, there: Any, h: Any) -> Any:
    if isinstance(here, list):
        return [_quotient(a, b, h) for a, b in zip(here, there, strict=True)]
    return (there - here) / h


def tied(definition: Callable[..., Any], x: float, *args: Any, **parameters: Any) -> bool:
    """Return whether x is where the slopes from the two sides differ, cheaply: 15 digits."""
    left, right = _sides(lambda m: _part(definition(m, Dual(x, 1), *args, **parameters), "slope"))
    return bool(left != right)


def jacobian(
    definition: Callable[..., Any],
    x: Sequence[float],
    *args: Any,
    digits: int = DIGITS,
    **parameters: Any,
) -> list[tuple[Any, Any]]:
    """Return, for each x_j, what changes by it from the left and from the right.

    Each is a number where the definition gives a number (a loss) and a list where it gives a row:
    `jacobian(softmax, x)[j][0][i]` is ∂y_i/∂x_j.
    """

    def column(j: int, m: Arithmetic) -> Any:
        given = [Dual(x_i, int(i == j)) for i, x_i in enumerate(x)]
        return _part(definition(m, given, *args, **parameters), "slope")

    def compute() -> Any:
        return [_sides(partial(column, j)) for j in range(len(x))]

    columns: list[tuple[Any, Any]] = _settled(compute, digits)
    return columns


def _part(found: Any, part: str) -> Any:
    if isinstance(found, list | tuple):
        return [_part(number, part) for number in found]
    return getattr(_dual(found), part)


def unit(truth: Any, dtype: Any) -> Any:
    """Return the distance of neighbouring floats of `dtype` at the truth; subnormals share one."""
    information = np.finfo(dtype)
    smallest_exponent = int(information.minexp)
    exponent = (
        smallest_exponent if truth == 0 else max(mp.frexp(abs(truth))[1] - 1, smallest_exponent)
    )
    return mp.ldexp(mpf(1), exponent - int(information.nmant))


def ulp_error(computed: Any, truth: Any, dtype: Any) -> float:
    """Return how many units in the last place `computed` is from the truth.

    A truth beyond the largest number admits an infinity of its sign and the largest number; a
    NaN is infinitely wrong.
    """
    largest = mpf(float(np.finfo(dtype).max))
    number = float(computed)
    if np.isnan(number):
        return float("inf")
    if abs(truth) > largest:
        edge = largest * mp.sign(truth)
        return (
            0.0
            if np.isinf(number) and number * mp.sign(truth) > 0
            else ulp_error(number, edge, dtype)
        )
    if np.isinf(number):
        return float("inf")
    return float(abs(mpf(number) - truth) / unit(truth, dtype))
