"""From floats to balls and back: leaves, values, radii, and the reverse sweep."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flint
import numpy as np
from flint import arb
from numpy.typing import ArrayLike, NDArray

from ._array import BallArray, base
from ._number import CONSTANT, LEAF, ONE, ZERO, Number
from ._table import doubles, floats, objects
from ._tape import STATE

FloatArray = NDArray[np.float64]


class BallDerivative(NamedTuple):
    """The derivative by one array, of its shape.

    midpoint, radius: it lies within `radius` of the ball's midpoint, and `midpoint` is that
    midpoint as the nearest double.
    scale: the sum over all paths of the products of |partials|: the unit of rounding.
    """

    midpoint: FloatArray
    radius: FloatArray
    scale: FloatArray


def lift(array: ArrayLike) -> Any:
    """Floats as exact balls, each a leaf of the tape (a constant while the session is paused).

    array: floats of any shape. Returns a BallArray of that shape, a Number where there is none.
    """
    plain = np.asarray(array, dtype=np.float64)
    parents = LEAF if STATE.recording else CONSTANT
    numbers = [Number(arb(x), parents, ()) for x in plain.ravel().tolist()]
    if plain.ndim == 0:
        return numbers[0]
    result = np.empty(plain.size, dtype=object)
    result[:] = numbers
    return result.reshape(plain.shape).view(BallArray)


def values(x: object) -> FloatArray:
    """The midpoints, as the nearest doubles."""
    return floats(base(x))


def _upper(ball: arb) -> float:
    """A double that is at least the radius."""
    radius = float(ball.rad())
    if ball.is_nan():
        return math.inf
    return 0.0 if radius == 0 and ball.is_exact() else math.nextafter(radius, math.inf)


def radii(x: object) -> FloatArray:
    """Upper bounds of the distances from the balls' midpoints to the true values."""
    return doubles(_upper, base(x))


def _seeds(outputs: Sequence[object], cotangents: Sequence[ArrayLike]) -> dict[Number, arb]:
    """The cotangent of each Number of the outputs."""
    seeds: dict[Number, arb] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        plain = objects(base(output))
        given = np.broadcast_to(np.asarray(cotangent, dtype=np.float64), plain.shape)
        for x, c in zip(plain.ravel().tolist(), given.ravel().tolist(), strict=True):
            if type(x) is Number and c != 0:
                seeds[x] = seeds.get(x, ZERO) + arb(c)
    return seeds


def _reachable(seeds: dict[Number, arb]) -> list[Number]:
    """Every Number the outputs were made from, children before parents."""
    seen = {number.order: number for number in seeds}
    stack = list(seeds)
    while stack:
        for parent in stack.pop().parents or ():
            if parent.order not in seen:
                seen[parent.order] = parent
                stack.append(parent)
    return [seen[order] for order in sorted(seen, reverse=True)]


def _sweep(seeds: dict[Number, arb]) -> tuple[dict[int, arb], dict[int, float]]:
    """Σ over paths of the products of partials, and of their absolute values, by order."""
    adjoints = {number.order: seed for number, seed in seeds.items()}
    scales = {order: abs(float(seed)) for order, seed in adjoints.items()}
    for number in _reachable(seeds):
        if not number.parents:
            continue
        adjoint, scale = adjoints[number.order], scales[number.order]
        for parent, partial in zip(number.parents, number.partials, strict=True):
            order = parent.order
            if partial is ONE:
                term, size = adjoint, scale
            else:
                term = partial * adjoint
                size = abs(float(partial)) * scale if scale else 0.0
            if order in adjoints:
                adjoints[order] += term
                scales[order] += size
            else:
                adjoints[order], scales[order] = term, size
    return adjoints, scales


def gradient_balls(
    outputs: Sequence[object], cotangents: Sequence[ArrayLike], leaves: Sequence[object]
) -> list[tuple[BallArray, FloatArray]]:
    """`gradient` before it is rounded: (object array of constants, scale) for each leaf."""
    with flint.ctx.workprec(STATE.precision):
        adjoints, scales = _sweep(_seeds(outputs, cotangents))
        found = []
        for leaf in leaves:
            plain = objects(base(leaf))
            numbers = plain.ravel().tolist()
            balls = np.empty(len(numbers), dtype=object)
            balls[:] = [
                Number(adjoints.get(x.order, ZERO), CONSTANT, ())
                if type(x) is Number
                else Number(arb("nan"), CONSTANT, ())
                for x in numbers
            ]
            scale = [scales.get(x.order, 0.0) if type(x) is Number else math.inf for x in numbers]
            shaped = np.array(scale, dtype=np.float64).reshape(plain.shape)
            found.append((balls.reshape(plain.shape).view(BallArray), shaped))
    return found


def gradient(
    outputs: Sequence[object], cotangents: Sequence[ArrayLike], leaves: Sequence[object]
) -> list[BallDerivative]:
    """The derivative of Σ cotangent · output by each of the leaves, with a rigorous error bound.

    outputs: BallArrays, Numbers or floats. cotangents: a float array of each one's shape.
    leaves: what `lift` gave, or any array of Numbers met on the way; an entry counts all uses of
    its Number. An entry that is a plain float was not recorded: nan, with radius inf.
    """
    return [
        BallDerivative(values(balls), radii(balls), scale)
        for balls, scale in gradient_balls(outputs, cotangents, leaves)
    ]
