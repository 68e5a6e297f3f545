"""Mistakes inside of an elementwise step: a term or a factor of f′ is left out.

    a = f(z):   δz = δa · Σ over the paths from a to z of the products of slopes

The tape holds the inside of f: every number between z and a. One of the products may lack a
factor, one of the paths may be missing, the slope of an inner function may be taken as 1.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Array, Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Match, Words
from reference.checks.explain.pairs import ElementwiseStep, function_name, given_arrays, pairs_of
from reference.checks.explain.problem import ReadingProblem, once
from reference.checks.tolerances import DIGITS, SAME

_MAX_INSIDE, _MAX_FOR_VALUES = 40, 10


@dataclass(frozen=True)
class Branch:
    """Entries of a step that are computed in the same way (one side of a `where`)."""

    shape: tuple[tuple[int, ...], ...]
    """For each inner number, its parents by rank; −1 for what is not inside."""
    entries: tuple[int, ...]
    inside: tuple[tuple[int, ...], ...]
    """For each entry the places inside, a first, z last."""

    def values(self, graph: NumberGraph, rank: int) -> Array:
        """Return the inner numbers of a rank, one for each entry."""
        return np.array([graph.values[places[rank]] for places in self.inside])


@once
def branches(problem: ReadingProblem) -> dict[Path, list[Branch]]:
    """Return the entries of each step (by its key), by the way in which they are computed."""
    return {pair.key: _branches(problem.graph, pair) for pair in pairs_of(problem)}


def _branches(graph: NumberGraph, pair: ElementwiseStep) -> list[Branch]:
    found: dict[tuple[tuple[int, ...], ...], list[tuple[int, tuple[int, ...]]]] = {}
    for i, (a, z) in enumerate(zip(pair.a.flat, pair.z.flat, strict=True)):
        inside = _inside(graph, a, z)
        if inside is not None:
            found.setdefault(_shape(graph, inside), []).append((i, inside))
    return [Branch(s, tuple(i for i, _ in v), tuple(p for _, p in v)) for s, v in found.items()]


def _inside(graph: NumberGraph, a: int, z: int) -> tuple[int, ...] | None:
    if a < 0 or a == z or not graph.edges[a]:
        return None
    seen, front = {a}, [-a]
    found = []
    while front:
        place = -heapq.heappop(front)
        found.append(place)
        if place == z:
            break
        if len(found) > _MAX_INSIDE:
            return None
        for parent, _ in graph.edges[place]:
            if parent >= z and parent not in seen:
                seen.add(parent)
                heapq.heappush(front, -parent)
    return tuple(found)


def _shape(graph: NumberGraph, inside: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    rank = {p: r for r, p in enumerate(inside)}
    return tuple(tuple(rank.get(parent, -1) for parent, _ in graph.edges[p]) for p in inside[:-1])


# -- what may be wrong in it -------------------------------------------------------------------

_COSTS = {"inner": 1.7, "term": 1.8, "one": 1.85, "ratio": 2.0, "sign": 2.3, "twice": 2.3,
          "/": 2.4, "*": 2.4}  # fmt: skip
"""The changes of an inner number: its argument's derivative taken as 1; of one of its edges: left
out, taken as 1, turned, doubled, divided by an inner number or multiplied with one; of a ratio: its
denominator is not squared."""


@dataclass(frozen=True)
class _Change:
    """What is changed: which inner number, which of its edges, how, with which inner number."""

    rank: int
    edge: int
    how: str
    other: int = 0

    def edges(self, graph: NumberGraph, inside: tuple[int, ...]) -> dict[int, Edges]:
        """Return what an entry's inner number sends on."""
        place = inside[self.rank]
        if self.how == "inner":
            return {place: [(inside[-1], 1.0)]}
        edges = list(graph.edges[place])
        if self.how == "ratio":
            v = graph.values[edges[1][0]]
            return {place: [(parent, slope * v) for parent, slope in edges]}
        parent, slope = edges[self.edge]
        u = graph.values[inside[self.other]]
        changed = {"term": 0.0, "twice": 2 * slope, "sign": -slope, "one": 1.0, "*": slope * u,
                   "/": slope / u if u else slope}  # fmt: skip
        edges[self.edge] = (parent, changed[self.how])
        return {place: edges}


def inner_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield hypotheses for the inside of every elementwise step that has one."""
    for pair in pairs_of(problem):
        for branch in branches(problem)[pair.key]:
            for change in _changes(problem.graph, branch):
                yield _hypothesis(problem, pair, branch, change)


def _changes(graph: NumberGraph, branch: Branch) -> Iterator[_Change]:
    depth = len(branch.shape)
    for r, parents in enumerate(branch.shape):
        if r and depth > 1:
            yield _Change(r, -1, "inner")
        if all(_is_ratio(graph, places[r]) for places in branch.inside):
            yield _Change(r, 0, "ratio")
        several = sum(p >= 0 for p in parents) > 1
        for k, parent in enumerate(parents):
            if parent >= 0:
                for how in ("term", "sign", "twice", "one") if several else ("one",):
                    yield _Change(r, k, how)
                for u in range(depth + 1 if depth <= _MAX_FOR_VALUES else 0):
                    yield _Change(r, k, "/", u)
                    yield _Change(r, k, "*", u)


def _is_ratio(graph: NumberGraph, place: int) -> bool:
    """Whether a number is u/v, by its slopes 1/v and −u/v²."""
    if len(graph.edges[place]) != 2:
        return False
    (above, slope), (below, _) = graph.edges[place]
    u, v = graph.values[above], graph.values[below]
    return abs(slope * v - 1) < DIGITS and abs(graph.values[place] * v - u) <= DIGITS * abs(u)


def _hypothesis(
    problem: ReadingProblem, pair: ElementwiseStep, branch: Branch, change: _Change
) -> Hypothesis:
    def edit(other: ReadingProblem) -> Edit | None:
        known = branches(other).get(pair.key, [])
        same = next((b for b in known if b.shape == branch.shape), None)
        if same is None:
            return None
        edges: dict[int, Edges] = {}
        for inside in same.inside:
            edges |= change.edges(other.graph, inside)
        return Edit(edges)

    r, k = change.rank, change.edge
    slopes = np.array([problem.graph.edges[p[r]][max(k, 0)][1] for p in branch.inside])
    mask = _mask_name(problem, pair, branch, slopes) if change.how == "one" else ""

    def words(match: Match) -> Words:
        at = r if change.how == "inner" else branch.shape[r][k]
        values = (branch.values(problem.graph, rank) for rank in (at, change.other))
        here, other = (_value_name(pair, branch, u) for u in values)
        return _words(pair, change.how, (here, other), mask, slopes).of(match)

    cost = 0.9 if mask else _COSTS[change.how] + 0.01 * r
    return Hypothesis(edit, words, cost, pair.z.top)


def _mask_name(
    problem: ReadingProblem, pair: ElementwiseStep, branch: Branch, slopes: Array
) -> str:
    """Return the name of the given array whose entries these slopes are: a mask."""
    for name, value in given_arrays(problem):
        if value.size == pair.a.places.size:
            if np.allclose(value.ravel()[list(branch.entries)], slopes, rtol=SAME):
                return name
    return ""


def _value_name(pair: ElementwiseStep, branch: Branch, u: Array) -> str:
    z, text = pair.z.value.ravel()[list(branch.entries)], pair.argument
    if np.array_equal(z, u):
        return text
    name = function_name(z, u)
    if name:
        return f"{name}({text})"
    with np.errstate(all="ignore"):
        known = {
            f"1 + exp(−{text})": 1 + np.exp(-z),
            f"softplus({text})": np.log1p(np.exp(z)),
            f"exp(−{text})": np.exp(-z),
        }
        return next((n for n, v in known.items() if np.allclose(v, u, rtol=SAME)), "u")


def _words(
    pair: ElementwiseStep, how: str, names: tuple[str, str], mask: str, slopes: Array
) -> Words:
    a, z, (at, other) = pair.a.text, pair.argument, names
    f, right = f"{a} = f({z})", f"δ{z} = δ{a} · f′({z})"
    if mask:
        return Words(
            "mask_ignored",
            f"The mask {mask} of {f} is ignored on the way back: dropped units still get a "
            f"gradient (the factor {mask} is left out).",
            f"δ{z} = δ{a} · … without {mask}", right,
        )  # fmt: skip
    if how == "one":
        constant = slopes.size and np.allclose(slopes, slopes.flat[0], rtol=SAME)
        c = f"{float(slopes.flat[0]):.6g}" if constant else ""
        what = f"the constant factor {c}" if c else "a factor (an inner derivative)"
        return Words(
            "factor_left_out",
            f"In the slope of {f} {what} is left out, at {at}.",
            f"{CLAIMS} without {c or 'the factor'}", right,
        )  # fmt: skip
    missing = f"1/({other})" if how == "*" else other
    if other.startswith("1 + exp(−") and how == "*":
        missing = f"sigmoid({z})"
    parts = {"f": f, "at": at, "missing": missing, "δz": f"δ{z}", "δa": f"δ{a}", "claims": CLAIMS}
    name, text, yours = _WORDS[how]
    return Words(name, text.format(**parts), yours.format(**parts), right)


_FACTOR = (
    "factor_left_out",
    "In the slope of {f} the factor {missing} is left out of the term through {at}.",
    "{claims} without the factor {missing}",
)
_WORDS = {
    "inner": (
        "inner_derivative_left_out",
        "An inner derivative is left out in the slope of {f}: the derivative of the argument of "
        "an inner function (of {at}, by the chain rule) is taken as 1.",
        "{δz} = {δa} · (… · 1)",
    ),
    "term": (
        "term_left_out",
        "A term is missing in the slope of {f}: the path through {at} (a term of the product or "
        "sum rule) is left out.",
        "{claims} without this term",
    ),
    "sign": (
        "wrong_sign",
        "In the slope of {f} the term through {at} has the wrong sign.",
        "{claims}: − the term",
    ),
    "twice": (
        "constant_factor",
        "In the slope of {f} the term through {at} is twice as large as it should be (a constant "
        "factor 2 too many).",
        "{claims}: 2 · the term",
    ),
    "ratio": (
        "denominator_square_left_out",
        "In the slope of {f} the denominator is not squared: (u/v)′ = (u′v − uv′)/v².",
        "(u′v − uv′)/v",
    ),
    "/": _FACTOR,
    "*": _FACTOR,
}
"""By the change: the name, the sentence, and what it makes."""
