"""A definition traced once into a list of primitive operations, with its slopes: a *tape*.

(`balls/` has another tape: the operations of one run of a user's code.)

Example: the tape of f(x) = x · tanh(x) has the nodes x, tanh(x), x · tanh(x), and for the slope
sech²(x), x · sech²(x), tanh(x) + x · sech²(x).

The same primitive of the same operands is one node (value numbering). Slopes are derived from the
nodes, symbolically, and are nodes themselves. A tape is evaluated with arb at any precision
(`outputs`, `evaluate_with_arb`), or for many columns of arrays at once (`evaluation.evaluate`).
Both give a rigorous error bound.

`WHERE(c, a, b)` = a if c > 0, else b. `PICK(c, a, b)` is the same for derivatives; but at c = 0 (a
kink) it is the whole interval between a and b, because every slope in it is right. If a and b are
the same node there is no choice, and no kink.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import permutations
from typing import Any, Concatenate

import numpy as np
import numpy.typing as npt
from flint import arb

from manual_backprop.arithmetic import Math
from manual_backprop.operation import ByName
from reference.arithmetic.balls import Ball, exact, precision

OPCODES = (
    *("INPUT", "CONST", "PI", "ADD", "SUB", "MUL", "DIV", "NEG", "EXP", "LOG", "LOG1P", "EXPM1"),
    *("SQRT", "TANH", "SECH2", "ERF", "ERFC", "SIN", "COS", "WHERE", "PICK", "MAX", "MIN", "ABS"),
    "SHIFT",
)
CODE = {name: code for code, name in enumerate(OPCODES)}
_CONSTANT_BITS = 256
FIRST_BITS, MAX_BITS = 128, 8192
_ENOUGH_BITS = 104  # 30 digits are 99.7 bits
_NOT_FINITE_BITS = 2048  # a number that is not finite with this precision counts as not finite


ALONG = -1
"""Instead of an input's number in `Tracer.derivative`: the derivative along `direction`."""

ZERO, ONE, MINUS_ONE = 0, 1, 2
"""The first nodes of every tape that is traced."""


class TracedNumber:
    """A number of a definition that is being traced: a node of its tape."""

    __slots__ = ("node", "tape")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tape: "Tracer", node: int) -> None:
        self.tape = tape
        self.node = node

    def __eq__(self, other: object) -> bool:
        """Compare a target t with a number, for example `t == 1` in a definition.

        Targets −1, 0 and 1 are traced as constants (`CONSTANT_TARGETS`). So `t == 1` is known to be
        False for every other target.
        """
        if self.node in self.tape.constants:
            return bool(self.tape.constants[self.node] == other)
        if type(other) in (int, float) and float(other) in CONSTANT_TARGETS:  # type: ignore[arg-type]
            return False
        raise TypeError(f"a definition compares a target with {other!r}")

    def __add__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("ADD", self, other)

    def __radd__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("ADD", other, self)

    def __sub__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("SUB", self, other)

    def __rsub__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("SUB", other, self)

    def __neg__(self) -> "TracedNumber":
        return self.tape.make("NEG", self)

    def __mul__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("MUL", self, other)

    def __rmul__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("MUL", other, self)

    def __truediv__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("DIV", self, other)

    def __rtruediv__(self, other: "TracedNumber | float") -> "TracedNumber":
        return self.tape.make("DIV", other, self)


CONSTANT_TARGETS = (0.0, 1.0, -1.0)
"""Targets that are traced as constants, not as inputs: definitions compare with them, or a tape is
shorter with them."""


class Tracer:
    """The arithmetic that a definition is traced over; the counterpart of `balls.Arithmetic`."""

    def __init__(self, inputs: int) -> None:
        self.code: list[int] = []
        self.operands: list[tuple[int, ...]] = []
        self.constants: dict[int, Fraction] = {}
        self.depends: list[int] = []  # bit k: whether a node depends on input k
        self._known: dict[tuple[object, ...], int] = {}
        self._derivatives: defaultdict[int, dict[int, int]] = defaultdict(dict)
        self.direction: dict[int, int] = {}  # node of an input -> node of its tangent
        for value in (0, 1, -1):  # the first nodes: ZERO, ONE, MINUS_ONE
            self.constant(value)
        self.inputs = [TracedNumber(self, self._node("INPUT", (k,))) for k in range(inputs)]

    # -- nodes --------------------------------------------------------------------------------

    def _node(self, name: str, operands: tuple[Any, ...]) -> int:
        key = (name, *operands)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.code)
            self.code.append(CODE[name])
            leaf = name in ("INPUT", "CONST", "PI")
            depends = 1 << operands[0] if name == "INPUT" else 0
            for operand in () if leaf else operands:
                depends |= self.depends[operand]
            self.depends.append(depends)
            self.operands.append(() if leaf else operands)
        return found

    def constant(self, value: float | str | Fraction) -> int:
        """Return the node of an exact number: "0.1" is 1/10, the float 0.1 is the float's value."""
        exactly = Fraction(value)
        # Integers are hashed faster than the fraction itself.
        found = self._node("CONST", (exactly.numerator, exactly.denominator))
        self.constants[found] = exactly
        return found

    def node(self, value: TracedNumber | float | str | Fraction) -> int:
        """Return the node of a symbol or a number."""
        return value.node if isinstance(value, TracedNumber) else self.constant(value)

    def make(self, name: str, *operands: TracedNumber | float) -> TracedNumber:
        """Return a primitive applied to symbols or numbers."""
        return TracedNumber(self, self._apply(name, *map(self.node, operands)))

    def _apply(self, name: str, *nodes: int) -> int:
        """Return the node of a primitive, simplified: x + 0 is x, x · 1 is x, −(−x) is x."""
        a, b = nodes[0], nodes[-1]
        match name:
            case "ADD" if ZERO in nodes:
                return b if a == ZERO else a
            case "SUB" if ZERO in nodes:
                return a if b == ZERO else self._apply("NEG", b)
            case "MUL" if ZERO in nodes:
                return ZERO
            case "DIV" if a == ZERO:
                return ZERO
            case "MUL" if a in (ONE, MINUS_ONE):
                return b if a == ONE else self._apply("NEG", b)
            case "MUL" | "DIV" if b in (ONE, MINUS_ONE):
                return a if b == ONE else self._apply("NEG", a)
            case "NEG" if a in self.constants:
                return self.constant(-self.constants[a])
            case "NEG" if self.code[a] == CODE["NEG"]:
                return self.operands[a][0]
            case "WHERE" | "PICK" if nodes[1] == b:
                return b
            case "WHERE" | "PICK" if not self.depends[a]:
                return nodes[1] if self._constant_ball(a) > 0 else b
            case "ADD" | "MUL" if a > b:
                return self._node(name, (b, a))
        return self._node(name, nodes)

    def _constant_ball(self, node: int) -> Ball:
        with precision(_CONSTANT_BITS):
            return Tape(self, [node], [[]]).outputs([])[0]

    # -- what a definition asks for -----------------------------------------------------------

    @property
    def pi(self) -> TracedNumber:
        """The ratio of a circle's circumference to its diameter."""
        return TracedNumber(self, self._node("PI", ()))

    def number(self, value: TracedNumber | float | str | Fraction) -> TracedNumber:
        """Return a constant; a symbol stays what it is."""
        return (
            value if isinstance(value, TracedNumber) else TracedNumber(self, self.constant(value))
        )

    def where(
        self, c: TracedNumber | float, a: TracedNumber | float, b: TracedNumber | float
    ) -> TracedNumber:
        """Return a if c > 0 else b."""
        return self.make("WHERE", c, a, b)

    def shifted(self, x: TracedNumber, by: TracedNumber) -> TracedNumber:
        """Return x - by; `by` counts as a constant in derivatives.

        Example: softmax is e^(x - max) over its sum, and its slopes do not depend on the shift.
        """
        return self.make("SHIFT", x, by)

    def share(self, part: TracedNumber, rest: TracedNumber) -> TracedNumber:
        """Return part/(part + rest)."""
        return part / (part + rest)

    def max(self, a: TracedNumber | float, b: TracedNumber | float) -> TracedNumber:
        """Return the larger of two."""
        return self.make("MAX", a, b)

    def min(self, a: TracedNumber | float, b: TracedNumber | float) -> TracedNumber:
        """Return the smaller of two."""
        return self.make("MIN", a, b)

    def __getattr__(self, name: str) -> Callable[[TracedNumber | float], TracedNumber]:
        """Return a function of one number: exp, log, log1p, expm1, sqrt, tanh, erf, erfc, abs."""
        if name.upper() not in CODE:
            raise AttributeError(name)
        return lambda x: self.make(name.upper(), x)

    # -- slopes -------------------------------------------------------------------------------

    def derivative(self, node: int, by: int) -> int:
        """Return the node of ∂node/∂(input `by`).

        If `by` is `ALONG`: the node of the directional derivative Σ ∂node/∂input · tangent, with
        the tangents of the inputs from `direction`.
        """
        found, inputs = self._derivatives[by], ~0 if by == ALONG else 1 << by
        waiting = [node]  # a node waits until the derivatives of its operands are found
        while waiting:
            top = waiting[-1]
            if not self.depends[top] & inputs:
                found[top] = ZERO
            elif missing := [n for n in self._differentiated(top) if n not in found]:
                waiting += missing
                continue
            elif top not in found:
                found[top] = self._chain_rule(
                    top, by, [found[n] for n in self._differentiated(top)]
                )
            waiting.pop()
        return found[node]

    def _differentiated(self, node: int) -> tuple[int, ...]:
        """Return the operands to differentiate with respect to: all, but of x - by only x."""
        operands = self.operands[node]
        return operands[:1] if self.code[node] == CODE["SHIFT"] else operands

    def _chain_rule(self, node: int, by: int, slopes: list[int]) -> int:
        """Return the node of a derivative; `slopes` are those of the operands."""
        name, operands, f = OPCODES[self.code[node]], self.operands[node], self._apply
        if name == "INPUT":
            return self.direction.get(node, ZERO) if by == ALONG else ONE
        if not any(slopes):  # all ZERO
            return ZERO
        match name:
            case "ADD" | "SUB" | "NEG":
                return f(name, *slopes)
            case "MUL":
                (a, b), (da, db) = operands, slopes
                if a == b:
                    return f("MUL", self.constant(2), f("MUL", a, da))
                return f("ADD", f("MUL", da, b), f("MUL", a, db))
            case "DIV":
                (a, b), (da, db) = operands, slopes
                if da != ZERO and (rest := self._without(b, a)) is not None:
                    # Of a share a/(a + r) it is (da r/b - (a/b) dr)/b: 1 - a/b would cancel.
                    left = f("MUL", da, f("DIV", rest, b))
                    return f("DIV", f("SUB", left, f("MUL", node, self.derivative(rest, by))), b)
                return f("DIV", f("SUB", da, f("MUL", db, node)), b)
            case "SHIFT":
                return slopes[0]
            case "LOG":
                return f("DIV", slopes[0], operands[0])
            case "LOG1P":
                return f("DIV", slopes[0], f("ADD", ONE, operands[0]))
            case "SQRT":
                return f("DIV", slopes[0], f("MUL", self.constant(2), node))
            case "WHERE" | "PICK":
                return f("PICK", operands[0], *slopes[1:])
            case "MAX":
                return f("PICK", f("SUB", *operands), *slopes)
            case "MIN":
                return f("PICK", f("SUB", *reversed(operands)), *slopes)
            case "ABS":
                return f("PICK", operands[0], slopes[0], f("NEG", slopes[0]))
        return f("MUL", slopes[0], self._slope_of_function(name, operands[0], node))

    def _without(self, total: int, term: int) -> int | None:
        """Return the node of a sum without one of its terms; None if `term` is not in the sum.

        Example: for a + b + c without b it is a + c.
        """
        if self.code[total] != CODE["ADD"]:
            return None
        for one, other in permutations(self.operands[total]):
            if one == term:
                return other
            if (rest := self._without(one, term)) is not None:
                return self._apply("ADD", rest, other)
        return None

    def _slope_of_function(self, name: str, x: int, y: int) -> int:
        """Return the node of dy/dx for y = f(x), where `name` is the name of f."""
        f = self._apply
        match name:
            case "EXP":
                return y
            case "EXPM1":
                return f("EXP", x)
            case "TANH":
                return f("SECH2", x)
            case "SECH2":
                return f("MUL", self.constant(-2), f("MUL", y, f("TANH", x)))
            case "ERF" | "ERFC":
                bell = f("EXP", f("NEG", f("MUL", x, x)))
                factor = f(
                    "DIV", self.constant(2 if name == "ERF" else -2), f("SQRT", self.pi.node)
                )
                return f("MUL", factor, bell)
            case "SIN":
                return f("COS", x)
            case "COS":
                return f("NEG", f("SIN", x))
        raise NotImplementedError(f"no derivative of {name}")


@dataclass(frozen=True)
class ArbValues:
    """The values and slopes of a tape as balls, and whether its inputs are exactly at a kink.

    `tied`: they are, so the ball of a slope is the interval of all right slopes.
    `bits`: the precision that was needed.
    """

    values: list[Ball]
    slopes: list[list[Ball]]
    tied: bool
    bits: int


class Tape:
    """The nodes that lead to some outputs, operands before results.

    `code` and `operands` describe the nodes. `values` are the nodes of the outputs, and
    `slopes[i][k]` is the node of ∂(output i)/∂(variable k).
    """

    def __init__(self, tracer: Tracer, values: Sequence[int], slopes: Sequence[Sequence[int]]):
        needed: set[int] = set()
        waiting = [*values, *(node for row in slopes for node in row)]
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += tracer.operands[node]
        order = sorted(needed)
        place = {node: k for k, node in enumerate(order)}
        self.inputs = len(tracer.inputs)
        self.code = [tracer.code[node] for node in order]
        self.operands = [tuple(place[n] for n in tracer.operands[node]) for node in order]
        self.constants = {place[n]: v for n, v in tracer.constants.items() if n in place}
        self.fixed = [not tracer.depends[node] for node in order]  # depends on no input
        self.argument = {place[s.node]: k for k, s in enumerate(tracer.inputs) if s.node in place}
        self.values = [place[node] for node in values]
        self.slopes = [[place[node] for node in row] for row in slopes]

    def renamed(self, inputs: Sequence[int], variables: int) -> "Tape":
        """Return the same tape with input k taken from place `inputs[k]`.

        The first `variables` inputs are only permuted among themselves, and the slopes by them (and
        the second slopes) are permuted in the same way.

        Example: f(y0, y1) = y0² + y1 has the slopes [2 y0, 1]. `renamed([1, 0], 2)` is
        f(y1, y0) = y1² + y0, with the slopes [1, 2 y1].
        """
        back = sorted(range(variables), key=inputs.__getitem__)  # inputs[back[k]] is k
        slopes_too = len(self.values) == 1 + variables  # at order 2 the slopes are values
        rows = [0, *(1 + k for k in back)] if slopes_too else [0]
        other = copy(self)
        other.argument = {node: inputs[k] for node, k in self.argument.items()}
        other.values = [self.values[row] for row in rows]
        other.slopes = [[self.slopes[row][k] for k in back] for row in rows]
        other.table = replace(
            self.table,
            node_of_input={inputs[k]: node for k, node in self.table.node_of_input.items()},
            outputs=[*other.values, *(node for row in other.slopes for node in row)],
        )
        return other

    # -- over arb -----------------------------------------------------------------------------

    def balls(self, inputs: Sequence[Ball]) -> list[Ball]:
        """Return the ball of every node, at the precision that is set."""
        return self._run(inputs)[0]

    def outputs(self, inputs: Sequence[Ball]) -> list[Ball]:
        """Return the balls of the values, at the precision that is set."""
        balls = self.balls(inputs)
        return [balls[k] for k in self.values]

    def _run(self, inputs: Sequence[Ball]) -> tuple[list[Ball], bool, bool]:
        """Return the balls of all nodes, and two answers about the kinks.

        The first: whether an argument was exactly at a kink. The second: whether this could not be
        decided for some argument, because its ball contains 0 and other numbers.
        """
        balls: list[Ball] = []
        tied = open_ = False
        for k, function, operands in self._steps:
            if function is not None:
                match operands:
                    case (a,):
                        balls.append(function(balls[a]))
                    case (a, b):
                        balls.append(function(balls[a], balls[b]))
                    case _:
                        balls.append(function())
            elif k in self.argument:
                balls.append(inputs[self.argument[k]])
            elif k in self.constants:
                balls.append(exact(self.constants[k]))
            else:
                c, first, second = (balls[n] for n in operands)
                if c > 0:
                    balls.append(first)
                elif c < 0 or (c.is_zero() and self.code[k] == CODE["WHERE"]):
                    balls.append(second)
                else:
                    exactly = bool(c.is_zero())
                    tied |= exactly and not first.overlaps(second)
                    open_ |= not exactly
                    balls.append(first.union(second))
        return balls, tied, open_

    @cached_property
    def _steps(self) -> list[tuple[int, Callable[..., Ball] | None, tuple[int, ...]]]:
        """The nodes in order, each with its function over arb, if it has one."""
        names = [OPCODES[code] for code in self.code]
        return [(k, _OVER_ARB.get(names[k]), self.operands[k]) for k in range(len(names))]

    def evaluate_with_arb(self, inputs: Sequence[Ball], negligible: Ball) -> ArbValues:
        """Return the values and slopes as balls, with about 30 digits each.

        The precision is raised until they have them, or until each radius is below `negligible`,
        for example far below the smallest number of the problem's dtype.
        """
        bits = FIRST_BITS
        while True:
            with precision(bits):
                balls, tied, open_ = self._run(inputs)
            wanted = [*self.values, *(n for row in self.slopes for n in row)]
            decided = all(
                _thin(balls[n], negligible)
                or (not balls[n].is_finite() and bits >= _NOT_FINITE_BITS)
                or (balls[n].is_finite() and tied and not open_)
                for n in wanted
            )
            if decided or bits >= MAX_BITS:
                rows = [[balls[n] for n in row] for row in self.slopes]
                return ArbValues([balls[n] for n in self.values], rows, tied, bits)
            bits *= 4

    # -- for columns --------------------------------------------------------------------------

    @cached_property
    def table(self) -> "Table":
        """The nodes as arrays, for evaluation over columns."""
        return Table.of(self)


@dataclass(frozen=True)
class Table:
    """A tape for evaluation over columns: its nodes as arrays, with all constants computed.

    The `level` of a node is 0 for an input or constant, and 1 + that of its highest operand for
    any other; -1 if nothing needs it. Nodes of one level can be evaluated together.
    """

    code: npt.NDArray[np.int64]
    level: npt.NDArray[np.int64]
    operands: npt.NDArray[np.int64]  # (nodes, 3), 0 where there is none
    node_of_input: dict[int, int]
    outputs: list[int]  # the values, then the slopes row by row
    constants: list[
        tuple[np.longdouble, np.longdouble]
    ]  # (long double, radius) of each constant node, in order
    _constants: dict[np.dtype, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @cached_property
    def decides(self) -> bool:
        """Whether it has a decision c > 0, WHERE or PICK."""
        return bool(np.isin(self.code, (CODE["WHERE"], CODE["PICK"])).any())

    def constants_in(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Return the constants rounded to a floating type, and the error of each."""
        if dtype not in self._constants:
            mid = np.array([value for value, _ in self.constants], np.longdouble)
            radius = np.array([error for _, error in self.constants], np.longdouble)
            rounded = mid.astype(dtype)
            left = np.abs(mid - rounded) + radius
            grown = np.where(left > 0, left * (1 + 4 * np.finfo(dtype).eps), 0).astype(dtype)
            self._constants[dtype] = rounded, np.where(left > 0, np.nextafter(grown, np.inf), 0)
        return self._constants[dtype]

    @staticmethod
    def of(tape: "Tape") -> "Table":
        """Compute the nodes that depend on no input, and drop those that only they need."""
        with precision(_CONSTANT_BITS):
            folded = _fold(tape)
        outputs = {*tape.values, *(n for row in tape.slopes for n in row)}
        needed = {n for k, o in enumerate(tape.operands) if not tape.fixed[k] for n in o} | outputs
        code: list[int] = []
        level: list[int] = []
        operands: list[tuple[int, ...]] = []
        for k, own in enumerate(tape.operands):
            fixed = tape.fixed[k]
            used = k in needed or not fixed
            code.append(CODE["CONST"] if fixed else tape.code[k])
            above = 0 if fixed or not own else 1 + max(level[n] for n in own)
            level.append(above if used else -1)
            padded = () if fixed else own
            operands.append((*padded, *[0] * (3 - len(padded))))
        constant = [k for k in range(len(code)) if tape.fixed[k] and level[k] == 0]
        return Table(
            np.array(code),
            np.array(level),
            np.array(operands).reshape(-1, 3),
            {k: n for n, k in tape.argument.items()},
            [*tape.values, *(n for row in tape.slopes for n in row)],
            [folded[k] for k in constant],
        )


def _fold(tape: Tape) -> dict[int, tuple[np.longdouble, np.longdouble]]:
    """Return the value of each node that depends on no input, and its error bound."""
    balls: dict[int, Ball] = {}
    found: dict[int, tuple[np.longdouble, np.longdouble]] = {}
    for k, (code, operands) in enumerate(zip(tape.code, tape.operands, strict=True)):
        if not tape.fixed[k]:
            continue
        name = OPCODES[code]
        ball = (
            exact(tape.constants[k])
            if name == "CONST"
            else _OVER_ARB[name](*(balls[n] for n in operands))
        )
        balls[k] = ball
        high = float(ball.mid())
        low = float(ball.mid() - high)
        extended = np.longdouble(high) + np.longdouble(low)
        left = abs(ball - exact(high) - exact(low)).upper() if np.isfinite(high) else arb.pos_inf()
        # high + low holds 106 bits; the sum is rounded to the long double's own.
        rounded = np.finfo(np.longdouble).eps * abs(extended) if low else 0.0
        found[k] = extended, np.longdouble(float(left) * 1.0001) + rounded
    return found


def _thin(ball: Ball, negligible: Ball) -> bool:
    if not ball.is_finite():
        return False
    return ball.rel_accuracy_bits() >= _ENOUGH_BITS or bool(ball.rad() < negligible)


_OVER_ARB: Mapping[str, Callable[..., Ball]] = {
    "PI": lambda: arb.pi(),
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "SHIFT": lambda a, b: a - b,
    "MUL": lambda a, b: a**2 if a is b else a * b,
    "DIV": lambda a, b: a / b,
    "NEG": lambda a: -a,
    "EXP": lambda a: a.exp(),
    "LOG": lambda a: arb.neg_inf() if a.is_zero() else a.log(),
    "LOG1P": lambda a: a.log1p(),
    "EXPM1": lambda a: a.expm1(),
    "SQRT": lambda a: a.sqrt(),
    "TANH": lambda a: a.tanh(),
    "SECH2": lambda a: a.sech() ** 2,
    "ERF": lambda a: a.erf(),
    "ERFC": lambda a: a.erfc(),
    "SIN": lambda a: a.sin(),
    "COS": lambda a: a.cos(),
    "MAX": lambda a, b: a.max(b),
    "MIN": lambda a, b: a.min(b),
    "ABS": abs,
}


def trace(
    definition: Callable[Concatenate[Math[TracedNumber], ...], Any],
    width: int | None,
    arguments: Callable[[Tracer], tuple[Sequence[object], ByName]],
    count: int,
    order: int = 1,
) -> Tape:
    """Return the tape of a definition of one number (`width` None), or of a row of `width` numbers.

    `arguments(tracer)` returns the definition's other arguments, positional and named. They may be
    `count` further inputs (targets, for example); slopes are not derived for these.

    At order 2 the first slopes are also values of the tape: ∂y_i/∂x_k is value C + i C + k. So
    their slopes, the second derivatives, are in `slopes`.
    """
    variables = width or 1
    m = Tracer(variables + count)
    positional, named = arguments(m)
    x = m.inputs[:variables] if width else m.inputs[0]
    made = definition(m, x, *positional, **named)
    values = [m.node(y) for y in (made if isinstance(made, list) else [made])]
    slopes = [[m.derivative(value, k) for k in range(variables)] for value in values]
    if order == 2:
        both = range(variables)
        second = [
            # ∂²y/∂x_j∂x_k is symmetric: one node for (j, k) and (k, j).
            [m.derivative(row[min(j, k)], max(j, k)) for j in both]
            for row in slopes
            for k in both
        ]
        values, slopes = values + [n for row in slopes for n in row], slopes + second
    return Tape(m, values, slopes)
