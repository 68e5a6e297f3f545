"""Mistakes in how the uses of a value are added up: overwritten, moved, in another order.

dW = Σ over all uses        = in place of += keeps the last one (or the first)
dx[s·i + k] += w[k] · δ[i]  a stride or a padding that is ignored moves the windows
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from reference.checks.explain.graph import Edges, Edit, Hook, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.paths import links, pieces, scaled_links
from reference.checks.explain.problem import ReadingProblem
from reference.checks.explain.steps import families
from reference.checks.routine import Path


def use_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: one use of several is kept, one step of several, other windows, another order."""
    for path, named in pieces(problem).items():
        if named.places.size <= 400:
            for last in (True, False):
                yield _overwritten(path, named.text, last, int(named.places.max()))
            yield _counted_once(path, named.text, int(named.places.max()))
            yield from _by_use(problem, path)
    yield from _steps_kept(problem)
    for path, named in pieces(problem).items():
        if len(named.shape) >= 3 and path not in problem.outcome.inputs:
            for axes in _swaps(len(named.shape)):
                yield _reordered(path, named.text, axes, int(named.places.max()))


# -- = in place of += ------------------------------------------------------------------------------


def _overwritten(path: Path, text: str, last: bool, depth: int) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        named = pieces(problem).get(path)
        if named is None:
            return None
        return _one_use(problem, [p for p in named.places.ravel().tolist() if p >= 0], last)

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        which = "last" if last else "first"
        return Words(
            "overwritten",
            f"{text} is used several times, and only its {which} use counts in {claims}: = is "
            "used instead of += (the gradient is overwritten; repeated uses have to be added up: "
            "np.add.at for an index that occurs twice, windows that overlap, each class that "
            "violates a margin).",
            f"δ{text} = the {which} term",
            f"δ{text} = Σ over its uses",
        )

    return Hypothesis(("one use", *path, str(last)), edit, words, 1.9 + 0.05 * (not last), depth)


def _one_use(problem: ReadingProblem, places: list[int], last: bool) -> Edit | None:
    graph = problem.graph
    wanted = set(places)
    hooks: dict[int, list[Hook]] = {}
    counts: dict[int, list[float]] = {}
    for place, value in graph.seeds:
        if place in wanted and value:
            counts.setdefault(place, []).append(value)
    for place in wanted:
        children = sorted(
            {c for c in graph.uses[place] if any(p == place and s for p, s in graph.edges[c])}
        )
        if len(children) + len(counts.get(place, [])) >= 2:
            hooks[place] = [_keep_one(graph, place, children, counts.get(place, []), last)]
    return Edit(hooks=hooks) if hooks else None


def _keep_one(
    graph: NumberGraph, place: int, children: list[int], seeds: list[float], last: bool
) -> Hook:
    def hook(adjoints: list[float]) -> None:
        terms = [sum(s for p, s in graph.edges[c] if p == place) * adjoints[c] for c in children]
        terms = [t for t in (*terms, *seeds) if t]
        if terms:
            adjoints[place] = terms[-1] if last else terms[0]

    return hook


_TIMES = (
    ("0", "is left out"),
    ("2", "is counted twice"),
    ("−1", "has the wrong sign"),
    ("½", "lacks a factor 2"),
    ("v", "has a factor {v} too many (an exponent is wrong, a power of {v})"),
    ("1/v", "lacks a factor {v} (an exponent is wrong, a power of {v})"),
)


def _by_use(problem: ReadingProblem, path: Path) -> Iterator[Hypothesis]:
    """Yield for a value that every entry uses equally often: one of the terms is wrong."""
    ranks = _ranks(problem, path)
    if ranks is None or not 2 <= ranks <= 5:
        return
    for rank in range(ranks):
        for times, text in _TIMES:
            yield _of_use(problem, path, rank, times, text)


def _ranks(problem: ReadingProblem, path: Path) -> int | None:
    named = pieces(problem).get(path)
    if named is None:
        return None
    counts = {len(set(problem.graph.uses[p])) for p in named.places.ravel().tolist() if p >= 0}
    return counts.pop() if len(counts) == 1 else None


def _of_use(problem: ReadingProblem, path: Path, rank: int, times: str, text: str) -> Hypothesis:
    named = pieces(problem)[path]

    def edit(other: ReadingProblem) -> Edit | None:
        mine = pieces(other).get(path)
        if mine is None or (_ranks(other, path) or 0) <= rank:
            return None
        graph = other.graph
        edges: dict[int, Edges] = {}
        for place, value in zip(
            mine.places.ravel().tolist(), mine.value.ravel().tolist(), strict=True
        ):
            if place < 0 or (times == "1/v" and not value):
                continue
            child = sorted(set(graph.uses[place]))[rank]
            factor = {
                "0": 0.0,
                "2": 2.0,
                "−1": -1.0,
                "½": 0.5,
                "v": value,
                "1/v": 1 / (value or 1.0),
            }[times]
            now = edges.get(child, graph.edges[child])
            edges[child] = [(p, factor * s if p == place else s) for p, s in now]
        return Edit(edges)

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        name = {
            "0": "term_left_out",
            "−1": "wrong_sign",
            "v": "wrong_power",
            "1/v": "wrong_power",
        }.get(times, "constant_factor")
        which = ("first", "second", "third", "fourth", "fifth")[rank]
        return Words(
            name,
            f"One term of {claims} {text.format(v=named.text)}: {named.text} is used several "
            f"times, and the term of its {which} "
            f"use is not right.",
            f"δ{named.text} = … + {times} · term",
            f"δ{named.text} = … + term",
        )

    return Hypothesis(("use", *path, str(rank), times), edit, words, 2.0, int(named.places.max()))


def _counted_once(path: Path, text: str, depth: int) -> Hypothesis:
    """Return the hypothesis that what is used once for each of several classes counts once."""

    def edit(problem: ReadingProblem) -> Edit | None:
        named = pieces(problem).get(path)
        if named is None:
            return None
        graph = problem.graph
        mine = [p for p in named.places.ravel().tolist() if p >= 0]
        uses = {
            p: {c for c in graph.uses[p] if any(q == p and s for q, s in graph.edges[c])}
            for p in mine
        }
        several = [p for p in mine if len(uses[p]) > 1]
        if not several or len(several) == len(mine):
            return None

        def hook(adjoints: list[float]) -> None:
            unit = max((abs(adjoints[p]) for p in mine if p not in several), default=0.0)
            sign = np.sign(sum(adjoints[p] for p in several))
            for place in several:
                adjoints[place] = float(sign * unit)

        hooks: dict[int, list[Hook]] = {max(mine): [hook]}
        return Edit(hooks=hooks)

    def words(match: Match) -> Words:
        return Words(
            "counted_once",
            f"{text} of the correct class counts once; it must count once for each class that "
            "violates the margin "
            "(the number of them, the count).",
            f"δ{text}[correct class] = −1",
            f"δ{text}[correct class] = −count",
        )

    return Hypothesis(("once", *path), edit, words, 2.0, depth)


def _steps_kept(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for a value used in every step of a list: one step counts, or one is left out."""
    for key, members in families(problem).items():
        for v in dict.fromkeys(
            x.v for x in links(problem) if x.u in members and x.v not in members
        ):
            mine = [m for m in members if any(x.v == v and x.u == m for x in links(problem))]
            if len(mine) < 2:
                continue
            for how in ("last", "first", "not the last", "not the first"):
                yield _kept_steps(problem, key, v, how)


def _kept_steps(problem: ReadingProblem, key: Path, v: Path, how: str) -> Hypothesis:
    text = pieces(problem)[v].text
    head = pieces(problem)[families(problem)[key][0]].text.split("[")[0]

    def edit(other: ReadingProblem) -> Edit | None:
        members = families(other).get(key, [])
        found = [x for m in members for x in links(other) if x.v == v and x.u == m]
        if len(found) < 2:
            return None
        dropped = {
            "last": found[:-1],
            "first": found[1:],
            "not the last": found[-1:],
            "not the first": found[:1],
        }[how]
        return scaled_links(other, dropped, 0.0)

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        what = (
            f"only the {how} step counts" if "not" not in how else f"the {how[8:]} step is left out"
        )
        return Words(
            "steps_left_out",
            f"In {claims} {what} of the sum over the steps of {head}: the loop's range is off, "
            "or = is used instead of += (overwritten).",
            f"δ{text} = some steps",
            f"δ{text} = Σ over all steps",
        )

    return Hypothesis(
        ("steps", *key, *v, how), edit, words, 1.7, int(pieces(problem)[v].places.max())
    )


# -- another order ---------------------------------------------------------------------------------


def _swaps(ndim: int) -> list[tuple[int, ...]]:
    if ndim > 4:
        return []
    return [p for p in itertools.permutations(range(ndim)) if p != tuple(range(ndim))]


def _reordered(path: Path, text: str, axes: tuple[int, ...], depth: int) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        named = pieces(problem).get(path)
        if named is None or (named.places < 0).any():
            return None
        shape = named.shape
        inverse = tuple(int(i) for i in np.argsort(axes))
        flat = named.places.ravel().tolist()

        def hook(adjoints: list[float]) -> None:
            d = np.array([adjoints[p] for p in flat]).reshape([shape[a] for a in axes])
            for place, value in zip(flat, d.transpose(inverse).ravel().tolist(), strict=True):
                adjoints[place] = value

        hooks: dict[int, list[Hook]] = {max(flat): [hook]}
        return Edit(hooks=hooks)

    def words(match: Match) -> Words:
        order = ", ".join(map(str, axes))
        return Words(
            "reshaped_in_another_order",
            f"The gradient of {text} is reshaped as if its axes stood in the order ({order}): "
            "its entries are "
            "mixed up between samples or channels; a transpose has to move the axes before the "
            "reshape.",
            f"δ{text}.reshape(…)",
            f"δ{text}.transpose({order}).reshape(…)",
        )

    return Hypothesis(("order", *path, str(axes)), edit, words, 1.9, depth)
