"""Mistakes inside of an elementwise step: a term or a factor of f′ is left out.

    a = f(z):   δz = δa · Σ over the paths from a to z of the products of slopes

The tape holds the inside of f: every number between z and a. One of the products may lack a
factor, one of the paths may be missing, the slope of an inner function may be taken as 1.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.balls import is_tracked
from reference.checks.explain.finding import Support
from reference.checks.explain.graph import Array, Edges, Edit, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.pairs import ElementwiseStep, function_name, pairs_of
from reference.checks.explain.problem import ReadingProblem, text_of
from reference.checks.tolerances import SAME

_MAX_INSIDE = 16
Result = tuple[Words, Support] | None


@dataclass(frozen=True)
class Branch:
    """Entries of a step that are computed in the same way (one side of a `where`)."""

    shape: tuple[tuple[int, ...], ...]
    """For each inner number, its parents by rank; −1 for what is not inside."""
    entries: tuple[int, ...]
    inside: tuple[tuple[int, ...], ...]
    """For each entry the places inside, a first, z last."""


def branches(problem: ReadingProblem, pair: ElementwiseStep) -> list[Branch]:
    """Return a step's entries by the way in which they are computed."""
    key = ("branches", pair.key)
    if key not in problem.cache:
        found: dict[tuple[tuple[int, ...], ...], list[tuple[int, tuple[int, ...]]]] = {}
        places = zip(pair.a.places.ravel().tolist(), pair.z.places.ravel().tolist(), strict=True)
        for i, (a, z) in enumerate(places):
            inside = _inside(problem.graph, a, z)
            if inside is not None:
                found.setdefault(_shape(problem.graph, inside), []).append((i, inside))
        problem.cache[key] = [
            Branch(s, tuple(i for i, _ in v), tuple(p for _, p in v)) for s, v in found.items()
        ]
    made: list[Branch] = problem.cache[key]
    return made


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


def inner_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield hypotheses for the inside of every elementwise step that has one."""
    for pair in pairs_of(problem):
        for branch in branches(problem, pair):
            for r, parents in enumerate(branch.shape):
                if r and len(branch.shape) > 1:
                    yield _hypothesis(problem, pair, branch, r, -1, "inner")
                for k, parent in enumerate(parents):
                    if parent < 0:
                        continue
                    several = sum(p >= 0 for p in parents) > 1
                    if several:
                        yield _hypothesis(problem, pair, branch, r, k, "term")
                        yield _hypothesis(problem, pair, branch, r, k, "sign")
                        yield _hypothesis(problem, pair, branch, r, k, "twice")
                    yield _hypothesis(problem, pair, branch, r, k, "one")
                    if len(branch.shape) <= 10:
                        yield from _by_values(problem, pair, branch, r, k)


def _by_values(
    problem: ReadingProblem, pair: ElementwiseStep, branch: Branch, r: int, k: int
) -> Iterator[Hypothesis]:
    for u in range(len(branch.shape) + 1):
        yield _hypothesis(problem, pair, branch, r, k, f"/{u}")
        yield _hypothesis(problem, pair, branch, r, k, f"*{u}")


def _changed(
    graph: NumberGraph, inside: tuple[int, ...], r: int, k: int, how: str
) -> dict[int, Edges]:
    place = inside[r]
    edges = list(graph.edges[place])
    if how == "inner":
        return {place: [(inside[-1], 1.0)]}
    parent, slope = edges[k]
    match how[0]:
        case "t":
            slope = 0.0 if how == "term" else 2 * slope
        case "s":
            slope = -slope
        case "o":
            slope = 1.0
        case "/":
            u = graph.values[inside[int(how[1:])]]
            slope = slope / u if u else slope
        case "*":
            slope = slope * graph.values[inside[int(how[1:])]]
    edges[k] = (parent, slope)
    return {place: edges}


def _hypothesis(
    problem: ReadingProblem, pair: ElementwiseStep, branch: Branch, r: int, k: int, how: str
) -> Hypothesis:
    key, shape = pair.key, branch.shape

    def edit(other: ReadingProblem) -> Edit | None:
        mine = next((p for p in pairs_of(other) if p.key == key), None)
        same = next((b for b in branches(other, mine) if b.shape == shape), None) if mine else None
        if same is None:
            return None
        edges: dict[int, Edges] = {}
        for inside in same.inside:
            edges |= _changed(other.graph, inside, r, k, how)
        return Edit(edges)

    inside = np.array([problem.graph.values[p[r]] for p in branch.inside])
    parent = (
        np.array([problem.graph.values[p[branch.shape[r][k]]] for p in branch.inside])
        if k >= 0
        else inside
    )
    slopes = (
        np.array([problem.graph.edges[p[r]][k][1] for p in branch.inside]) if k >= 0 else inside
    )
    others = (
        np.array([problem.graph.values[p[int(how[1:])]] for p in branch.inside])
        if how[0] in "/*"
        else inside
    )
    z = np.array([pair.z.value.flat[i] for i in branch.entries])
    facts = _Facts(
        pair,
        how,
        _value_name(z, inside, pair),
        _value_name(z, parent, pair),
        slopes,
        _value_name(z, others, pair),
        _mask_name(problem, pair, branch, slopes) if how == "one" else "",
    )
    cost = {"inner": 1.7, "term": 1.8, "one": 1.85, "sign": 2.3, "twice": 2.3}.get(
        how, 2.4
    ) + 0.01 * r
    if facts.mask:
        cost = 0.9
    return Hypothesis(
        (*key, "inside", str(r), str(k), how, str(len(shape))),
        edit,
        lambda match: _words(facts, match),
        cost,
        int(pair.z.places.max()),
    )


@dataclass(frozen=True)
class _Facts:
    pair: ElementwiseStep
    how: str
    inside: str
    parent: str
    slopes: Array
    other: str
    mask: str


def _masks(problem: ReadingProblem) -> list[tuple[str, Array]]:
    """Return the given arrays that are not on the tape: masks, weights of samples."""
    if "masks" not in problem.cache:
        given = {**problem.outcome.others, **problem.outcome.values, **problem.outcome.kept}
        problem.cache["masks"] = [
            (text_of(p), np.asarray(v).astype(float))
            for p, v in given.items()
            if p[0] != "before" and np.size(v) > 1 and not is_tracked(v)
        ]
    found: list[tuple[str, Array]] = problem.cache["masks"]
    return found


def _mask_name(
    problem: ReadingProblem, pair: ElementwiseStep, branch: Branch, slopes: Array
) -> str:
    """Return the name of the given array whose entries these slopes are: a mask."""
    for name, value in _masks(problem):
        if value.size == pair.a.places.size and np.allclose(
            value.ravel()[list(branch.entries)], slopes, rtol=SAME
        ):
            return name
    return ""


def _value_name(z: Array, u: Array, pair: ElementwiseStep) -> str:
    text = "z" if pair.unnamed else pair.z.text
    if np.array_equal(z, u):
        return text
    name = function_name(z, u)
    if name:
        return f"{name}({text})"
    with np.errstate(all="ignore"):
        if np.allclose(1 + np.exp(-z), u, rtol=SAME):
            return f"1 + exp(−{text})"
        if np.allclose(np.log1p(np.exp(z)), u, rtol=SAME):
            return f"softplus({text})"
        if np.allclose(np.exp(-z), u, rtol=SAME):
            return f"exp(−{text})"
    return "u"


def _words(facts: _Facts, match: Match) -> Words:
    pair, how = facts.pair, facts.how
    z = "z" if pair.unnamed else pair.z.text
    f = f"{pair.a.text} = f({z})"
    claims = listed([c.text for c in match.claims])
    right = f"δ{z} = δ{pair.a.text} · f′({z})"
    constant = facts.slopes.size and np.allclose(facts.slopes, facts.slopes.flat[0], rtol=SAME)
    c = f"{float(facts.slopes.flat[0]):.6g}" if constant else ""
    if facts.mask and how == "one":
        return Words(
            "mask_ignored",
            f"The mask {facts.mask} of {f} is ignored on the way back: dropped units still get a "
            "gradient "
            f"(the factor {facts.mask} is left out).",
            f"δ{z} = δ{pair.a.text} · … without {facts.mask}",
            right,
        )
    if how == "inner":
        return Words(
            "inner_derivative_left_out",
            f"An inner derivative is left out in the slope of {f}: the derivative of the "
            "argument of an "
            f"inner function (of {facts.inside}, by the chain rule) is taken as 1.",
            f"δ{z} = δ{pair.a.text} · (… · 1)",
            right,
        )
    if how == "term":
        return Words(
            "term_left_out",
            f"A term is missing in the slope of {f}: the path through {facts.parent} (a term of "
            "the product or "
            f"sum rule) is left out.",
            f"{claims} without this term",
            right,
        )
    if how == "one":
        what = f"the constant factor {c}" if c else "a factor (an inner derivative)"
        return Words(
            "factor_left_out",
            f"In the slope of {f} {what} is left out, at {facts.parent}.",
            f"{claims} without {c or 'the factor'}",
            right,
        )
    if how in ("sign", "twice"):
        what = (
            "has the wrong sign"
            if how == "sign"
            else "is twice as large as it should be (a constant factor 2 too many)"
        )
        return Words(
            "wrong_sign" if how == "sign" else "constant_factor",
            f"In the slope of {f} the term through {facts.parent} {what}.",
            f"{claims}: {'−' if how == 'sign' else '2 ·'} the term",
            right,
        )
    other = facts.other
    missing = f"1/({other})" if how[0] == "*" else other
    if other.startswith("1 + exp(−") and how[0] == "*":
        missing = f"sigmoid({z})"
    return Words(
        "factor_left_out",
        f"In the slope of {f} the factor {missing} is left out of the term through {facts.parent}.",
        f"{claims} without the factor {missing}",
        right,
    )
