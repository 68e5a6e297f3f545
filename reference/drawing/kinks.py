"""Where an operation has kinks, found in its definition with ball arithmetic.

A definition decides by the sign of a decision variable. Where that sign changes, and the two
branches have other values or slopes, there is a kink. The sign is scanned over a fixed set of
points and the change is bisected down to one float.
"""

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import ByName, InvalidInput, Operation
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import Definition, PointDerivative, at_number, constants

_BITS = 192
# Far kinks lie at thresholds such as 20, near ones at parameters such as 0.5: whole numbers and
# halves to 32, powers of two beyond and below.
_POINTS = sorted(
    {k / 2 for k in range(-64, 65)} | {s * 2.0**k for s in (-1, 1) for k in range(-12, 11)}
)

Parameters = tuple[tuple[str, float], ...]


@cache
def kinks(name: str, parameters: Parameters = (), target: float = 0.0) -> tuple[float, ...]:
    """Return the kinks of an elementwise operation, ascending, as floats.

    For a loss they are kinks in the prediction, at the given target. An operation on rows has its
    kinks where entries tie, at no one number: the result is empty.
    """
    before: tuple[Ball, ...] = ()
    if name in ACTIVATIONS:
        if ACTIVATIONS[name].rowwise:
            return ()
        operation: Operation = ACTIVATIONS[name]
    elif name in LOSSES:
        loss = LOSSES[name]
        if not loss.elementwise or loss.arrays:
            return ()
        operation, before = loss, (_ball(target),)
    else:
        raise InvalidInput(f"operation={name!r} is unknown; expected an activation or a loss")
    with precision(_BITS):
        return find(operation.definition, {**operation.defaults(), **dict(parameters)}, before)


def find(
    definition: Definition, parameters: Mapping[str, float], before: tuple[Ball, ...] = ()
) -> tuple[float, ...]:
    """Scan one definition for kinks."""
    arguments = constants(parameters)

    def signs(x: float) -> list[int]:
        decisions = at_number(definition, _ball(x), before, arguments).decisions
        return [1 if d.value > 0 else -1 if d.value < 0 else 0 for d in decisions]

    points = sorted({*_POINTS, *_near(parameters, before)})
    seen = [signs(x) for x in points]
    found = set()
    for left, right, at_left, at_right in zip(points, points[1:], seen, seen[1:], strict=False):
        for i, (s, t) in enumerate(zip(at_left, at_right, strict=True)):
            if s * t < 0:
                found.add((_bisect(signs, i, left, right), i))
            elif s == 0:
                found.add((left, i))
    return tuple(sorted({x for x, i in found if _is_kink(definition, x, i, before, arguments)}))


def one_sided(
    definition: Definition,
    x: Ball,
    decision: int,
    before: tuple[Ball, ...] = (),
    arguments: ByName | None = None,
) -> tuple[PointDerivative, PointDerivative]:
    """Return the operation at x with one decision taken each way: first negative, then positive."""
    below, above = (
        at_number(definition, x, before, arguments, forced={decision: taken})
        for taken in (False, True)
    )
    return below, above


def _is_kink(
    definition: Definition, x: float, decision: int, before: tuple[Ball, ...], arguments: ByName
) -> bool:
    """Say whether the two branches differ at x, beyond what one float of x can make them differ."""
    below, above = one_sided(definition, _ball(x), decision, before, arguments)
    spacing = float(np.spacing(abs(x)))
    pairs = ((below.value, above.value), (below.slope, above.slope))
    return any(not p.overlaps(q) and abs(float(p - q)) > 8 * spacing for p, q in pairs)


def _bisect(signs: Callable[[float], list[int]], i: int, left: float, right: float) -> float:
    """Return the float where decision i is zero, or else the last float left of its change."""
    at_left = signs(left)[i]
    while (middle := left + (right - left) / 2) not in (left, right):
        sign = signs(middle)[i]
        if sign == 0:
            return middle
        left, right = (middle, right) if sign == at_left else (left, middle)
    return left


def _near(parameters: Mapping[str, float], before: tuple[Ball, ...]) -> list[float]:
    """Return the points where a parameter or the target is likely to make a kink."""
    numbers = [*map(float, parameters.values()), *map(float, before)]
    return [0.0, *numbers, *(-p for p in numbers), *(p + q for p in numbers for q in numbers)]


def _ball(x: float) -> Ball:
    return exact(float(x))
