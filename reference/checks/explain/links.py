"""The named values of a forward taken apart by steps, and the direct paths between them.

The cotangent of a value is the sum over the values that were made from it directly:

    δv = Σ_u (∂u/∂v)ᵀ δu        u: the next named values, or the loss itself
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Edit, Hook, NumberGraph
from reference.checks.explain.problem import NamedValue, ReadingProblem, once

LOSS = ("the loss",)
_MAX_ENTRIES, _MAX_SEEN = 300, 3_000
_MAX_LINKS = 90


@dataclass(frozen=True)
class Link:
    """A direct path between two named values: u was made from v, with nothing named between."""

    v: Path
    u: Path


@once
def pieces(problem: ReadingProblem) -> dict[Path, NamedValue]:
    """Return the named values, those that are made step by step taken apart: S[:, 0], S[:, 1]."""
    found: dict[Path, NamedValue] = {}
    for path, named in problem.named.items():
        found |= _steps(named, problem.graph) or {path: named}
    return found


def at_piece(
    path: Path, change: Callable[[ReadingProblem, NamedValue], Edit | None]
) -> Callable[[ReadingProblem], Edit | None]:
    """Return the edit that changes something at a named value; None where a problem has none."""

    def edit(problem: ReadingProblem) -> Edit | None:
        named = pieces(problem).get(path)
        return None if named is None else change(problem, named)

    return edit


def _steps(named: NamedValue, graph: NumberGraph) -> dict[Path, NamedValue] | None:
    """Take an array apart along the axis along which its entries are made from each other."""
    if named.places.ndim < 1 or named.places.size < 3 or not _feeds_itself(named, graph):
        return None
    for axis in (named.places.ndim - 1, *range(named.places.ndim - 1)):
        slices = [np.take(named.places, i, axis=axis) for i in range(named.shape[axis])]
        inner = [(int(s.max()), int(s[s >= 0].min())) for s in slices if (s >= 0).any()]
        if len(inner) > 1 and all(x[0] < y[1] for x, y in itertools.pairwise(inner)):
            known = (i for i, s in enumerate(slices) if (s >= 0).any())
            return {(*named.path, str(i)): _piece(named, axis, i) for i in known}
    return None


def _piece(named: NamedValue, axis: int, i: int) -> NamedValue:
    places, value = (np.take(x, i, axis=axis) for x in (named.places, named.value))
    return NamedValue((*named.path, str(i)), places, value, f"{named.text}[{':, ' * axis}{i}]")


def _feeds_itself(named: NamedValue, graph: NumberGraph) -> bool:
    """Whether some entry is made from another entry of the same array."""
    mine = set(named.known)
    if not mine or len(mine) > _MAX_ENTRIES:
        return False
    behind = itertools.islice(graph.behind(max(mine), min(mine)), _MAX_SEEN)
    return any(place in mine for place in behind)


@once
def families(problem: ReadingProblem) -> dict[Path, list[Path]]:
    """Return the values of one list by their number: ("h", "*") -> h[0], h[1]."""
    found: dict[Path, dict[int, Path]] = {}
    for path in pieces(problem):
        for k, part in enumerate(path):
            if part.lstrip("-").isdigit():
                key = (*path[:k], "*", *path[k + 1 :])
                found.setdefault(key, {})[int(part)] = path
    return {k: [v[i] for i in sorted(v)] for k, v in found.items() if len(v) > 1}


def head_of(problem: ReadingProblem, key: Path) -> str:
    """Return what a list of values is called: h."""
    return pieces(problem)[families(problem)[key][0]].head


@once
def owners(problem: ReadingProblem) -> dict[int, Path]:
    """Return which named value a place belongs to: an input, else the first that was named."""
    found: dict[int, Path] = {}
    inputs = problem.outcome.inputs
    for named in sorted(pieces(problem).values(), key=lambda n: n.path not in inputs):
        taken = {} if named.path in inputs else found
        found |= {p: named.path for p in named.known if p not in taken}
    return found


_MAX_UP = 400


@once
def _made_places(problem: ReadingProblem) -> dict[int, tuple[Path, int]]:
    """Return of which named value that is no input a place is an entry, and its flat index."""
    found: dict[int, tuple[Path, int]] = {}
    for path, named in pieces(problem).items():
        if path not in problem.outcome.inputs:
            found |= {p: (path, i) for i, p in enumerate(named.flat) if p >= 0}
    return found


def result_of(problem: ReadingProblem, place: int) -> tuple[Path, int] | None:
    """Return the last named value on the only way up from a place, and the flat index in it."""
    graph, where, found = problem.graph, _made_places(problem), None
    for _ in range(_MAX_UP):
        found = where.get(place, found)
        following = graph.uses[place]
        if len(following) != 1 or (found is not None and len(graph.edges[following[0]]) > 1):
            break
        place = following[0]
    return found


@once
def links(problem: ReadingProblem) -> list[Link]:
    """Return all direct paths between named values, and from the loss."""
    graph, owner = problem.graph, owners(problem)
    above: list[frozenset[Path]] = [frozenset()] * graph.size
    for place, _ in graph.seeds:
        above[place] |= {LOSS}
    found: dict[Link, None] = {}
    for place in range(graph.size - 1, -1, -1):
        reached = above[place]
        mine = owner.get(place)
        if mine is not None:
            found |= dict.fromkeys(Link(mine, u) for u in reached if u != mine)
            reached = frozenset([mine])
        if reached:
            for parent, slope in graph.edges[place]:
                if slope and not reached <= above[parent]:
                    above[parent] |= reached
    return list(found)


def few_links(problem: ReadingProblem) -> list[Link]:
    """Return the direct paths, none where there are too many to try each."""
    found = links(problem)
    return found if len(found) <= _MAX_LINKS else []


def own_places(problem: ReadingProblem, path: Path) -> list[int]:
    """Return the places that belong to a named value, in their order on the tape."""
    named, owner = pieces(problem).get(path), owners(problem)
    return sorted({p for p in named.known if owner.get(p) == path}) if named is not None else []


def brought(
    problem: ReadingProblem,
    v: Path,
    seeds: Mapping[int, float],
    start: frozenset[int] | None = None,
) -> dict[int, float]:
    """Return what cotangents of some places bring to v directly, past no other named value.

    start: the places that send on though they belong to a value; None: those of the seeds.
    """
    owner, mine = owners(problem), own_places(problem, v)
    first = frozenset(seeds) if start is None else start
    made = problem.graph.carried(
        seeds, lambda p: p in owner and p not in first, min(mine, default=0)
    )
    return {p: 0.0 if p in first else made.get(p, 0.0) for p in mine}


def _carried(problem: ReadingProblem, link: Link, adjoints: Sequence[float]) -> dict[int, float]:
    """Return what one direct path brings to the places of v, given the cotangents of u."""
    if link.u != LOSS:
        seeds = {p: adjoints[p] for p in own_places(problem, link.u)}
        return brought(problem, link.v, seeds)
    total: dict[int, float] = {}
    for place, value in problem.graph.seeds:
        total[place] = total.get(place, 0.0) + value
    return brought(problem, link.v, total, frozenset())


def scaled_links(problem: ReadingProblem, wanted: Sequence[Link], times: float) -> Edit:
    """Return the sweep in which what some paths carry is multiplied by a number (0: left out)."""
    hooks: dict[int, list[Hook]] = {}
    for link in wanted:
        places = own_places(problem, link.v)
        if places:
            hooks.setdefault(places[-1], []).append(_link_hook(problem, link, times))
    return Edit(hooks=hooks)


def _link_hook(problem: ReadingProblem, link: Link, times: float) -> Hook:
    def hook(adjoints: list[float]) -> None:
        for place, value in _carried(problem, link, adjoints).items():
            adjoints[place] += (times - 1.0) * value

    return hook


def stopped(problem: ReadingProblem, paths: Sequence[Path]) -> Edit | None:
    """Return the sweep in which nothing flows through some values, None where one is not there."""
    known = pieces(problem)
    if not paths or any(p not in known for p in paths):
        return None
    return Edit({place: [] for p in paths for place in known[p].known})
