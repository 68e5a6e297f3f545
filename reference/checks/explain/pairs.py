"""Finds the elementwise steps of a forward: a = f(z), entry by entry, by what the tape says.

An entry of `a` has `z` behind it when every path back from it leads through that one number
(a dominator). So pre-activations are found that have no name: sigmoid(W @ x + b).
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from reference.balls import is_tracked
from reference.checks.code import Path
from reference.checks.explain.graph import Array, NumberGraph
from reference.checks.explain.problem import NamedValue, ReadingProblem, once, text_of
from reference.checks.tolerances import SAME

_MAX_FRONT, _MAX_STEPS, _MAX_ENTRIES = 10, 80, 400


@dataclass(frozen=True)
class ElementwiseStep:
    """An elementwise step a = f(z)."""

    key: Path
    a: NamedValue
    z: NamedValue
    slope: Array
    """The true ∂a/∂z."""
    unnamed: bool = False
    """Whether z has no name of its own."""
    mask: str = ""
    """The given array that the slope is a multiple of: a dropout's mask."""

    @property
    def argument(self) -> str:
        """How its argument is written in a formula."""
        return "z" if self.unnamed else self.z.text

    @property
    def function(self) -> str:
        """What f is called, "" where it is none that we know."""
        return function_name(self.z.value, self.a.value)

    @property
    def scales(self) -> bool:
        """Whether it multiplies every entry by one number, as Q Kᵀ/√d does."""
        sizes = np.abs(self.slope)
        return not self.mask and sizes.size > 1 and bool(np.ptp(self.slope) <= SAME * sizes.max())


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
        if not front or len(front) > _MAX_FRONT:
            break
        if len(front) == 1:
            found.append(-front[0])
    return found


@once
def pairs_of(problem: ReadingProblem) -> list[ElementwiseStep]:
    """Return the elementwise steps between a problem's named values, and from unnamed ones."""
    inputs = problem.outcome.inputs
    single = frozenset(
        n.top for p, n in problem.named.items() if p in inputs and n.places.size == 1
    )
    some = [n for n in problem.named.values() if n.path not in inputs]
    found = (_pair_of(problem, a, single) for a in some if 0 < a.places.size <= _MAX_ENTRIES)
    return [pair for pair in found if pair is not None]


def _pair_of(
    problem: ReadingProblem, a: NamedValue, single: frozenset[int]
) -> ElementwiseStep | None:
    graph = problem.graph
    besides = single if a.places.size > 1 else frozenset()
    chains = [chain(graph, p, besides) if p >= 0 else [] for p in a.flat]
    if not any(chains) and not _shares(a, problem):
        return None
    others = (z for z in problem.named.values() if z is not a and _alike(z, a))
    near = [z for z in others if _leads(a.flat, chains, z.flat, graph)]
    if near:
        return _pair(problem, a, max(near, key=lambda n: n.top), False)
    if not all(chains):
        return None
    places = np.array([c[-1] for c in chains], dtype=np.int64).reshape(a.shape)
    value = np.array([graph.values[c[-1]] for c in chains]).reshape(a.shape)
    z = NamedValue((*a.path, "argument"), places, value, f"the argument of {a.text}")
    return _pair(problem, a, z, True)


def _alike(z: NamedValue, a: NamedValue) -> bool:
    """Whether two values have one shape; the terms of a sum have that of what they are made of."""
    return z.shape == a.shape or (
        a.path[0] in ("terms", "hidden") and z.places.size == a.places.size
    )


def _shares(a: NamedValue, problem: ReadingProblem) -> bool:
    """Whether some entries are another value's own numbers: relu(z) is z above 0."""
    others = (n for n in problem.named.values() if n is not a and n.shape == a.shape)
    return any(set(a.known) & set(n.known) for n in others)


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
    for p, q in zip(a.flat, z.flat, strict=True):
        linked = p >= 0 and bool(graph.edges[p])
        slopes.append(1.0 if p == q else graph.slope(p, q) if linked else 0.0)
    slope = np.array(slopes).reshape(a.shape)
    key = ("pair", *a.path, "<-", *z.path)
    return ElementwiseStep(key, a, z, slope, unnamed, _mask(problem, slope))


@once
def given_arrays(problem: ReadingProblem) -> list[tuple[str, Array]]:
    """Return the given arrays that are not on the tape: masks, weights of samples."""
    given = {**problem.outcome.others, **problem.outcome.values, **problem.outcome.kept}
    return [
        (text_of(p), np.asarray(v).astype(float))
        for p, v in given.items()
        if np.size(v) > 1 and not is_tracked(v)
    ]


def _mask(problem: ReadingProblem, slope: Array) -> str:
    """Return the given array of zeros and other numbers that a slope is a multiple of."""
    if slope.size < 2 or not (slope == 0).any():
        return ""
    for name, value in given_arrays(problem):
        if value.size != slope.size:
            continue
        plain = value.reshape(slope.shape)
        if plain.any() and np.isfinite(plain).all() and (plain == 0).any():
            c = float(np.sum(plain * slope)) / float(np.sum(plain * plain))
            if c and np.allclose(c * plain, slope, rtol=SAME, atol=0):
                return name if abs(c - 1) < SAME else f"{name} · {c:.6g}"
    return ""


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda z: np.asarray(0.5 * (1 + np.tanh(0.5 * z))),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "exp": np.exp,
}


def function_name(z: Array, a: Array) -> str:
    """Return the name of the f with a = f(z): sigmoid, tanh, relu, exp; "" of another."""
    with np.errstate(all="ignore"):
        for name, function in _FUNCTIONS.items():
            if np.allclose(function(z), a, rtol=SAME, atol=1e-14):
                return name
    return ""


def slope_text(pair: ElementwiseStep) -> str:
    """Return the formula of the true slope."""
    a = pair.a.text
    known = {"sigmoid": f"{a}·(1 − {a})", "tanh": f"(1 − {a}²)", "relu": f"[{pair.z.text} > 0]",
             "exp": a}  # fmt: skip
    return known.get(pair.function) or f"∂{a}/∂{f'z({a})' if pair.unnamed else pair.z.text}"
