"""How far an operation's value and slopes move within a radius, for a whole tensor at once.

The same points and the same bounds as the ball evaluation in `working`, in long doubles on whole
arrays. The proven value and slope at the centre say how much rounding the long doubles suffered:
an entry where that is not far below the rounding that is allowed anyway, where two kinks are met
at once, or where something is not finite, goes back to balls. Where one decision is not the same
at all points, both its branches are taken at all points. Branches that meet smoothly give the same
numbers both ways: there is no jump.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.arithmetic.balls import Ball
from reference.arithmetic.fields import EXTENDED, ArrayArithmetic, Extended, Field, Given, Mixed
from reference.arithmetic.local import Local

Doubles = npt.NDArray[np.float64]
Part = tuple[Any, Any, Any, Any, Any, Any]
Fallback = Callable[[int], Part]

WIDE = 2.0**-6
"""A radius beyond this, in the units of the operation's input, is wide: the ends alone say little
about what lies between, so points in between are taken too."""

CORNER_SAFETY = 2.0
"""A row's box is bounded by what each input does alone, added up (to first order that is all of
it), and by twice what a few corners do, for what inputs do together."""

CORNERS = 6
"""So many of them are tried."""

BETWEEN = (0.125, 0.5)
STEPS = (0.0, *(s * 2.0**k for k in (-5, -2, 0, 1, 2, 4, 7) for s in (-1, 1)))
"""Where points in between are taken: fractions of the radius, and steps from 0, where functions
bend most."""

NOISE = 1 / 32
"""The part of the allowed rounding that the arithmetic used here may make up."""

ROUNDED = 2.0**-56
"""What long doubles may differ by where two formulas are one function."""

LEAST = 2.0**-55
"""What long doubles of the size of 1 can still tell from 0 to a 32nd part or so."""

TRUE = 2.0**-50
"""A centre so near, to its own size, came of no difference of larger numbers; by luck it may be
as near as `NOISE` asks, but not this near."""


@dataclass(frozen=True)
class Centre:
    """The proven numbers of one step as arrays, M columns: numbers, or rows.

    Numbers: x, value (M,), slope (M,). Rows of C with I outputs: x (C, M), value (I, M), slope
    (I, C, M). `taken` has each decision's branch, -1 where none was taken.
    """

    x: npt.NDArray[Any]
    value: npt.NDArray[Any]
    slope: npt.NDArray[Any]
    taken: npt.NDArray[np.int8]


def centre_of_numbers(x: Sequence[Ball], local: Sequence[Local]) -> Centre:
    """Return the centre of an elementwise operation."""
    return Centre(
        extended(x),
        extended([y.value for y in local]),
        extended([y.slope for y in local]),
        _taken(local),
    )


def centre_of_rows(x: Sequence[Ball], rows: Sequence[Sequence[Local]]) -> Centre:
    """Return the centre of an operation on rows."""
    m, outputs = len(rows), len(rows[0])
    width = len(x) // m
    value = extended([y.value for row in rows for y in row])
    slope = extended([s for row in rows for y in row for s in y.slope])
    return Centre(
        np.ascontiguousarray(extended(x).reshape(m, width).T),
        np.ascontiguousarray(value.reshape(m, outputs).T),
        np.ascontiguousarray(columns_last(slope.reshape(m, outputs, width))),
        _taken([row[0] for row in rows]),
    )


def extended(balls: Sequence[Ball]) -> npt.NDArray[Any]:
    """Return the midpoints as long doubles, by two doubles."""
    high = list(map(float, balls))  # a ball's float is that of its midpoint
    low = [float(b - h) if abs(h) < np.inf else 0.0 for b, h in zip(balls, high, strict=True)]
    found: npt.NDArray[Any] = np.array(high, Extended) + np.array(low)
    return found


def _taken(local: Sequence[Local]) -> npt.NDArray[np.int8]:
    ways = {None: -1, False: 0, True: 1}
    lists = [[ways[d.taken] for d in y.decisions] for y in local]
    longest = max(map(len, lists))  # a definition that returns early decides less often
    padded = [one + [0] * (longest - len(one)) for one in lists]
    return np.array(padded, np.int8).T.reshape(-1, len(lists))


Columns = npt.NDArray[np.intp]
Forced = npt.NDArray[np.int8]
Evaluate = Callable[[npt.NDArray[Any], Columns, Forced | None], "Evaluated"]


@dataclass
class Evaluated:
    """A definition at points of some columns; `first` and `open` (D, M) as in `ArrayArithmetic`."""

    value: npt.NDArray[Any]
    slope: npt.NDArray[Any]
    first: npt.NDArray[np.bool_]
    open: npt.NDArray[np.bool_]
    rounds: bool


class Numbers:
    """A function of one number over arrays; targets and arguments by column where they vary."""

    def __init__(
        self,
        definition: Callable[..., Any],
        targets: npt.NDArray[Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = definition
        self.targets = targets
        self.arguments = arguments or {}

    def __call__(
        self, x: npt.NDArray[Any], columns: Columns, forced: Forced | None = None
    ) -> Evaluated:
        """Evaluate at x (P, M)."""
        m = ArrayArithmetic(len(columns), forced)
        before = () if self.targets is None else (Given(self.targets[columns]),)
        arguments = {
            name: Field(v[columns]) if isinstance(v, np.ndarray) else v
            for name, v in self.arguments.items()
        }
        try:
            y = self.definition(m, Field(x, np.ones((1, 1, 1), Extended)), *before, **arguments)
        except Mixed as split:
            return _joined(self, x, columns, forced, split.same)
        y = y if isinstance(y, Field) else Field(y)
        slope = np.zeros((1, 1, 1)) if y.slope is None else y.slope
        return Evaluated(
            _everywhere(y.value, x.shape),
            _everywhere(slope[0], x.shape),
            np.array(m.first, bool).reshape(-1, len(columns)),
            np.array(m.open, bool).reshape(-1, len(columns)),
            m.rounds,
        )


class Rows:
    """A function of a row over arrays; labels or targets and arguments by row where they vary."""

    def __init__(
        self,
        definition: Callable[..., Any],
        targets: npt.NDArray[Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.definition = definition
        self.targets = targets
        self.arguments = arguments or {}

    def __call__(
        self, x: npt.NDArray[Any], columns: Columns, forced: Forced | None = None
    ) -> Evaluated:
        """Evaluate at x (C, P, M); values are (I, P, M), slopes (I, C, P, M)."""
        width, shape = len(x), x.shape[1:]
        before: tuple[Any, ...] = ()
        if self.targets is not None and self.targets.ndim == 1:
            labels = self.targets[columns]
            if (labels != labels[0]).any():
                return _joined(self, x, columns, forced, labels == labels[0])
            before = (int(labels[0]),)
        elif self.targets is not None:
            before = ([Given(t) for t in self.targets[columns].T],)
        m = ArrayArithmetic(len(columns), forced)
        one_hot = np.eye(width, dtype=Extended)[:, :, None, None]
        row = [Field(x_j, e_j) for x_j, e_j in zip(x, one_hot, strict=True)]
        arguments = {
            name: [Field(c) for c in v[columns].T] if isinstance(v, np.ndarray) else v
            for name, v in self.arguments.items()
        }
        try:
            y = self.definition(m, row, *before, **arguments)
        except Mixed as split:
            return _joined(self, x, columns, forced, split.same)
        outputs = [f if isinstance(f, Field) else Field(f) for f in (y if type(y) is list else [y])]
        slopes = [np.zeros(()) if f.slope is None else f.slope for f in outputs]
        return Evaluated(
            np.array([_everywhere(f.value, shape) for f in outputs]),
            np.array([_everywhere(s, (width, *shape)) for s in slopes]),
            np.array(m.first, bool).reshape(-1, len(columns)),
            np.array(m.open, bool).reshape(-1, len(columns)),
            m.rounds,
        )


def _joined(
    evaluate: Any,
    x: npt.NDArray[Any],
    columns: Columns,
    forced: Forced | None,
    same: npt.NDArray[np.bool_],
) -> Evaluated:
    """Evaluate two sets of columns apart and put them together again."""
    parts = []
    for pick in (same, ~same):
        part = evaluate(x[..., pick], columns[pick], None if forced is None else forced[:, pick])
        parts.append((pick, part))
    decisions, m = max(len(part.first) for _, part in parts), len(columns)
    whole = Evaluated(
        np.empty((*parts[0][1].value.shape[:-1], m), Extended),
        np.empty((*parts[0][1].slope.shape[:-1], m), Extended),
        np.zeros((decisions, m), bool),
        np.zeros((decisions, m), bool),
        any(part.rounds for _, part in parts),
    )
    for pick, part in parts:  # one that decides less often has its decisions first
        whole.value[..., pick], whole.slope[..., pick] = part.value, part.slope
        whole.first[: len(part.first), pick] = part.first
        whole.open[: len(part.open), pick] = part.open
    return whole


def spread_numbers(
    evaluate: Evaluate,
    centre: Centre,
    r: Doubles,
    allowed: tuple[Doubles, Doubles],
    fallback: Fallback,
    bounded: Callable[[int], bool],
) -> list[Doubles]:
    """Return value, slope, their radii and jumps, (M,) each, for numbers known to r.

    `allowed` is the rounding of value and slope that is added to the radii afterwards; `bounded`
    tells, by balls, whether there is no pole within the radius.
    """
    spread = Spread(centre, allowed, r < np.inf)
    for wide in (False, True):
        columns = np.flatnonzero((r < np.inf) & ((r > WIDE) == wide))
        if columns.size and EXTENDED:
            points = _points(centre.x[columns], r[columns], wide=wide)
            bent = spread.add(evaluate, points, columns)
            for k in columns[bent].tolist():
                if not bounded(k):
                    spread.v[k] = spread.s[k] = np.inf
    return spread.filled(fallback)


def spread_rows(
    evaluate: Evaluate,
    centre: Centre,
    r: Doubles,
    allowed: tuple[Doubles, Doubles],
    fallback: Fallback,
) -> list[Doubles]:
    """Return values (M, I), slopes (M, I, C), their radii and jumps, for rows known to r (M, C)."""
    spread = Spread(centre, allowed, np.asarray((r < np.inf).all(axis=-1)))
    columns = np.flatnonzero(spread.balls)
    if columns.size and EXTENDED:
        x = centre.x[:, columns]
        spread.add(evaluate, _points_of_rows(x, r[columns].T), columns)
    return spread.filled(fallback)


class Spread:
    """Radii v and s of values and slopes, their jumps, and the columns left to balls."""

    def __init__(
        self, centre: Centre, allowed: tuple[Doubles, Doubles], known: npt.NDArray[np.bool_]
    ) -> None:
        self.centre = centre
        self.value = columns_first(centre.value).astype(np.float64)
        self.slope = columns_first(centre.slope).astype(np.float64)
        self.v, self.s = np.full(self.value.shape, np.inf), np.full(self.slope.shape, np.inf)
        self.v_jump, self.s_jump = np.zeros(self.value.shape), np.zeros(self.slope.shape)
        self.balls = known.copy()
        # Long doubles: a 32nd of the smallest float is no float.
        self._enough = [columns_last(a).astype(Extended) * NOISE for a in allowed]

    def add(self, evaluate: Evaluate, points: Any, columns: Columns) -> npt.NDArray[np.bool_]:
        """Enter the radii of some columns; return which of them bend much (numbers only)."""
        try:
            at = evaluate(points, columns, None)
        except (TypeError, ValueError):  # a definition that wants plain numbers: balls are
            return np.zeros(len(columns), bool)
        taken, rows = self.centre.taken[:, columns], points.ndim == 3
        if len(at.first) != len(taken):
            return np.zeros(len(columns), bool)
        open_ = at.open | (taken < 0) | (at.first != (taken == 1))
        bent = np.zeros(len(columns), bool)
        totals, fines = [], []
        for given, proven, enough in self._pairs(at):
            centre, noise = proven[..., None, columns], enough[..., columns]
            apart = np.abs(given - centre)
            if rows:
                total = _total_of_rows(apart)
            else:
                total = apart[..., 1:, :].max(axis=-2)
                bend = np.abs(given[1] + given[2] - 2 * proven[columns])
                bent |= (bend > total / 4) & (total > noise)
                total = total + bend
            fine = (apart[..., 0, :] <= NOISE * total + noise) & (total < np.inf)
            if at.rounds and not rows:
                near = (apart[0] <= TRUE * np.abs(proven[columns])) & (proven[columns] != 0)
                fine &= near | (total >= LEAST)
            totals.append(total)
            fines.append(fine)
        if not rows:
            # The mean value theorem: a value moves by the radius times its slopes at the most.
            slope = np.abs(self.centre.slope[columns])
            steady = fines[1] & (totals[1] <= slope * NOISE) & ~fines[0]
            totals[0] = np.where(steady, (points[2] - points[0]) * (slope + totals[1]), totals[0])
            fines[0] |= steady
        sure = np.logical_and(*(fine.reshape(-1, len(columns)).all(axis=0) for fine in fines))
        self.v[columns], self.s[columns] = map(columns_first, totals)
        undecided = np.flatnonzero(open_.any(axis=0))
        if undecided.size:
            sure[undecided] = self._both_ways(
                evaluate, points[..., undecided], columns[undecided], open_[:, undecided]
            ) | (sure[undecided] & self.smooth)
            bent[undecided] = False  # both branches were seen to be finite
        self.balls[columns] = ~sure
        return np.asarray(bent & sure)

    def _both_ways(
        self, evaluate: Evaluate, points: Any, columns: Columns, open_: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Take both branches of what is open; enter what jumps, and say of which that is true.

        `smooth` is left behind: where both branches give the same numbers.
        """
        yes, no = (
            evaluate(points, columns, np.where(open_, np.int8(way), np.int8(-1))) for way in (1, 0)
        )
        single = open_.sum(axis=0) == 1
        self.smooth = np.ones(len(columns), bool)
        totals = []
        pairs = zip(self._pairs(yes), self._pairs(no), strict=True)
        for (given, proven, enough), (other, *_) in pairs:
            centre, noise = proven[..., None, columns], enough[..., columns]
            rounding = noise[..., None, :] + ROUNDED * np.abs(given)
            same = (np.abs(given - other) <= rounding).all(axis=-2)
            self.smooth &= same.reshape(-1, len(columns)).all(axis=0)
            total = np.maximum(np.abs(given - centre), np.abs(other - centre)).max(axis=-2)
            fine = total < np.inf
            # The proven centre is a branch's or, at a tie, the middle of both.
            ways = (given[..., 0, :], other[..., 0, :], (given + other)[..., 0, :] / 2)
            off = np.min([np.abs(way - proven[..., columns]) for way in ways], axis=0)
            fine &= off <= NOISE * total + noise
            single &= fine.reshape(-1, len(columns)).all(axis=0)
            totals.append(columns_first(CORNER_SAFETY * total if points.ndim == 3 else total))
        jumps = single & ~self.smooth
        for found, jump, total in zip(
            (self.v, self.s), (self.v_jump, self.s_jump), totals, strict=True
        ):
            found[columns[jumps]] = jump[columns[jumps]] = total[jumps]
        return np.asarray(jumps)

    def _pairs(self, at: Evaluated) -> list[tuple[Any, Any, Any]]:
        return [
            (at.value, self.centre.value, self._enough[0]),
            (at.slope, self.centre.slope, self._enough[1]),
        ]

    def filled(self, fallback: Fallback) -> list[Doubles]:
        """Return all, what is left to balls by `fallback`."""
        arrays = [self.value, self.slope, self.v, self.s, self.v_jump, self.s_jump]
        for k in np.flatnonzero(self.balls).tolist():
            for array, found in zip(arrays, fallback(k), strict=True):
                array[k] = found
        return arrays


def _points(x: Any, r: Doubles, *, wide: bool) -> Any:
    """Return the centre, both ends and, for wide radii, points in between, (P, M)."""
    if not wide:
        return np.stack([x, x - r, x + r])
    fractions = [x + s * r * part for part in BETWEEN for s in (-1, 1)]
    steps = [np.where(np.abs(x - step) < r, Extended(step), x) for step in STEPS]
    return np.stack([x, x - r, x + r, *fractions, *steps])


def _points_of_rows(x: Any, r: Doubles) -> Any:
    """Return the centre, the corners, and each input alone at its upper end, (C, P, M).

    One end is enough: to first order the other is as far off, and corners have both.
    `_total_of_rows` knows them by their places.
    """
    alone = np.eye(len(x))[:, :, None] * r[:, None, :]
    moves = np.concatenate([_signs(x) * r[:, None, :], alone], axis=1)
    return np.concatenate([x[:, None, :], x[:, None, :] + moves], axis=1)


def _total_of_rows(apart: Any) -> Any:
    """Return how far a row's box reaches, from the distances (…, P, M) at its points."""
    corners, alone = apart[..., 1 : 1 + CORNERS, :], apart[..., 1 + CORNERS :, :]
    return np.maximum(CORNER_SAFETY * corners.max(axis=-2), alone.sum(axis=-2))


def _signs(x: Any) -> npt.NDArray[np.float64]:
    """Return the corners that are tried, (C, 6, M): alike, in turn, the largest against all."""
    width = np.arange(len(x))[:, None]
    alike = np.ones(x.shape)
    in_turn = np.where(width % 2 == 0, alike, -1.0)
    against = np.where(width == np.argmax(x, axis=0), 1.0, -1.0)
    return np.stack([s * pattern for pattern in (alike, in_turn, against) for s in (1, -1)], axis=1)


def _everywhere(a: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return what may be a constant as an array of the shape."""
    return a if np.shape(a) == shape else np.broadcast_to(a, shape)


def columns_first(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array with its last axis, the columns, first. `np.moveaxis` is slower."""
    return a.transpose(a.ndim - 1, *range(a.ndim - 1))


def columns_last(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array with its first axis last."""
    return a.transpose(*range(1, a.ndim), 0)


def constants_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operation's parameters: floats as long doubles, exact, the rest as it is."""
    return {name: Extended(v) if isinstance(v, float) else v for name, v in arguments.items()}
