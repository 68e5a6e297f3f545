"""Mistakes in how the uses of a value are added up: overwritten, left out, counted once.

dW = Σ over all uses        = in place of += keeps the last one (or the first)
"""

from collections.abc import Callable, Iterator

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Edges, Edit, Hook, NumberGraph
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Words
from reference.checks.explain.links import (
    at_piece,
    families,
    head_of,
    links,
    pieces,
    scaled_links,
)
from reference.checks.explain.problem import NamedValue, ReadingProblem

_MAX_ENTRIES = 400


def use_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield: one use of several is kept, one term is wrong, one step of several is kept."""
    for named in pieces(problem).values():
        if named.places.size <= _MAX_ENTRIES:
            yield _overwritten(named, last=True)
            yield _overwritten(named, last=False)
            yield _counted_once(named)
            yield from _by_use(problem, named)
    yield from _steps_kept(problem)


def _users(graph: NumberGraph, place: int) -> list[int]:
    """Return what a place was used by, with a slope that is not zero."""
    return sorted(
        {c for c in graph.uses[place] if any(p == place and s for p, s in graph.edges[c])}
    )


# -- = in place of += --------------------------------------------------------------------------


def _overwritten(named: NamedValue, last: bool) -> Hypothesis:
    which = "last" if last else "first"
    words = Words(
        "overwritten",
        f"{named.text} is used several times, and only its {which} use counts in {CLAIMS}: = is "
        "used instead of += (the gradient is overwritten; repeated uses have to be added up: "
        "np.add.at for an index that occurs twice, windows that overlap, each class that "
        "violates a margin).",
        f"δ{named.text} = the {which} term",
        f"δ{named.text} = Σ over its uses",
    )
    edit = at_piece(named.path, lambda problem, mine: _one_use(problem.graph, mine.known, last))
    return Hypothesis(edit, words.of, 1.9 + 0.05 * (not last), named.top)


def _one_use(graph: NumberGraph, places: list[int], last: bool) -> Edit | None:
    hooks: dict[int, list[Hook]] = {}
    for place in dict.fromkeys(places):
        children = _users(graph, place)
        seeds = [value for p, value in graph.seeds if p == place and value]
        if len(children) + len(seeds) >= 2:
            hooks[place] = [_keep_one(graph, place, children, seeds, last)]
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


def _counted_once(named: NamedValue) -> Hypothesis:
    """Return the hypothesis that what is used once for each of several classes counts once."""

    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        several = [p for p in mine.known if len(_users(problem.graph, p)) > 1]
        if not several or len(several) == len(mine.known):
            return None
        others = [p for p in mine.known if p not in several]

        def hook(adjoints: list[float]) -> None:
            unit = max(abs(adjoints[p]) for p in others)
            sign = np.sign(sum(adjoints[p] for p in several))
            for place in several:
                adjoints[place] = float(sign * unit)

        return Edit.at(mine.known, hook)

    words = Words(
        "counted_once",
        f"{named.text} of the correct class counts once; it must count once for each class that "
        "violates the margin (the number of them, the count).",
        f"δ{named.text}[correct class] = −1",
        f"δ{named.text}[correct class] = −count",
    )
    return Hypothesis(at_piece(named.path, change), words.of, 2.0, named.top)


# -- one term of several -----------------------------------------------------------------------

_TIMES: tuple[tuple[str, str, str, Callable[[float], float]], ...] = (
    ("0", "term_left_out", "is left out", lambda v: 0.0),
    ("2", "constant_factor", "is counted twice", lambda v: 2.0),
    ("−1", "wrong_sign", "has the wrong sign", lambda v: -1.0),
    ("½", "constant_factor", "lacks a factor 2", lambda v: 0.5),
    ("v", "wrong_power", "has a factor {v} too many (an exponent is wrong, a power of {v})",
     lambda v: v),
    ("1/v", "wrong_power", "lacks a factor {v} (an exponent is wrong, a power of {v})",
     lambda v: 1 / v if v else 1.0),
)  # fmt: skip
"""How it is written, the name of the mistake, its words, and the factor, of the value."""
_NUMBERS = ("first", "second", "third", "fourth", "fifth")


def _by_use(problem: ReadingProblem, named: NamedValue) -> Iterator[Hypothesis]:
    """Yield for a value that every entry uses equally often: one of the terms is wrong."""
    ranks = _ranks(problem, named)
    if 2 <= ranks <= len(_NUMBERS):
        for rank in range(ranks):
            for times in range(len(_TIMES)):
                yield _of_use(named, rank, times)


def _ranks(problem: ReadingProblem, named: NamedValue) -> int:
    """Return how often each entry is used, 0 where they are not used equally often."""
    counts = {len(set(problem.graph.uses[p])) for p in named.known}
    return counts.pop() if len(counts) == 1 else 0


def _of_use(named: NamedValue, rank: int, times: int) -> Hypothesis:
    symbol, name, text, factor = _TIMES[times]

    def change(problem: ReadingProblem, mine: NamedValue) -> Edit | None:
        if _ranks(problem, mine) <= rank:
            return None
        graph = problem.graph
        edges: dict[int, Edges] = {}
        for place, value in zip(mine.flat, mine.value.ravel().tolist(), strict=True):
            if place >= 0:
                child = sorted(set(graph.uses[place]))[rank]
                now = edges.get(child, graph.edges[child])
                edges[child] = [(p, factor(value) * s if p == place else s) for p, s in now]
        return Edit(edges)

    words = Words(
        name,
        f"One term of {CLAIMS} {text.format(v=named.text)}: {named.text} is used several times, "
        f"and the term of its {_NUMBERS[rank]} use is not right.",
        f"δ{named.text} = … + {symbol} · term",
        f"δ{named.text} = … + term",
    )
    return Hypothesis(at_piece(named.path, change), words.of, 2.0, named.top)


# -- one step of several -----------------------------------------------------------------------

_OVERWRITTEN, _RANGE = "was = written instead of +=?", "is the range of the loop off?"
_KEPT = (
    ("only the term of the last step is left", _OVERWRITTEN, slice(None, -1)),
    ("only the term of the first step is left", _OVERWRITTEN, slice(1, None)),
    ("the term of the last step is missing", _RANGE, slice(-1, None)),
    ("the term of the first step is missing", _RANGE, slice(None, 1)),
)
"""What is wrong, what to look for, and which of the steps are dropped."""


def _steps_kept(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for a value used in every step of a list: one step counts, or one is left out."""
    for key, members in families(problem).items():
        found = [x for x in links(problem) if x.u in members and x.v not in members]
        for v in dict.fromkeys(x.v for x in found):
            if sum(x.v == v for x in found) >= 2:
                yield from (_kept_steps(problem, key, v, *kept) for kept in _KEPT)


def _kept_steps(
    problem: ReadingProblem, key: Path, v: Path, what: str, look_for: str, dropped: slice
) -> Hypothesis:
    named, head = pieces(problem)[v], head_of(problem, key)

    def edit(other: ReadingProblem) -> Edit | None:
        members = families(other).get(key, [])
        found = [x for m in members for x in links(other) if x.v == v and x.u == m]
        return scaled_links(other, found[dropped], 0.0) if len(found) > 1 else None

    words = Words(
        "steps_left_out",
        f"In {CLAIMS}, a sum over the steps of {head}, {what}: {look_for}",
        f"δ{named.text} = Σ over some steps",
        f"δ{named.text} = Σ over all steps",
    )
    return Hypothesis(edit, words.of, 1.7, named.top)
