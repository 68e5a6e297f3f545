"""The tape as plain floats, so that a reverse sweep can be repeated with one thing changed.

    adj[parent] += ∂child/∂parent · adj[child]        from the loss back to the inputs

An `Edit` changes one thing of it: other slopes on some edges, or a hook that reads and writes
the cotangents when the sweep comes by. Float64 is exact enough to recognise a mistake by the
1e-9 at which claims are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
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

    def __or__(self, other: Edit) -> Edit:
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

    def __init__(
        self, outputs: Sequence[Any], weights: Sequence[Any], others: Iterable[Any]
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
        self._uses: list[list[int]] | None = None

    def places(self, array: Any) -> Places:
        """Return where each entry of an array stands; −1 for entries that are no such number."""
        flat = array.flat if isinstance(array, np.ndarray) else [array]
        found = [self.index.get(getattr(x, "order", -1), -1) for x in flat]
        return np.array(found, dtype=np.int64).reshape(np.shape(array))

    @property
    def uses(self) -> list[list[int]]:
        """The places that each place was used by."""
        if self._uses is None:
            self._uses = [[] for _ in range(self.size)]
            for child, edges in enumerate(self.edges):
                for parent, _ in edges:
                    self._uses[parent].append(child)
        return self._uses

    def sweep(self, edit: Edit | None = None) -> list[float]:
        """Return the cotangent of every place."""
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


def _seeds(outputs: Sequence[Any], weights: Sequence[Any]) -> list[tuple[Any, float]]:
    found: list[tuple[Any, float]] = []
    for output, weight in zip(outputs, weights, strict=True):
        plain = np.asarray(output, dtype=object)
        given = np.broadcast_to(np.asarray(weight, dtype=np.float64), plain.shape)
        found += [
            (x, float(c))
            for x, c in zip(plain.flat, given.flat, strict=True)
            if hasattr(x, "order")
        ]
    return found


def _numbers(arrays: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for array in arrays:
        flat = array.flat if isinstance(array, np.ndarray) else [array]
        found += [x for x in flat if hasattr(x, "order")]
    return found


def _reachable(roots: list[Any]) -> list[Any]:
    seen = {n.order: n for n in roots}
    stack = list(seen.values())
    while stack:
        for parent in stack.pop().parents or ():
            if parent.order not in seen:
                seen[parent.order] = parent
                stack.append(parent)
    return [seen[order] for order in sorted(seen)]
