"""Mistakes in which one way on takes the cotangent from before a slope, while the others are right.

δz = δa · f′(z);   what goes back in time takes Wᵀ δa where Wᵀ δz belongs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reference.checks.explain.graph import Edit, Hook
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.pairs import Pair, pairs_of
from reference.checks.explain.paths import brought, families, links, pieces, top_of
from reference.checks.explain.problem import Problem
from reference.checks.explain.slopes import slope_text
from reference.checks.routine import Path

Jump = tuple[tuple[str, ...], Path]
"""A pair (by its key), and the value that gets δa in place of δz from it."""


def before_hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    """Yield for every step and every inner value before it: that way takes δa in place of δz."""
    inputs = problem.outcome.inputs
    pairs = pairs_of(problem)
    for pair in pairs:
        for v in _before(problem, pair):
            if v not in inputs:
                yield _hypothesis(problem, [(pair.key, v)], pair, pieces(problem)[v].text)
    for key, members in families(problem).items():
        mine = [p for p in pairs if _path_of(problem, p) in members]
        jumps = [(p.key, v) for p in mine for v in _before(problem, p) if v in members]
        if len(mine) > 1 and jumps:
            head = pieces(problem)[members[0]].text.split("[")[0]
            yield _family(key, mine[0], head)


def _path_of(problem: Problem, pair: Pair) -> Path:
    """Return the piece that a pair's result is: h[2], or the value itself."""
    if pair.a.path in pieces(problem):
        return pair.a.path
    places = set(pair.a.places.ravel().tolist())
    found = (p for p, n in pieces(problem).items() if places & set(n.places.ravel().tolist()))
    return next(found, pair.a.path)


def _before(problem: Problem, pair: Pair) -> list[Path]:
    mine = _path_of(problem, pair)
    ends = {mine, pair.z.path}
    return [x.v for x in links(problem) if x.u in ends and x.v not in ends]


def _edit(problem: Problem, jumps: Sequence[Jump]) -> Edit | None:
    known = {p.key: p for p in pairs_of(problem)}
    hooks: dict[int, list[Hook]] = {}
    for key, v in jumps:
        top = top_of(problem, v)
        if key not in known or top < 0:
            return None
        hooks.setdefault(top, []).append(_hook(problem, known[key], v))
    return Edit(hooks=hooks)


def _hook(problem: Problem, pair: Pair, v: Path) -> Hook:
    places = list(zip(pair.a.places.ravel().tolist(), pair.z.places.ravel().tolist(), strict=True))

    def hook(adjoints: list[float]) -> None:
        more = {z: adjoints[a] - adjoints[z] for a, z in places if a >= 0 and z >= 0}
        for place, value in brought(problem, v, more).items():
            adjoints[place] += value

    return hook


def _said(pair: Pair, v: str, match: Match) -> Words:
    claims = listed([c.text for c in match.claims])
    a = pair.a.text.split("[")[0]
    return Words(
        "path_skips_activation",
        f"What goes back to {v} takes the gradient of {a} before its derivative: δ{a} stands where "
        f"δ{a} · {slope_text(pair)}, after the slope, belongs (the derivative is left out on "
        f"this path alone; {claims}).",
        f"δ{v} from δ{a}",
        f"δ{v} from δ{a} · {slope_text(pair)}",
    )


def _hypothesis(problem: Problem, jumps: list[Jump], pair: Pair, v: str) -> Hypothesis:
    return Hypothesis(
        ("before", *pair.key, *jumps[0][1]),
        lambda other: _edit(other, jumps),
        lambda match: _said(pair, v, match),
        1.6,
        int(pair.z.places.max()),
    )


def _family(key: Path, pair: Pair, head: str) -> Hypothesis:
    def edit(problem: Problem) -> Edit | None:
        members = families(problem).get(key, [])
        mine = [p for p in pairs_of(problem) if _path_of(problem, p) in members]
        return (
            _edit(problem, [(p.key, v) for p in mine for v in _before(problem, p) if v in members])
            or None
        )

    return Hypothesis(
        ("before", *key),
        edit,
        lambda match: _said(pair, f"{head}[t−1]", match),
        1.3,
        int(pair.z.places.max()),
    )
