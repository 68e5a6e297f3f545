"""How far one operation moves within a radius, by balls: slow, and right where arrays are not sure.

`spread` does most of the work; here is what it leaves: kinks that meet, poles, what cancels.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from flint import arb

from reference.arithmetic.balls import Ball
from reference.arithmetic.local import Local
from reference.arithmetic.spread import CORNER_SAFETY, WIDE, Part
from reference.oracles.certified import Doubles


def spread_number(evaluate: Callable[..., Local], x: Ball, r: float, centre: Local) -> Part:
    """Return value, slope, their radii and jumps for x known to r."""
    value, slope = float(centre.value.mid()), float(centre.slope.mid())
    if not r < np.inf:
        return value, slope, np.inf, np.inf, 0.0, 0.0
    ends = [x - r, x + r]
    around = [evaluate(end) for end in ends]
    open_ = _open([centre, *around])
    if r > WIDE:
        ends += _between(x, r)
        around = [evaluate(end) for end in ends]
        open_ = _open([centre, *around])
    if open_:
        around = [evaluate(point, joined=open_) for point in (x, *ends)]
        v = max(_apart(p.value, centre.value) for p in around)
        s = max(_apart(p.slope, centre.slope) for p in around)
        return value, slope, v, s, v, s
    v, bent_v = _off(centre.value, [p.value for p in around])
    s, bent_s = _off(centre.slope, [p.slope for p in around])
    if (bent_v or bent_s) and not is_bounded(evaluate(x + arb(0, r))):
        return value, slope, np.inf, np.inf, 0.0, 0.0  # a pole within the radius
    return value, slope, v, s, 0.0, 0.0


def spread_row(
    evaluate: Callable[..., list[Local]], x: Sequence[Ball], r: Doubles, centre: list[Local]
) -> Part:
    """Return values, slopes, their radii and jumps for a row known to r."""
    values = [float(y.value.mid()) for y in centre]
    slopes = [[float(s.mid()) for s in y.slope] for y in centre]
    shape = np.shape(slopes)
    zero, unknown = np.zeros(shape), np.full(shape, np.inf)
    if not (r < np.inf).all():
        return values, slopes, unknown[:, 0], unknown, zero[:, 0], zero
    corners = [_moved(x, r * signs) for signs in _signs(x)]
    alone = [_moved(x, r * one) for one in np.eye(len(x))]
    around = [evaluate(point) for point in (*corners, *alone)]
    open_ = _open([centre[0], *(found[0] for found in around)])
    if open_:
        around = [evaluate(point, joined=open_) for point in (x, *corners, *alone)]
    v, s = (np.array(reach) for reach in zip(*(_reach(f, centre) for f in around), strict=True))
    v_radius, s_radius = (_total(reach, len(x)) for reach in (v, s))
    if not np.isfinite(v_radius).all():  # a pole within the radius
        return values, slopes, unknown[:, 0], unknown, zero[:, 0], zero
    if open_:
        return values, slopes, v_radius, s_radius, v_radius, s_radius
    return values, slopes, v_radius, s_radius, zero[:, 0], zero


def _reach(found: list[Local], centre: list[Local]) -> tuple[list[float], list[list[float]]]:
    """Return how far the values and slopes of a row are from its centre's."""
    pairs = list(zip(found, centre, strict=True))
    return [_apart(y.value, at.value) for y, at in pairs], [
        [_apart(s, at_s) for s, at_s in zip(y.slope, at.slope, strict=True)] for y, at in pairs
    ]


def _total(reach: Doubles, inputs: int) -> Doubles:
    """Return how far a row's box reaches: see `spread.CORNER_SAFETY`. Corners come first."""
    corners, alone = reach[:-inputs], reach[-inputs:]
    return np.asarray(np.maximum(CORNER_SAFETY * corners.max(axis=0), alone.sum(axis=0)))


def _signs(x: Sequence[Ball]) -> list[Doubles]:
    """Return the corners of a row's box that are tried: alike, in turn, the largest against all."""
    n = len(x)
    alike = np.ones(n)
    in_turn = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    against = np.where(np.arange(n) == int(np.argmax([float(b.mid()) for b in x])), 1.0, -1.0)
    return [sign * pattern for pattern in (alike, in_turn, against) for sign in (1.0, -1.0)]


def _moved(x: Sequence[Ball], by: Doubles) -> list[Ball]:
    return [b + d for b, d in zip(x, by.tolist(), strict=True)]


def _between(x: Ball, r: float) -> list[Ball]:
    """Return points within r of x: fractions of r, and steps from 0, where functions bend most."""
    points = [x + s * r * part for part in (0.125, 0.5) for s in (-1, 1)]
    centre = float(x)
    steps = (s * 2.0**k for k in (-5, -2, 0, 1, 2, 4, 7) for s in (-1, 1))
    return points + [arb(step) for step in (0.0, *steps) if abs(centre - step) < r]


def _open(found: Sequence[Local]) -> frozenset[int]:
    """Return the decisions that do not fall the same way at all points."""
    taken = zip(*([d.taken for d in local.decisions] for local in found), strict=True)
    return frozenset(i for i, ways in enumerate(taken) if None in ways or len(set(ways)) > 1)


def _off(centre: Ball, ends: list[Ball]) -> tuple[float, bool]:
    """Return how far a smooth function may be from its centre, and whether it bends much.

    That is as far as the ends are, and the bend between them.
    """
    bend = _apart(ends[0] + ends[1], 2 * centre)
    most = max(_apart(end, centre) for end in ends)
    return most + bend, bend > most / 4


def is_bounded(local: Local) -> bool:
    """Say whether value and slope are finite balls."""
    return bool(local.value.is_finite() and local.slope.is_finite())


def _apart(p: Ball, centre: Ball) -> float:
    """Return the largest distance from the middle of `centre` to a point of p, rounded up."""
    distance = abs(p - centre.mid())
    if not distance.is_finite():
        return float("inf")
    return 0.0 if distance.is_zero() else math.nextafter(float(distance.upper()), math.inf)
