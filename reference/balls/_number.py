"""One scalar: a ball (a real number and its error bound) on a reverse tape."""

from __future__ import annotations

import dis
import functools
import numbers
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeAlias, cast

import numpy as np
from flint import arb

from ._tape import STATE, LeftTheTape, note_tie, too_many

Scalar: TypeAlias = "Number | float"
"""What stands in an array: a Number, or a plain float or int."""

ZERO, ONE, MINUS_ONE = arb(0), arb(1), arb(-1)
NAN = arb("nan")

# `parents` of a Number: a tuple of Numbers, or one of
LEAF: tuple[Number, ...] = ()  # lifted: derivatives are taken with respect to it
CONSTANT = None  # depends on nothing (chosen by a branch, or made while paused)


def ball_of(value: object) -> arb | None:
    """The exact ball of a float, an int or a NumPy scalar; None of anything else."""
    if isinstance(value, (float, int)):
        return arb(value)
    if isinstance(value, np.bool_ | np.integer):
        return arb(int(value))
    if isinstance(value, np.floating):
        return arb(float(value))
    if isinstance(value, complex | np.complexfloating):
        raise LeftTheTape(
            "a complex number is combined with a number that is computed from the inputs"
        )
    return None


def exactly(ufunc: str, value: arb, *operands: arb) -> arb:
    """Value, or NumPy's own answer where it is not finite and the operands are 0 or infinite.

    1/0 = inf, log 0 = −inf, erf(inf) = 1: arb says nan of them.
    """
    if value.is_finite():
        return value
    floats = [float(ball) for ball in operands if ball.is_exact()]
    if len(floats) == len(operands) and any(x == 0 or x in (np.inf, -np.inf) for x in floats):
        with np.errstate(all="ignore"):
            return arb(float(getattr(np, ufunc)(*floats)))
    return value


_REMAINDER = (6, 19)  # the arguments of BINARY_OP for % and %=


def _is_formatting(frame: FrameType) -> bool:
    """Whether the frame stands at a `%`: of all its meanings only str's calls float()."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return code[at] == dis.opmap["BINARY_OP"] and code[at + 1] in _REMAINDER


class Number:
    """A ball, and where it came from.

    value: the ball, a python-flint `arb`.
    parents: the Numbers it was made from; () for a leaf; None for a constant.
    partials: ∂value/∂parent, one ball for each parent.
    order: counts up; a parent has a smaller one than its children.
    """

    __slots__ = ("order", "parents", "partials", "value")

    value: arb
    parents: tuple[Number, ...] | None
    partials: tuple[arb, ...]
    order: int
    __array_priority__ = 20.0

    def __init__(
        self, value: arb, parents: tuple[Number, ...] | None, partials: tuple[arb, ...]
    ) -> None:
        self.value = value
        self.parents = parents
        self.partials = partials
        STATE.count = self.order = STATE.count + 1
        if self.order > STATE.limit:
            raise too_many()

    # ---- arithmetic -------------------------------------------------------------------------

    def __add__(self, other: Scalar) -> Number:
        if type(other) is Number:
            value = self.value + other.value
            if STATE.recording:
                return Number(value, (self, other), (ONE, ONE))
            return Number(value, CONSTANT, ())
        ball = ball_of(other)
        if ball is None:
            return NotImplemented
        return self._chain(self.value + ball, ONE)

    __radd__ = __add__

    def __sub__(self, other: Scalar) -> Number:
        if type(other) is Number:
            value = self.value - other.value
            if STATE.recording:
                return Number(value, (self, other), (ONE, MINUS_ONE))
            return Number(value, CONSTANT, ())
        ball = ball_of(other)
        if ball is None:
            return NotImplemented
        return self._chain(self.value - ball, ONE)

    def __rsub__(self, other: Scalar) -> Number:
        ball = ball_of(other)
        if ball is None:
            return NotImplemented
        return self._chain(ball - self.value, MINUS_ONE)

    def __mul__(self, other: Scalar) -> Number:
        if type(other) is Number:
            left, right = self.value, other.value
            if STATE.recording:
                return Number(left * right, (self, other), (right, left))
            return Number(left * right, CONSTANT, ())
        ball = ball_of(other)
        if ball is None:
            return NotImplemented
        return self._chain(self.value * ball, ball)

    __rmul__ = __mul__

    def __truediv__(self, other: Scalar) -> Number:
        divisor = other.value if type(other) is Number else ball_of(other)
        if divisor is None:
            return NotImplemented
        value = exactly("divide", self.value / divisor, self.value, divisor)
        if not STATE.recording:
            return Number(value, CONSTANT, ())
        inverse = ONE / divisor
        if type(other) is Number:
            return Number(value, (self, other), (inverse, -value * inverse))
        return Number(value, (self,), (inverse,))

    def __rtruediv__(self, other: Scalar) -> Number:
        ball = ball_of(other)
        if ball is None:
            return NotImplemented
        value = exactly("divide", ball / self.value, ball, self.value)
        return self._chain(value, -value / self.value if STATE.recording else NAN)

    def __pow__(self, other: Scalar) -> Number:
        return power(self, other)

    def __rpow__(self, other: Scalar) -> Number:
        return power(other, self)

    def __floordiv__(self, other: Scalar) -> float:
        quotient = self.__truediv__(other)
        return quotient if quotient is NotImplemented else floor_of(quotient, "floor_divide")

    def __mod__(self, other: Scalar) -> Number:
        whole = self.__floordiv__(other)
        return whole if whole is NotImplemented else self - other * whole

    def __rfloordiv__(self, other: Scalar) -> float:
        quotient = self.__rtruediv__(other)
        return quotient if quotient is NotImplemented else floor_of(quotient, "floor_divide")

    def __rmod__(self, other: Scalar) -> Number:
        whole = self.__rfloordiv__(other)
        return whole if whole is NotImplemented else other - self * whole

    def __neg__(self) -> Number:
        return self._chain(-self.value, MINUS_ONE)

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        sign = sign_of(self, "absolute")
        return self._chain(abs(self.value), arb(sign))

    def __round__(self, digits: int | None = None) -> float:
        whole = rounded(self, digits or 0)
        return int(whole) if digits is None else whole

    def conjugate(self) -> Number:
        """Itself: it is real."""
        return self

    def _chain(self, value: arb, slope: arb) -> Number:
        """A Number made from this one alone."""
        if STATE.recording:
            return Number(value, (self,), (slope,))
        return Number(value, CONSTANT, ())

    # ---- comparisons ------------------------------------------------------------------------

    def __lt__(self, other: Scalar) -> bool:
        return compare("less", self, other)

    def __gt__(self, other: Scalar) -> bool:
        return compare("greater", self, other)

    def __le__(self, other: Scalar) -> bool:
        return compare("less_equal", self, other)

    def __ge__(self, other: Scalar) -> bool:
        return compare("greater_equal", self, other)

    def __eq__(self, other: object) -> bool:
        return compare("equal", self, other)

    def __ne__(self, other: object) -> bool:
        return compare("not_equal", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        return bool(compare("not_equal", self, 0.0))

    # ---- leaving the tape -------------------------------------------------------------------

    @property
    def depends(self) -> bool:
        """Whether it is a leaf or was made from one."""
        return self.parents is not None

    def _leave(self, asked: str) -> float:
        """The exact double of a constant; raises for everything else."""
        near = float(self.value)
        if self.parents is None and (self.value == near or self.value.is_nan()):
            return near
        raise LeftTheTape(
            f"{asked} of a number that is computed from the inputs: its derivative would be lost"
        )

    def __float__(self) -> float:
        if _is_formatting(sys._getframe(1)):
            return float(self.value)  # "loss %.3f" % loss: nothing is computed from it
        return self._leave("float()")

    def __int__(self) -> int:
        return int(self._leave("int()"))

    def __index__(self) -> int:
        near = self._leave("an index")
        if near != int(near):
            raise LeftTheTape("a number that is not an integer is used as an index")
        return int(near)

    def __complex__(self) -> complex:
        return complex(self._leave("complex()"))

    def __trunc__(self) -> int:
        return int(self._leave("trunc()"))

    # ---- a NumPy scalar ---------------------------------------------------------------------

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **options: object
    ) -> object:
        return STATE.array_ufunc(ufunc, method, inputs, options)

    def __array_function__(
        self, function: Callable[..., object], types: object, args: object, kwargs: object
    ) -> object:
        return STATE.array_function(function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        # What NumPy's scalars have (shape, sum, item …) is what a 0-d array has.
        if name.startswith("__"):
            raise AttributeError(name)
        if name in STATE.methods:  # NumPy's own loops over objects call x.exp()
            return functools.partial(STATE.methods[name], self)
        return getattr(STATE.wrap(self), name)

    def item(self) -> Number:
        """Itself."""
        return self

    def tolist(self) -> Number:
        """Itself."""
        return self

    def copy(self) -> Number:
        """Itself: Numbers are never changed."""
        return self

    def __copy__(self) -> Number:
        return self

    def __deepcopy__(self, memo: object) -> Number:
        return self

    def __repr__(self) -> str:
        return repr(float(self.value))

    def __format__(self, spec: str) -> str:
        return format(float(self.value), spec)


numbers.Real.register(Number)


def constant(value: Scalar) -> Number:
    """A Number of a plain float: nothing it depends on, but derivatives by it can be taken."""
    return value if type(value) is Number else Number(value_of(value), CONSTANT, ())


def value_of(x: Scalar) -> arb:
    """The ball of a Number, a float or an int."""
    return x.value if type(x) is Number else cast(arb, ball_of(x))


def size_of(x: Scalar) -> Scalar:
    """|x|."""
    return x.__abs__()  # abs() of a union is an object to mypy


def depends(x: Scalar) -> bool:
    """Whether x is a Number that depends on a leaf."""
    return type(x) is Number and x.parents is not None


def tie(operation: str, left: Scalar, right: Scalar, equal: bool) -> None:
    """Note a tie of two scalars; equal constants are none: nothing moves them apart."""
    tracked = depends(left), depends(right)
    if any(tracked) or not equal:
        note_tie(operation, left, right, equal, tracked)


def order_of(operation: str, left: Scalar, right: Scalar) -> int | None:
    """−1, 0 or 1 as left is below, equal to or above right; None where one is nan. Notes ties.

    Undecided: the order of the midpoints, noted as a tie.
    """
    if left is right:
        return None if value_of(left).is_nan() else 0
    a, b = value_of(left), value_of(right)
    if a < b:
        return -1
    if a > b:
        return 1
    if a.is_nan() or b.is_nan():
        return None
    equal = bool(a == b) or (a.is_exact() and b.is_exact())
    tie(operation, left, right, equal)
    if equal:
        return 0
    a, b = a.mid(), b.mid()
    return -1 if a < b else int(a > b)


_ANSWERS: dict[str, tuple[Callable[[int], bool], bool]] = {
    "less": (lambda order: order < 0, False),
    "greater": (lambda order: order > 0, False),
    "less_equal": (lambda order: order <= 0, False),
    "greater_equal": (lambda order: order >= 0, False),
    "equal": (lambda order: order == 0, False),
    "not_equal": (lambda order: order != 0, True),
}


def compare(operation: str, left: Scalar, right: Any) -> bool:
    """The bool of a comparison; NotImplemented where right is not a scalar."""
    if type(right) is not Number and ball_of(right) is None:
        if isinstance(right, np.ndarray) or operation not in ("equal", "not_equal"):
            return NotImplemented  # type: ignore[no-any-return]  # as a comparison may
        return operation == "not_equal"
    decide, if_nan = _ANSWERS[operation]
    order = order_of(operation, left, right)
    return if_nan if order is None else decide(order)


def sign_of(x: Number, operation: str = "sign") -> float:
    """−1, 0 or 1; nan of nan. A zero is noted as a tie."""
    order = order_of(operation, x, 0.0)
    return float("nan") if order is None else float(order)


def floor_of(x: Number, operation: str = "floor") -> float:
    """⌊x⌋ as a plain float: its slope is 0. An integer is noted as a tie."""
    lower = x.value.floor()
    if not lower.is_finite():
        return float(x.value)
    if not lower.is_exact():
        lower = x.value.mid().floor()
        tie(operation, x, float(lower + 1), False)
    elif x.value == lower:
        tie(operation, x, float(lower), True)
    return float(lower)


def rounded(x: Number, digits: int = 0) -> float:
    """X rounded to decimals, halves to even, as a plain float."""
    scale = arb(10) ** digits
    shifted = Number(x.value * scale, x.parents, x.partials)
    down = floor_of(shifted - 0.5, "round")  # the one of two neighbours in case of a tie
    middle = shifted.value - arb(down)
    whole = down + 1 if not (middle == arb(0.5) and down % 2 == 0) else down
    return float(arb(whole) / scale)


def power(base: Scalar, exponent: Scalar) -> Number:
    """The power base ** exponent: integer exponents by products, ½ by the square root."""
    x, p = value_of(base), value_of(exponent)
    if x is None or p is None:
        return NotImplemented
    value = exactly("power", _power(x, p), x, p)
    if not STATE.recording:
        return Number(value, CONSTANT, ())
    parents: list[Number] = []
    partials: list[arb] = []
    if type(base) is Number:
        parents.append(base)
        lower = _power(x, p - 1)
        partials.append(ZERO if p == 0 else p * exactly("power", lower, x, p - 1))
    if type(exponent) is Number:
        parents.append(exponent)
        partials.append(ZERO if x == 0 and p > 0 else value * x.log())
    return Number(value, tuple(parents), tuple(partials))


def _power(x: arb, p: arb) -> arb:
    if p.is_integer() and p.is_exact():
        return x ** int(p.unique_fmpz() or 0)
    return x.sqrt() if p == 0.5 else x**p
