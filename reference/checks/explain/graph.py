"""The tape as plain floats, so that a reverse sweep can be repeated with one thing changed.

    adj[parent] += ∂child/∂parent · adj[child]        from the loss back to the inputs

An `Edit` changes one thing of it: other slopes on some edges, or a hook that reads and writes
the cotangents when the sweep comes by. Float64 is exact enough to recognise a mistake by the
1e-9 at which claims are compared.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from reference.balls import Number
from reference.checks.code import NumericValue
from reference.checks.running import still_computing

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
A = TypeVar("A", Array, Places)

_BUILT = 10
"""A place that is built takes about as long as this many that are swept, its run included."""

Edges = list[tuple[int, float]]
Hook = Callable[[list[float]], None]


@dataclass
class Edit:
    """One change of the sweep.

    edges: for some nodes, what they send to their parents in place of the true slopes.
    hooks: run before a node sends anything; they may change the cotangents of it and of others.
    """

    edges: dict[int, Edges] = field(default_factory=dict)
    hooks: dict[int, list[Hook]] = field(default_factory=dict)

    @classmethod
    def at(cls, places: Iterable[int], hook: Hook) -> "Edit":
        """Return the sweep with one hook, run when the last of some places is come by."""
        return cls(hooks={max(places): [hook]})

    def __or__(self, other: "Edit") -> "Edit":
        hooks = {k: list(v) for k, v in self.hooks.items()}
        for place, more in other.hooks.items():
            hooks.setdefault(place, []).extend(more)
        return Edit({**self.edges, **other.edges}, hooks)

    def __bool__(self) -> bool:
        return bool(self.edges or self.hooks)


class NumberGraph:
    """All numbers that some outputs and named values were made from, in the order they were made.

    values: the number at each place. edges: its (parent's place, ∂/∂parent). seeds: the
    cotangents that the sweep begins with.
    """

    work = 0
    """How many places the sweeps of all graphs have passed so far.

    It is the clock of a search: a slow or busy machine finds what any other one finds.
    """

    def __init__(
        self, outputs: Sequence[object], weights: Sequence[object], others: Iterable[object]
    ) -> None:
        seeds = _seeds(outputs, weights)
        numbers = _reachable([*(n for n, _ in seeds), *_numbers(others)])
        self.index = {number.order: i for i, number in enumerate(numbers)}
        self.values = [float(n.value) for n in numbers]
        place = self.index
        self.edges: list[Edges] = [
            [(place[p.order], float(d)) for p, d in zip(n.parents or (), n.partials, strict=False)]
            for n in numbers
        ]
        self.seeds: list[tuple[int, float]] = [(place[n.order], c) for n, c in seeds]
        self.size = len(numbers)
        NumberGraph.work += _BUILT * self.size

    def places(self, array: NumericValue) -> Places:
        """Return where each entry of an array stands; −1 for entries that are no such number."""
        flat = array.flat if isinstance(array, np.ndarray) else [array]
        found = [self.index.get(getattr(x, "order", -1), -1) for x in flat]
        return np.array(found, dtype=np.int64).reshape(np.shape(array))

    def read(self, places: Places) -> Array:
        """Return the numbers at some places."""
        found = [self.values[p] for p in places.ravel().tolist()]
        return np.array(found).reshape(places.shape)

    @cached_property
    def uses(self) -> list[list[int]]:
        """The places that each place was used by."""
        found: list[list[int]] = [[] for _ in range(self.size)]
        for child, edges in enumerate(self.edges):
            for parent, _ in edges:
                found[parent].append(child)
        return found

    def behind(self, place: int, low: int) -> Iterator[int]:
        """Yield the places from `low` on that a place was made from, directly or not."""
        seen: set[int] = set()
        stack = [place]
        while stack:
            for parent, _ in self.edges[stack.pop()]:
                if parent >= low and parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
                    yield parent

    def carried(
        self, seeds: Mapping[int, float], ends: Callable[[int], bool], low: int
    ) -> dict[int, float]:
        """Return what the cotangents of some places make of those that they were made from.

        Places that `ends` names, and those before `low`, send nothing on.
        """
        found = dict(seeds)
        front = [-p for p in seeds]
        heapq.heapify(front)
        while front:
            place = -heapq.heappop(front)
            if place < low or ends(place):
                continue
            for parent, slope in self.edges[place]:
                if parent not in found:
                    found[parent] = 0.0
                    heapq.heappush(front, -parent)
                found[parent] += slope * found[place]
        return found

    def slope(self, a: int, z: int) -> float:
        """Return ∂a/∂z, over all paths from a to z."""
        return self.carried({a: 1.0}, lambda place: place == z, z).get(z, 0.0)

    def sweep(self, edit: Edit | None = None) -> list[float]:
        """Return the cotangent of every place."""
        NumberGraph.work += self.size
        still_computing()
        adjoints = [0.0] * self.size
        for place, value in self.seeds:
            adjoints[place] += value
        edges, hooks = self.edges, {}
        if edit:
            edges, hooks = list(self.edges), edit.hooks
            for place, other in edit.edges.items():
                edges[place] = other
        for i in range(self.size - 1, -1, -1):
            if i in hooks:
                for hook in hooks[i]:
                    hook(adjoints)
            a = adjoints[i]
            if a:
                for parent, slope in edges[i]:
                    adjoints[parent] += slope * a
        return adjoints


def read(adjoints: list[float], places: Places) -> Array:
    """Return the cotangents of an array; nan where an entry is not on the tape."""
    found = [adjoints[i] if i >= 0 else np.nan for i in places.ravel().tolist()]
    return np.array(found, dtype=np.float64).reshape(places.shape)


def _seeds(outputs: Sequence[object], weights: Sequence[object]) -> list[tuple[Number, float]]:
    found: list[tuple[Number, float]] = []
    for output, weight in zip(outputs, weights, strict=True):
        plain = np.asarray(output, dtype=object)
        given = np.broadcast_to(np.asarray(weight, dtype=np.float64), plain.shape)
        found += [
            (x, float(c))
            for x, c in zip(plain.flat, given.flat, strict=True)
            if isinstance(x, Number)
        ]
    return found


def _numbers(arrays: Iterable[object]) -> list[Number]:
    found: list[Number] = []
    for array in arrays:
        flat = array.flat if isinstance(array, np.ndarray) else [array]
        found += [x for x in flat if isinstance(x, Number)]
    return found


def _reachable(roots: list[Number]) -> list[Number]:
    seen = {n.order: n for n in roots}
    stack = list(seen.values())
    while stack:
        for parent in stack.pop().parents or ():
            if parent.order not in seen:
                seen[parent.order] = parent
                stack.append(parent)
    return [seen[order] for order in sorted(seen)]
