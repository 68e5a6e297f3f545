"""Finds the elementwise steps of a forward: a = f(z), entry by entry, by what the tape says.

An entry of `a` has `z` behind it when every path back from it leads through that one number
(a dominator). So pre-activations are found that have no name: sigmoid(W @ x + b).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from reference.balls import is_tracked
from reference.checks.explain.graph import Array, NumberGraph
from reference.checks.explain.problem import NamedValue, ReadingProblem, text_of
from reference.checks.tolerances import SAME

_MAX_FRONT, _MAX_STEPS = 10, 80


@dataclass(frozen=True)
class ElementwiseStep:
    """An elementwise step a = f(z)."""

    key: tuple[str, ...]
    a: NamedValue
    z: NamedValue
    slope: Array
    """The true ∂a/∂z."""
    unnamed: bool = False
    """Whether z has no name of its own."""
    mask: str = ""
    """The given array that the slope is a multiple of: a dropout's mask."""

    @property
    def function(self) -> str:
        """What f is called, "" where it is none that we know."""
        return function_name(self.z.value, self.a.value)


def chain(graph: NumberGraph, start: int, besides: frozenset[int] = frozenset()) -> list[int]:
    """Return the places that every path back from a place leads through, the nearest first.

    besides: places that are passed over, single numbers such as an exponent's factor.
    """
    front = [-start]
    seen = {start, *besides}
    found = []
    for _ in range(_MAX_STEPS):
        place = -heapq.heappop(front)
        if not graph.edges[place]:
            break
        for parent, _ in graph.edges[place]:
            if parent not in seen:
                seen.add(parent)
                heapq.heappush(front, -parent)
        if len(front) > _MAX_FRONT:
            break
        if len(front) == 1:
            found.append(-front[0])
    return found


def local_slope(graph: NumberGraph, a: int, z: int) -> float:
    """Return ∂a/∂z, where all paths from a lead through z."""
    if a == z:
        return 1.0
    adjoints = {a: 1.0}
    front = [-a]
    while front:
        place = -heapq.heappop(front)
        if place == z:
            break
        for parent, slope in graph.edges[place]:
            if parent not in adjoints:
                adjoints[parent] = 0.0
                heapq.heappush(front, -parent)
            adjoints[parent] += slope * adjoints[place]
    return adjoints.get(z, 0.0)


def pairs_of(problem: ReadingProblem) -> list[ElementwiseStep]:
    """Return the elementwise steps between a problem's named values, and from unnamed ones."""
    if "pairs" not in problem.cache:
        problem.cache["pairs"] = list(_pairs(problem))
    found: list[ElementwiseStep] = problem.cache["pairs"]
    return found


def _pairs(problem: ReadingProblem) -> Iterator[ElementwiseStep]:
    graph = problem.graph
    inputs = set(problem.outcome.inputs)
    single = frozenset(
        int(n.places.flat[0])
        for p, n in problem.named.items()
        if p in inputs and n.places.size == 1
    )
    for a in problem.named.values():
        if a.path in inputs or a.places.size == 0 or a.places.size > 400:
            continue
        flat = a.places.ravel().tolist()
        besides = single if a.places.size > 1 else frozenset()
        chains = [chain(graph, p, besides) if p >= 0 else [] for p in flat]
        if not any(chains) and not _shares(a, problem):
            continue
        near = [
            z
            for z in problem.named.values()
            if z is not a
            and _alike(z, a)
            and _leads(flat, chains, z.places.ravel().tolist(), graph)
        ]
        if near:
            z = max(near, key=lambda n: int(n.places.max()))
            yield _pair(problem, a, z, False)
        elif all(len(c) > 0 for c in chains):
            places = np.array([c[-1] for c in chains], dtype=np.int64).reshape(a.shape)
            value = np.array([graph.values[p] for p in places.ravel()]).reshape(a.shape)
            z = NamedValue((*a.path, "argument"), places, value, f"the argument of {a.text}")
            yield _pair(problem, a, z, True)


def _alike(z: NamedValue, a: NamedValue) -> bool:
    """Whether two values have one shape; the terms of a sum have that of what they are made of."""
    return z.shape == a.shape or (
        a.path[0] in ("terms", "hidden") and z.places.size == a.places.size
    )


def _shares(a: NamedValue, problem: ReadingProblem) -> bool:
    """Whether some entries are another value's own numbers: relu(z) is z above 0."""
    mine = set(a.places.ravel().tolist())
    return any(
        n is not a and n.shape == a.shape and mine & set(n.places.ravel().tolist()) - {-1}
        for n in problem.named.values()
    )


def _leads(flat: list[int], chains: list[list[int]], z: list[int], graph: NumberGraph) -> bool:
    linked = 0
    for a, behind, b in zip(flat, chains, z, strict=True):
        if b < 0:
            return False
        if a == b or b in behind:
            linked += 1
        elif a >= 0 and graph.edges[a]:
            return False
    return linked > 0 and any(a != b for a, b in zip(flat, z, strict=True))


def _pair(problem: ReadingProblem, a: NamedValue, z: NamedValue, unnamed: bool) -> ElementwiseStep:
    graph = problem.graph
    z = replace(z, places=z.places.reshape(a.shape), value=z.value.reshape(a.shape))
    slopes = []
    for p, q in zip(a.places.ravel().tolist(), z.places.ravel().tolist(), strict=True):
        linked = p == q or (p >= 0 and bool(graph.edges[p]))
        slopes.append(local_slope(graph, p, q) if linked else 0.0)
    slope = np.array(slopes).reshape(a.shape)
    return ElementwiseStep(
        ("pair", *a.path, "<-", *z.path), a, z, slope, unnamed, _mask(problem, slope)
    )


def _mask(problem: ReadingProblem, slope: Array) -> str:
    """Return the given array of zeros and other numbers that a slope is a multiple of."""
    if slope.size < 2 or not (slope == 0).any():
        return ""
    given = {**problem.outcome.others, **problem.outcome.values, **problem.outcome.kept}
    for path, value in given.items():
        if path[0] == "before" or np.size(value) != slope.size or is_tracked(value):
            continue
        plain = np.asarray(value).astype(float).reshape(slope.shape)
        if plain.any() and np.isfinite(plain).all() and (plain == 0).any():
            c = float(np.sum(plain * slope)) / float(np.sum(plain * plain))
            if c and np.allclose(c * plain, slope, rtol=SAME, atol=0):
                return text_of(path) if abs(c - 1) < SAME else f"{text_of(path)} · {c:.6g}"
    return ""


def _sigmoid(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * z)))


def function_name(z: Array, a: Array) -> str:
    """Return the name of the f with a = f(z): sigmoid, tanh, relu, exp; "" of another."""
    with np.errstate(all="ignore"):
        known = {
            "sigmoid": _sigmoid(z),
            "tanh": np.tanh(z),
            "relu": np.maximum(z, 0),
            "exp": np.exp(z),
        }
    for name, value in known.items():
        if np.allclose(value, a, rtol=SAME, atol=1e-14):
            return name
    return ""


def slope_text(pair: ElementwiseStep) -> str:
    """Return the formula of the true slope."""
    a = pair.a.text
    match pair.function:
        case "sigmoid":
            return f"{a}·(1 − {a})"
        case "tanh":
            return f"(1 − {a}²)"
        case "relu":
            return f"[{pair.z.text} > 0]"
        case "exp":
            return a
    return f"∂{a}/∂{f'z({a})' if pair.unnamed else pair.z.text}"
