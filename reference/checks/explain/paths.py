"""Mistakes in which paths a gradient takes: one left out, one counted twice, none back in time.

The cotangent of a value is the sum over the values that were made from it directly:

    δv = Σ_u (∂u/∂v)ᵀ δu        u: the next named values, or the loss itself

Each term of this sum is a path that may be missing ("the path through mu is left out").
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.factors import ratio
from reference.checks.explain.graph import Array, Edges, Edit, Hook, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.problem import NamedValue, ReadingProblem, close
from reference.checks.routine import Path

LOSS = ("the loss",)
_MAX_LINKS = 90


@dataclass(frozen=True)
class Link:
    """A direct path between two named values: u was made from v, with nothing named between."""

    v: Path
    u: Path


def pieces(problem: ReadingProblem) -> dict[Path, NamedValue]:
    """Return the named values, those that are made step by step taken apart: S[:, 0], S[:, 1]."""
    if "pieces" not in problem.cache:
        found: dict[Path, NamedValue] = {}
        for path, named in problem.named.items():
            parts = _steps(named, problem.graph)
            found |= parts or {path: named}
        problem.cache["pieces"] = found
    made: dict[Path, NamedValue] = problem.cache["pieces"]
    return made


def _steps(named: NamedValue, graph: NumberGraph) -> dict[Path, NamedValue] | None:
    """Take an array apart along the axis along which its entries are made from each other."""
    if named.places.ndim < 1 or named.places.size < 3 or not _feeds_itself(named, graph):
        return None
    for axis in (named.places.ndim - 1, *range(named.places.ndim - 1)):
        slices = [np.take(named.places, i, axis=axis) for i in range(named.places.shape[axis])]
        tops = [int(s.max()) for s in slices]
        lows = [int(s[s >= 0].min()) if (s >= 0).any() else -1 for s in slices]
        inner = [(t, b) for t, b in zip(tops, lows, strict=True) if b >= 0]
        rising = all(x[0] < y[1] for x, y in itertools.pairwise(inner))
        if len(inner) > 1 and rising:
            return {
                (*named.path, str(i)): _piece(named, axis, i)
                for i in range(len(slices))
                if (slices[i] >= 0).any()
            }
    return None


def _piece(named: NamedValue, axis: int, i: int) -> NamedValue:
    before = ":, " * axis
    return NamedValue(
        (*named.path, str(i)),
        np.take(named.places, i, axis=axis),
        np.take(named.value, i, axis=axis),
        f"{named.text}[{before}{i}]",
    )


def _feeds_itself(named: NamedValue, graph: NumberGraph) -> bool:
    """Whether some entry is made from another entry of the same array."""
    mine = set(named.places.ravel().tolist()) - {-1}
    if len(mine) > 300:
        return False
    top, low = max(mine, default=0), min(mine, default=0)
    seen: set[int] = set()
    stack = [top]
    while stack and len(seen) < 3000:
        for parent, _ in graph.edges[stack.pop()]:
            if parent in mine:
                return True
            if parent > low and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return False


def owners(problem: ReadingProblem) -> dict[int, Path]:
    """Return which named value a place belongs to: the last one that was named."""
    if "owners" not in problem.cache:
        found: dict[int, Path] = {}
        inputs = problem.outcome.inputs
        ordered = sorted(pieces(problem).values(), key=lambda n: n.path[: len(n.path)] in inputs)
        for named in ordered:
            for place in named.places.ravel().tolist():
                if place >= 0 and place not in found:
                    found[place] = named.path
        for named in ordered:
            if named.path in inputs:
                found |= {p: named.path for p in named.places.ravel().tolist() if p >= 0}
        problem.cache["owners"] = found
    made: dict[int, Path] = problem.cache["owners"]
    return made


def links(problem: ReadingProblem) -> list[Link]:
    """Return all direct paths between named values, and from the loss."""
    if "links" in problem.cache:
        known: list[Link] = problem.cache["links"]
        return known
    graph, owner = problem.graph, owners(problem)
    above: list[frozenset[Path]] = [frozenset()] * graph.size
    loss = frozenset([LOSS])
    for place, _ in graph.seeds:
        above[place] = above[place] | loss
    found: dict[Link, None] = {}
    for place in range(graph.size - 1, -1, -1):
        reached = above[place]
        mine = owner.get(place)
        if mine is not None:
            for u in reached:
                if u != mine:
                    found[Link(mine, u)] = None
            reached = frozenset([mine])
        if reached:
            for parent, slope in graph.edges[place]:
                if slope and not reached <= above[parent]:
                    above[parent] = above[parent] | reached
    problem.cache["links"] = list(found)
    return list(found)


def _own(problem: ReadingProblem, path: Path) -> list[int]:
    if path == LOSS:
        return []
    owner = owners(problem)
    named = pieces(problem).get(path)
    if named is None:
        return []
    return sorted({p for p in named.places.ravel().tolist() if p >= 0 and owner.get(p) == path})


def brought(problem: ReadingProblem, v: Path, seeds: dict[int, float]) -> dict[int, float]:
    """Return what cotangents of some places bring to v directly, past no other named value."""
    mine = set(_own(problem, v))
    found = dict.fromkeys(mine, 0.0)
    return _walk(
        problem.graph,
        owners(problem),
        dict(seeds),
        sorted(seeds),
        set(seeds),
        mine,
        found,
        min(mine, default=0),
    )


def top_of(problem: ReadingProblem, v: Path) -> int:
    """Return the last place that belongs to a named value, −1 where there is none."""
    own = _own(problem, v)
    return own[-1] if own else -1


def carried(problem: ReadingProblem, link: Link, adjoints: Sequence[float]) -> dict[int, float]:
    """Return what one direct path brings to the places of v, given the cotangents of u."""
    graph, owner = problem.graph, owners(problem)
    sources = graph.seeds if link.u == LOSS else [(p, adjoints[p]) for p in _own(problem, link.u)]
    mine = set(_own(problem, link.v))
    start = {p for p, _ in sources} if link.u != LOSS else set()
    local: dict[int, float] = {}
    for place, value in sources:
        local[place] = local.get(place, 0.0) + value
    found = dict.fromkeys(mine, 0.0)
    low = min(mine, default=0)
    todo = sorted(local)
    return _walk(graph, owner, local, todo, start, mine, found, low)


def _walk(
    graph: NumberGraph,
    owner: dict[int, Path],
    local: dict[int, float],
    todo: list[int],
    start: set[int],
    mine: set[int],
    found: dict[int, float],
    low: int,
) -> dict[int, float]:
    front = [-p for p in todo]
    heapq.heapify(front)
    while front:
        place = -heapq.heappop(front)
        value = local[place]
        if place in mine and place not in start:
            found[place] = value
            continue
        if (place in owner and place not in start) or place < low:
            continue
        for parent, slope in graph.edges[place]:
            if parent not in local:
                local[parent] = 0.0
                heapq.heappush(front, -parent)
            local[parent] += slope * value
    return found


def scaled_links(problem: ReadingProblem, wanted: Sequence[Link], times: float) -> Edit:
    """Return the sweep in which what some paths carry is multiplied by a number (0: left out)."""
    hooks: dict[int, list[Hook]] = {}
    for link in wanted:
        places = _own(problem, link.v)
        if places:
            hooks.setdefault(places[-1], []).append(_link_hook(problem, link, times))
    return Edit(hooks=hooks)


def _link_hook(problem: ReadingProblem, link: Link, times: float) -> Hook:
    def hook(adjoints: list[float]) -> None:
        for place, value in carried(problem, link, adjoints).items():
            adjoints[place] += (times - 1.0) * value

    return hook


def stopped(places: Sequence[int]) -> Edit:
    """Return the sweep in which nothing flows through some places."""
    edges: dict[int, Edges] = {p: [] for p in places}
    return Edit(edges)


# -- hypotheses --------------------------------------------------------------------------------


def path_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: one value held constant, one path left out, doubled or negated, no path in time."""
    yield from _constants(problem)
    found = links(problem)
    if len(found) <= _MAX_LINKS:
        for link in found:
            yield _of_link(problem, link, 0.0)


def _constants(problem: ReadingProblem) -> Iterator[Hypothesis]:
    inputs = problem.outcome.inputs
    inner = [n for p, n in pieces(problem).items() if p not in inputs]
    for named in inner:
        yield _held([named.path], problem)
    small = [n for n in inner if n.places.size < max((m.places.size for m in inner), default=0)]
    for i, one in enumerate(small):
        for other in small[i + 1 :]:
            if len(small) <= 8 and one.shape == other.shape:
                yield _held([one.path, other.path], problem)


def _held(chosen: list[Path], problem: ReadingProblem) -> Hypothesis:
    named = [pieces(problem)[p] for p in chosen]
    texts = [n.text for n in named]

    def edit(other: ReadingProblem) -> Edit | None:
        known = pieces(other)
        if any(p not in known for p in chosen):
            return None
        return stopped([i for p in chosen for i in known[p].places.ravel().tolist() if i >= 0])

    def words(match: Match) -> Words:
        through = listed(texts)
        claims = listed([c.text for c in match.claims])
        kind = (
            " (the statistics depend on x, too: mean and variance)"
            if _statistics(named, problem)
            else ""
        )
        return Words(
            "path_left_out",
            f"{through} {'are' if len(texts) > 1 else 'is'} held constant: {claims} "
            f"lacks the path (the term) through {through}{kind}.",
            f"{claims} without δ{texts[0]}",
            f"{claims} + the term through {through}",
        )

    return Hypothesis(
        ("held", *(".".join(p) for p in chosen)),
        edit,
        words,
        1.2 + 0.2 * len(chosen),
        max(int(n.places.max()) for n in named),
    )


def _statistics(named: Sequence[NamedValue], problem: ReadingProblem) -> bool:
    sizes = [n.places.size for n in pieces(problem).values()]
    return all(n.places.size < max(sizes) and n.places.ndim for n in named)


def _of_link(problem: ReadingProblem, link: Link, times: float) -> Hypothesis:
    v = pieces(problem)[link.v].text
    u = "the loss" if link.u == LOSS else pieces(problem)[link.u].text

    def edit(other: ReadingProblem) -> Edit | None:
        return scaled_links(other, [link], times) if link in links(other) else None

    def words(match: Match) -> Words:
        return _link_words(v, u, f"{times:g}", match)

    own = _own(problem, link.v)
    return Hypothesis(
        ("link", *link.v, "<-", *link.u, str(times)),
        edit,
        words,
        1.4 if times == 0 else 1.8,
        own[-1] if own else 0,
    )


def _link_words(v: str, u: str, text: str, match: Match) -> Words:
    claims = listed([c.text for c in match.claims])
    where = f" (in {claims} alone)" if match.alone else ""
    right = f"δ{v} = … + δ{u}·∂{u}/∂{v}"
    if text == "0":
        return Words(
            "path_left_out",
            f"The path from {v} to {u} is left out: δ{v} lacks the term that comes back from "
            f"{u}{where}.",
            f"δ{v} = … + 0",
            right,
        )
    if text == "2":
        return Words(
            "path_twice",
            f"The path from {v} to {u} is counted twice (the term from {u} has a factor 2 too "
            f"many){where}.",
            f"δ{v} = … + 2·δ{u}·∂{u}/∂{v}",
            right,
        )
    if text == "−1":
        return Words(
            "path_sign",
            f"The term that comes back from {u} to {v} has the wrong sign{where}.",
            f"δ{v} = … − δ{u}·∂{u}/∂{v}",
            right,
        )
    return Words(
        "path_factor",
        f"The term that comes back from {u} to {v} is {text} times as large as it should be: a "
        "constant factor "
        f"in it is wrong{_kind_of_factor(text)}{where}.",
        f"δ{v} = … + {text}·δ{u}·∂{u}/∂{v}",
        right,
    )


def _kind_of_factor(text: str) -> str:
    if " − 1" in text:
        return (
            " (N where N − 1 stands in an unbiased variance or standard deviation, or the reverse)"
        )
    return (
        " (a count: it is added once for each class where it belongs once, or divided by it)"
        if "shape" in text
        else ""
    )


def fitted_links(problem: ReadingProblem) -> list[Link]:
    """Return the paths whose term may be fitted."""
    found = links(problem)
    return found if len(found) <= _MAX_LINKS else []


def times_of(got: Array, now: Array, without: Array) -> float | None:
    """Return the t with got = without + t · (now − without), or None."""
    return ratio(got - without, now - without) if not close(now, without) else None


def multiplied(
    problem: ReadingProblem, link: Link, text: str, values: list[tuple[ReadingProblem, float]]
) -> Hypothesis:
    """Return the hypothesis that a path's term is a multiple of what it should be."""
    v = pieces(problem)[link.v].text
    u = "the loss" if link.u == LOSS else pieces(problem)[link.u].text
    known = {id(p): t for p, t in values}

    def edit(other: ReadingProblem) -> Edit | None:
        times = known.get(id(other))
        return (
            None
            if times is None or link not in links(other)
            else scaled_links(other, [link], times)
        )

    own = _own(problem, link.v)
    return Hypothesis(
        ("link", *link.v, "<-", *link.u, text),
        edit,
        lambda match: _link_words(v, u, text, match),
        1.8,
        own[-1] if own else 0,
    )
