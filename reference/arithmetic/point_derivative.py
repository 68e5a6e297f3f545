"""One operation at one point: value and slopes of its `definition` over balls."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Concatenate

from flint import arb

from manual_backprop.arithmetic import Math
from manual_backprop.operation import ByName
from reference.arithmetic.balls import (
    Ball,
    Decision,
    DefinitionArithmetic,
    Dual,
    Slopes,
    Term,
    exact,
)

Definition = Callable[Concatenate[Math[Term], ...], Any]


def constants(arguments: ByName) -> ByName:
    """Return an operation's arguments for a definition, with floats as exact balls.

    The arithmetic of plain floats would round: 1/0.1 is not exactly 10 in floats.
    """
    return {name: exact(v) if isinstance(v, float) else v for name, v in arguments.items()}


class PointDerivative:
    """Value, slopes and decisions of one operation at one point.

    `slope` is a ball, or for a row a list with the slope by each of its numbers.
    """

    __slots__ = ("decisions", "slope", "value")

    def __init__(self, value: Ball, slope: Any, decisions: list[Decision]) -> None:
        self.value = value
        self.slope = slope
        self.decisions = decisions


def at_number(
    definition: Definition,
    x: Ball,
    before: Sequence[object] = (),
    arguments: ByName | None = None,
    joined: Collection[int] = (),
    forced: dict[int, bool] | None = None,
) -> PointDerivative:
    """Return value and slope of a function of one number; `before` has the targets of a loss.

    `joined`, `forced`: see `DefinitionArithmetic`.
    """
    m = DefinitionArithmetic(joined, forced)
    y = definition(m, m.variable(x), *before, **(arguments or {}))
    if type(y) is not Dual:  # the definition did not use x
        y = Dual(exact(y), arb(0))
    return PointDerivative(y.value, y.slope, m.decisions)


def at_row(
    definition: Definition,
    row: Sequence[Ball],
    before: Sequence[object] = (),
    arguments: ByName | None = None,
    joined: Collection[int] = (),
    forced: dict[int, bool] | None = None,
) -> list[PointDerivative]:
    """Return value and slopes for each output of a function of a row (a loss has one output)."""
    m = DefinitionArithmetic(joined, forced)
    y = definition(m, m.variables(row), *before, **(arguments or {}))
    zero = arb(0)
    found = []
    for y_i in y if isinstance(y, list) else [y]:
        if type(y_i) is not Dual:
            y_i = Dual(exact(y_i), Slopes({}))
        slopes = [y_i.slope.by.get(j, zero) for j in range(len(row))]
        found.append(PointDerivative(y_i.value, slopes, m.decisions))
    return found
