"""Which array of a submission is which of the reference solution: by trying, until outputs agree.

Names differ, weights lie as (out, in), samples as columns, labels as one-hot rows. A way of giving
the submission's numbers to the reference solution is the right one when both compute the same:
random numbers do not agree by chance.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.balls import values
from reference.checks.code import Path, is_target, plain, same_thing
from reference.checks.running import same_shape
from reference.checks.tolerances import DIGITS, FORWARD

MAX_TRIES = 400

ByPath = Mapping[Path, Any]
"""Arrays by path: NumPy's, or those of balls."""
Turn = Callable[[npt.ArrayLike], Any]


@dataclass(frozen=True)
class Way:
    """How an array is turned into the reference solution's, and back."""

    name: str
    there: Turn
    back: Callable[[npt.ArrayLike, tuple[int, ...]], np.ndarray]
    """Of the turned array and the shape that it had."""


def _reshaped(array: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(array).reshape(shape)


AS_IT_IS = Way("", lambda a: a, _reshaped)
TURNED = Way("turned", lambda a: np.asarray(a).T, lambda a, shape: np.asarray(a).T.reshape(shape))
FLAT = Way("flat", lambda a: np.asarray(a).reshape(-1), _reshaped)
ROW = Way("row", lambda a: np.asarray(a).reshape(1, -1), _reshaped)
COLUMN = Way("column", lambda a: np.asarray(a).reshape(-1, 1), _reshaped)
CHANNELS_FIRST = Way(
    "channels first",
    lambda a: np.moveaxis(np.asarray(a), -1, 1),
    lambda a, shape: np.moveaxis(np.asarray(a), 1, -1),
)
CHANNELS_LAST = Way(
    "channels last",
    lambda a: np.moveaxis(np.asarray(a), 1, -1),
    lambda a, shape: np.moveaxis(np.asarray(a), -1, 1),
)


def ways(array: npt.ArrayLike, dimensions: int, same_layout: bool) -> Iterator[Way]:
    """Yield the ways in which an array may become one of so many dimensions."""
    shape = np.shape(array)
    if len(shape) == dimensions:
        yield AS_IT_IS
        if dimensions == 2 and not same_layout:
            yield TURNED
        if dimensions == 4 and not same_layout:
            yield CHANNELS_FIRST
            yield CHANNELS_LAST
    elif dimensions <= 1 and np.size(array) == max(shape, default=1):
        yield FLAT
    elif dimensions == 2 and len(shape) == 1:
        yield ROW
        yield COLUMN


def _labels(array: Any, like: Any) -> Iterator[Any]:
    """Yield a target as it is, and in the other spelling: labels or one-hot rows."""
    given, wanted = np.asarray(array), np.asarray(like)
    if given.ndim == wanted.ndim:
        yield given
    if given.ndim == wanted.ndim == 2:
        yield given.T
    if given.ndim == 2 and wanted.ndim == 1:
        yield from (given.argmax(axis=1), given.argmax(axis=0))
        yield given.reshape(-1)
    if given.ndim == 1 and wanted.ndim == 2:
        yield given.reshape(-1, 1)
        if given.dtype.kind in "iu":
            for classes in range(int(given.max(initial=0)) + 1, 10):
                yield np.eye(classes)[given]


@dataclass(frozen=True)
class Placement:
    """One array of the submission, and what it is of the reference solution."""

    theirs: Path
    ours: Path
    way: Way


@dataclass(frozen=True)
class Correspondence:
    """Which array goes where."""

    places: tuple[Placement, ...]
    others: tuple[tuple[Path, Path, int], ...]
    """(theirs, ours, which of the spellings)."""

    @property
    def by_name(self) -> bool:
        """Whether every array is called as in the reference solution, or like it."""
        return all(likeness(p.theirs, p.ours) >= 2 and p.way is AS_IT_IS for p in self.places)

    def given(self, inputs: ByPath, others: ByPath, like: ByPath) -> dict[Path, Any]:
        """Return the numbers that the reference solution is run on, by its own paths.

        Raises KeyError or IndexError where this problem has no such array.
        """
        found = {p.ours: p.way.there(inputs[p.theirs]) for p in self.places}
        for theirs, ours, which in self.others:
            given = {**inputs, **others}[theirs]
            found[ours] = list(_labels(given, like[ours]))[which]
        return found


def proposals(
    theirs: ByPath,
    their_others: ByPath,
    ours: ByPath,
    our_others: ByPath,
    same_layout: bool,
) -> Iterator[Correspondence]:
    """Yield the ways to give a submission's numbers to the reference solution, likely ones first.

    theirs, ours: the float arrays that go in, by path. their_others, our_others: targets, labels.
    """
    places = [list(_places(path, array, theirs, same_layout)) for path, array in ours.items()]
    targets = [
        list(_targets(path, array, {**their_others, **theirs}))
        for path, array in our_others.items()
    ]
    tries = itertools.product(itertools.product(*places), itertools.product(*targets))
    count = 0
    for chosen, others in tries:
        taken = [p.theirs for p in chosen] + [o[0] for o in others]
        if len(set(taken)) < len(taken):
            continue
        count += 1
        if count > MAX_TRIES:
            return
        yield Correspondence(tuple(chosen), tuple(others))


def _places(
    path: Path, array: np.ndarray, theirs: ByPath, same_layout: bool
) -> Iterator[Placement]:
    order = sorted(theirs, key=lambda p: -likeness(p, path))
    if same_layout and order and likeness(order[0], path) >= 2:
        order = order[:1]  # a product may be read with its factors exchanged: x @ w as W @ A
    for other in order:
        for way in ways(theirs[other], np.ndim(array), same_layout):
            yield Placement(other, path, way)


def _targets(path: Path, array: np.ndarray, among: ByPath) -> Iterator[tuple[Path, Path, int]]:
    order = sorted(among, key=lambda p: (-likeness(p, path), not is_target(p[-1])))
    for other in order:
        for which, _ in enumerate(_labels(among[other], array)):
            yield other, path, which


def likeness(one: Path, other: Path) -> float:
    """Return how much two paths are called alike: 3 the same, 0 not."""
    a, b = plain("".join(one[1:] or one)), plain("".join(other[1:] or other))
    if a == b:
        return 3.0
    if same_thing(one[-1], other[-1]):
        return 2.0
    return 1.0 if a[:1] == b[:1] else 0.0


def found_in(value: npt.ArrayLike, among: ByPath) -> np.ndarray | None:
    """Return the tracked value of the reference solution that is this plain one, in its shape.

    None where there is none: a value that only this submission computes.
    """
    wanted = np.asarray(value, dtype=float)
    for other in among.values():
        if np.size(other) == wanted.size:
            way = way_to(np.asarray(values(other), dtype=float), wanted)
            if way is not None:
                return np.asarray(way.there(_array(other))).reshape(wanted.shape)
    return None


def way_to(have: np.ndarray, wanted: np.ndarray) -> Way | None:
    """Return how an array is turned into one of the same numbers, None where it is another."""
    for way in (AS_IT_IS, TURNED, CHANNELS_FIRST, CHANNELS_LAST):
        if way in (CHANNELS_FIRST, CHANNELS_LAST) and have.ndim != 4:
            continue
        turned = np.asarray(way.there(have), dtype=float)
        if same_shape(turned, wanted) and agree(turned.reshape(wanted.shape), wanted):
            return way
    return None


def _array(value: object) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of numbers are the same to rounding."""
    scale = float(np.max(np.abs(other), initial=0.0))
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= DIGITS * np.abs(other) + FORWARD * scale
    return bool(np.all(near))
