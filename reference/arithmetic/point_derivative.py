"""One operation at one point: value and slopes of its `definition` over balls."""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NamedTuple

from flint import arb

from manual_backprop.arithmetic import Math
from manual_backprop.operation import ByName
from reference.arithmetic.balls import Ball, Decision, DefinitionArithmetic, Term, dual, exact

Definition = Callable[Concatenate[Math[Term], ...], Any]


def constants(arguments: ByName) -> ByName:
    """Return an operation's arguments for a definition, with floats as exact balls.

    The arithmetic of plain floats would round: 1/0.1 is not exactly 10 in floats.
    """
    return {name: exact(v) if isinstance(v, float) else v for name, v in arguments.items()}


class PointDerivative(NamedTuple):
    """One output of an operation at one point: its value and slopes, and all decisions."""

    value: Ball
    slopes: list[Ball]
    decisions: list[Decision]


def at_point(
    definition: Definition,
    x: Ball | Sequence[Ball],
    before: Sequence[object] = (),
    arguments: ByName | None = None,
    forced: dict[int, bool] | None = None,
) -> list[PointDerivative]:
    """Return each output of a function of a number or of a row x, with its slope by each number.

    `before` has the targets of a loss. `forced`: see `DefinitionArithmetic`.
    """
    m = DefinitionArithmetic(forced)
    row = m.variables([x] if isinstance(x, arb) else x)
    y = definition(m, row[0] if isinstance(x, arb) else row, *before, **(arguments or {}))
    zero, found = arb(0), []
    for y_i in map(dual, y if isinstance(y, list) else [y]):
        slopes = [y_i.slope.by.get(j, zero) for j in range(len(row))]
        found.append(PointDerivative(y_i.value, slopes, m.decisions))
    return found
