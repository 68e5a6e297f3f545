"""Numbers with a rigorous error bound, and with their slopes.

A ball is a midpoint and a radius that covers all rounding errors (python-flint's `arb`). A `Dual`
is a ball together with its slopes by the inputs of one operation, by forward-mode differentiation.
`DefinitionArithmetic` has the functions that a `definition` uses.

`where`, `max`, `min` and `abs` choose a branch by the sign of a number c. If c is exactly 0 (a
kink), the value is that of the second branch, and the slope is the interval between the two
one-sided slopes. If the precision does not decide the sign of c, value and slope are intervals that
contain both branches. So no operation states its kinks, and if two branches have the same slope the
result stays narrow. Undefined results (log 0, 0/0) are the ball `nan`, unbounded ones
`[+/- inf]`; no exception is raised.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple, final

from flint import arb, ctx, fmpq

from reference.arithmetic.smooth import SMOOTH

Ball = arb


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Compute with `bits` bits inside the block."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def exact(value: float | str | Fraction | Ball) -> Ball:
    """Return the ball of a number: floats and ints exactly, fractions rounded once."""
    if isinstance(value, str):
        value = Fraction(value)
    if isinstance(value, Fraction):
        return arb(fmpq(value.numerator, value.denominator))
    return arb(value)


class Slopes:
    """The slopes of a number by the inputs of an operation; one that is not named has slope 0."""

    __slots__ = ("by",)

    def __init__(self, by: dict[int, Ball]) -> None:
        self.by = by

    def __add__(self, other: "Slopes") -> "Slopes":
        total = dict(self.by)
        for i, slope in other.by.items():
            total[i] = total[i] + slope if i in total else slope
        return Slopes(total)

    def __sub__(self, other: "Slopes") -> "Slopes":
        return self + -other

    def __neg__(self) -> "Slopes":
        return Slopes({i: -slope for i, slope in self.by.items()})

    def __mul__(self, factor: Ball | float) -> "Slopes":
        return Slopes({i: slope * factor for i, slope in self.by.items()})

    def __truediv__(self, divisor: Ball | float) -> "Slopes":
        return Slopes({i: slope / divisor for i, slope in self.by.items()})

    def is_zero(self) -> bool:
        """Return whether every slope is certainly 0."""
        return all(slope.is_zero() for slope in self.by.values())

    def union(self, other: "Slopes") -> "Slopes":
        """Return the smallest intervals that contain both, input by input."""
        zero = arb(0)
        names = self.by.keys() | other.by.keys()
        return Slopes({i: self.by.get(i, zero).union(other.by.get(i, zero)) for i in names})


@final
class Dual:
    """A value and its slopes."""

    __slots__ = ("slope", "value")

    def __init__(self, value: Ball, slope: Slopes) -> None:
        self.value = value
        self.slope = slope

    def __add__(self, other: "Dual | Ball | float") -> "Dual":
        if type(other) is Dual:
            return Dual(self.value + other.value, self.slope + other.slope)
        return Dual(self.value + other, self.slope)

    __radd__ = __add__

    def __sub__(self, other: "Dual | Ball | float") -> "Dual":
        if type(other) is Dual:
            return Dual(self.value - other.value, self.slope - other.slope)
        return Dual(self.value - other, self.slope)

    def __rsub__(self, other: Ball | float) -> "Dual":
        return Dual(other - self.value, -self.slope)

    def __neg__(self) -> "Dual":
        return Dual(-self.value, -self.slope)

    def __mul__(self, other: "Dual | Ball | float") -> "Dual":
        if type(other) is Dual:
            if other is self:  # the ball of a square is not negative
                return Dual(self.value**2, self.slope * (2 * self.value))
            slope = self.slope * other.value + other.slope * self.value
            return Dual(self.value * other.value, slope)
        return Dual(self.value * other, self.slope * other)

    __rmul__ = __mul__

    def __truediv__(self, other: "Dual | Ball | float") -> "Dual":
        if type(other) is Dual:
            quotient = self.value / other.value
            return Dual(quotient, (self.slope - other.slope * quotient) / other.value)
        return Dual(self.value / other, self.slope / other)

    def __rtruediv__(self, other: Ball | float) -> "Dual":
        quotient = other / self.value
        return Dual(quotient, self.slope * (-quotient / self.value))


Term = Dual | Ball


class Decision(NamedTuple):
    """One decision of a definition: c in "c > 0", and the branch taken.

    `taken` is True for the first branch, False for the second, None if both were joined.
    """

    value: Ball
    taken: bool | None

    @property
    def tie(self) -> bool:
        """Whether c is exactly zero."""
        return bool(self.value.is_zero())


class DefinitionArithmetic:
    """The functions that a definition uses, over balls. One object evaluates one definition once.

    `decisions` has every decision in the order of the definition's steps, which is the same at
    every point. `forced` has a branch by position.
    """

    def __init__(self, forced: dict[int, bool] | None = None) -> None:
        self.decisions: list[Decision] = []
        self._forced = forced or {}

    @property
    def pi(self) -> Ball:
        """The ratio of a circle's circumference to its diameter."""
        return arb.pi()

    def number(self, value: float | str | Fraction | Ball) -> Ball:
        """Return an exact constant: "0.1" is 1/10, the float 0.1 is the float's value."""
        return exact(value)

    def __getattr__(self, name: str) -> Callable[[Term | float], Term]:
        """Return a function of one number with its slope by the chain rule: exp, log, sqrt …."""
        if name not in SMOOTH:
            raise AttributeError(name)
        value, slope = SMOOTH[name]

        def of(x: Term | float) -> Term:
            if type(x) is not Dual:
                return value(exact(x))
            y = value(x.value)
            return Dual(y, x.slope * slope(x.value, y))

        return of

    def where(self, c: Term | float, a: Term | float, b: Term | float) -> Term:
        """Return a if c > 0 else b."""
        return self._choose(c, a, b, None)

    def share(self, part: Term, rest: Term) -> Term:
        """Return a/(a + r), which moves by (r da - a dr)/(a + r)²."""
        if type(part) is not Dual and type(rest) is not Dual:
            return part / (part + rest)
        a, r = dual(part), dual(rest)
        total = a.value + r.value
        slope = a.slope * (r.value / total) - r.slope * (a.value / total)
        return Dual(a.value / total, slope / total)

    def shifted(self, x: Term, by: Term) -> Term:
        """Return x - by, of which no slope is taken by the second."""
        return x - (by.value if type(by) is Dual else by)

    def max(self, a: Term | float, b: Term | float) -> Term:
        """Return the larger of two."""
        return self._choose(a - b, a, b, lambda p, q: p.max(q))

    def min(self, a: Term | float, b: Term | float) -> Term:
        """Return the smaller of two."""
        return self._choose(b - a, a, b, lambda p, q: p.min(q))

    def abs(self, a: Term | float) -> Term:
        """Return the distance from zero."""
        return self._choose(a, a, -a, lambda p, q: abs(p))

    def _choose(
        self,
        c: Term | float,
        a: Term | float,
        b: Term | float,
        value: Callable[[Ball, Ball], Ball] | None,
    ) -> Term:
        """Return the branch that the sign of c chooses, or both joined if it is undecided."""
        c = dual(c)
        taken = self._decide(c)
        self.decisions.append(Decision(c.value, taken))
        if taken is not None:
            return a if taken else b  # type: ignore[return-value]  # a float stays what it is
        a, b = dual(a), dual(b)
        if c.value.is_zero():
            joined = b.value
        else:
            joined = value(a.value, b.value) if value else a.value.union(b.value)
        return Dual(joined, a.slope.union(b.slope))

    def _decide(self, c: Dual) -> bool | None:
        if (position := len(self.decisions)) in self._forced:
            return self._forced[position]
        if c.value > 0:
            return True
        if c.value < 0 or (c.value.is_zero() and c.slope.is_zero()):  # constant 0 is not a kink
            return False
        return None

    def variables(self, values: Sequence[Ball]) -> list[Dual]:
        """Return the inputs of a function."""
        one = arb(1)
        return [Dual(value, Slopes({i: one})) for i, value in enumerate(values)]


def dual(value: Term | float) -> Dual:
    """Return `value` as a Dual; a constant has no slopes."""
    return value if type(value) is Dual else Dual(exact(value), Slopes({}))
