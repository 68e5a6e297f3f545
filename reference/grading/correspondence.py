"""Which array of a submission is which of the reference solution: by trying, until outputs agree.

Names differ, weights lie as (out, in), samples as columns, labels as one-hot rows. A way of giving
the submission's numbers to the reference solution is the right one when both compute the same:
random numbers do not agree by chance. Last: what an assignment may ask for beside right gradients,
types and what a forward hands on; and the values that a backward computes twice.
"""

import ast
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from reference.balls import values
from reference.checks.code import (
    NumericValue,
    Path,
    Routine,
    is_numeric,
    is_target,
    leaves_of,
    plain,
    same_thing,
)
from reference.checks.comparing import as_array
from reference.checks.running import same_shape
from reference.checks.tolerances import DIGITS, FORWARD, IN_FLOAT32
from reference.grading.records import Array, NamedArray, ProblemRun

Value = NumericValue
"""A number or an array: of floats, or of balls with their derivatives."""

MAX_TRIES = 400

Turn = Callable[[Value], Value]


@dataclass(frozen=True)
class Way:
    """How an array is turned into the reference solution's, and back."""

    name: str
    there: Turn
    back: Callable[[Value, tuple[int, ...]], np.ndarray]
    """Of the turned array and the shape that it had."""


def _reshaped(array: Value, shape: tuple[int, ...]) -> np.ndarray:
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


def ways(array: Value, dimensions: int, same_layout: bool) -> Iterator[Way]:
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


def _labels(array: Value, like: Value) -> Iterator[np.ndarray]:
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

    def given(
        self, inputs: Mapping[Path, Value], others: Mapping[Path, Value], like: Mapping[Path, Value]
    ) -> dict[Path, Value]:
        """Return the numbers that the reference solution is run on, by its own paths.

        Raises KeyError or IndexError where this problem has no such array.
        """
        found: dict[Path, Value] = {p.ours: p.way.there(inputs[p.theirs]) for p in self.places}
        for theirs, ours, which in self.others:
            given = {**inputs, **others}[theirs]
            found[ours] = list(_labels(given, like[ours]))[which]
        return found


def proposals(
    theirs: Mapping[Path, Value],
    their_others: Mapping[Path, Value],
    ours: Mapping[Path, Value],
    our_others: Mapping[Path, Value],
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
    path: Path, array: Value, theirs: Mapping[Path, Value], same_layout: bool
) -> Iterator[Placement]:
    order = sorted(theirs, key=lambda p: -likeness(p, path))
    if same_layout and order and likeness(order[0], path) >= 2:
        order = order[:1]  # a product may be read with its factors exchanged: x @ w as W @ A
    for other in order:
        for way in ways(theirs[other], np.ndim(array), same_layout):
            yield Placement(other, path, way)


def _targets(
    path: Path, array: Value, among: Mapping[Path, Value]
) -> Iterator[tuple[Path, Path, int]]:
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


def found_in(value: Value, among: Mapping[Path, Value]) -> np.ndarray | None:
    """Return the tracked value of the reference solution that is this plain one, in its shape.

    None where there is none: a value that only this submission computes.
    """
    wanted = np.asarray(value, dtype=float)
    for other in among.values():
        if np.size(other) == wanted.size:
            way = way_to(np.asarray(values(other), dtype=float), wanted)
            if way is not None:
                return np.asarray(way.there(as_array(other))).reshape(wanted.shape)
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


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of numbers are the same to rounding."""
    scale = float(np.max(np.abs(other), initial=0.0))
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= DIGITS * np.abs(other) + FORWARD * scale
    return bool(np.all(near))


def lost_in_types(run: ProblemRun, claim: Path) -> str:
    """Return in which other type a gradient is not right and why, "" where it is in all.

    It has to come back in the type that went in, and near the gradient in float64.
    """
    exact = _of(run.claims, claim)
    lost = ((c.dtype, _lost(_of(c.claims, claim), exact, c.dtype)) for c in run.coarse)
    return next((f"in {dtype} {what}" for dtype, what in lost if what), "")


def _of(named: tuple[NamedArray, ...], path: Path) -> Array | None:
    return next((n.value for n in named if n.path == path), None)


def _lost(found: Array | None, exact: Array | None, dtype: str) -> str:
    if found is None or exact is None or found.shape != exact.shape:
        return "no gradient of that shape came back"
    if found.dtype != dtype and found.shape:
        return f"it came back as {found.dtype}"
    scale = float(np.max(np.abs(np.asarray(exact, dtype=float)), initial=0.0))
    with np.errstate(all="ignore"):
        off = np.abs(np.subtract(found, exact, dtype=float))
    return "" if bool(np.all(off <= IN_FLOAT32 * scale)) else "its digits are lost"


def handed_on(theirs: tuple[Array, ...], made: object) -> str:
    """Return how what a forward hands on differs from the reference solution's, "" where it is as.

    theirs: the items that the submission's forward returned beside its output. made: all that the
    reference solution's returned for the same numbers.
    """
    ours = list(leaves_of(tuple(made[1:])).values()) if isinstance(made, tuple | list) else []
    if len(theirs) != len(ours):
        return f"{len(theirs)} items are handed on, {len(ours)} are asked for"
    for place, (item, asked) in enumerate(zip(theirs, ours, strict=True), 1):
        plain = np.asarray(values(asked), dtype=float)
        turned = (np.asarray(way, dtype=float) for way in (item, TURNED.there(item)))
        if not any(t.shape == plain.shape and agree(t, plain) for t in turned):
            return f"item {place} of what is handed on is another one than asked for"
    return ""


def repeated(
    backward: Routine, variables: Mapping[Path, Value], instance: object = None
) -> dict[Path, Value]:
    """Return the values of expressions that stand in a backward's source at least twice.

    As `dh * h` in dW and again in db: such a value is taken like a variable, for a mistake in it is
    one mistake, wherever it stands. variables: the backward's local variables by path, as they were
    at its end. instance: its `self`. The expressions are the submission's own code.
    """
    if backward.node is None:
        return {}
    terms = [ast.unparse(n) for n in ast.walk(backward.node) if isinstance(n, ast.BinOp)]
    known = {path[0]: value for path, value in variables.items() if len(path) == 1}
    names = {**getattr(backward.function, "__globals__", {}), "self": instance, **known}
    found: dict[Path, Value] = {}
    for text, count in Counter(terms).items():
        if count > 1:
            with suppress(Exception):  # a name that is none at its end
                value = eval(compile(text, "<repeated>", "eval"), names)
                if is_numeric(value):
                    found[(text,)] = value
    return found
