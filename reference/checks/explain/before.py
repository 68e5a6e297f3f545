"""Mistakes in which one way on takes the cotangent from before a slope, while the others are right.

δz = δa · f′(z);   what goes back in time takes Wᵀ δa where Wᵀ δz belongs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reference.checks.explain.graph import Edit, Hook
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.pairs import ElementwiseStep, pairs_of, slope_text
from reference.checks.explain.paths import brought, links, pieces, top_of
from reference.checks.explain.problem import ReadingProblem
from reference.checks.explain.steps import families
from reference.checks.routine import Path

Jump = tuple[tuple[str, ...], Path, Path]
"""A pair (by its key), the piece of its result that is meant, the value that gets δa for δz."""


def before_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every step and every inner value before it: that way takes δa in place of δz."""
    inputs = problem.outcome.inputs
    pairs = pairs_of(problem)
    for pair in pairs:
        for _, u, v in _jumps(problem, pair):
            if v not in inputs:
                yield _hypothesis([(pair.key, u, v)], pair, pieces(problem)[v].text)
    for key, members in families(problem).items():
        mine = [p for p in pairs if any(u in members for u in _parts(problem, p))]
        inside = [j for p in mine for j in _jumps(problem, p) if j[2] in members]
        if inside:
            head = pieces(problem)[members[0]].text.split("[")[0]
            yield _family(key, mine[0], head)


def _parts(problem: ReadingProblem, pair: ElementwiseStep) -> list[Path]:
    """Return the pieces that a pair's result is: itself, or h[0], h[1] of an array of steps."""
    known = pieces(problem)
    if pair.a.path in known:
        return [pair.a.path]
    return [p for p in known if p[:-1] == pair.a.path]


def _jumps(problem: ReadingProblem, pair: ElementwiseStep) -> list[Jump]:
    """Return the direct ways from a step's result (or the argument of it) to what is before."""
    found = []
    for u in _parts(problem, pair):
        ends = {u, pair.z.path}
        found += [(pair.key, u, x.v) for x in links(problem) if x.u in ends and x.v not in ends]
    return found


def _edit(problem: ReadingProblem, jumps: Sequence[Jump]) -> Edit | None:
    known = {p.key: p for p in pairs_of(problem)}
    hooks: dict[int, list[Hook]] = {}
    for key, u, v in jumps:
        top = top_of(problem, v)
        if key not in known or top < 0 or u not in pieces(problem):
            return None
        hooks.setdefault(top, []).append(_hook(problem, known[key], u, v))
    return Edit(hooks=hooks) if hooks else None


def _hook(problem: ReadingProblem, pair: ElementwiseStep, u: Path, v: Path) -> Hook:
    mine = set(pieces(problem)[u].places.ravel().tolist())
    both = zip(pair.a.places.ravel().tolist(), pair.z.places.ravel().tolist(), strict=True)
    places = [(a, z) for a, z in both if a in mine]

    def hook(adjoints: list[float]) -> None:
        more = {z: adjoints[a] - adjoints[z] for a, z in places if a >= 0 and z >= 0}
        for place, value in brought(problem, v, more).items():
            adjoints[place] += value

    return hook


def _in_words(pair: ElementwiseStep, v: str, match: Match) -> Words:
    claims = listed([c.text for c in match.claims])
    a = pair.a.text.split("[")[0]
    return Words(
        "path_skips_activation",
        f"The gradient that goes back to {v} uses δ{a}, before its derivative, instead of "
        f"δ{a} · {slope_text(pair)}, after the slope (the derivative is left out on "
        f"this path alone; {claims}).",
        f"δ{v} from δ{a}",
        f"δ{v} from δ{a} · {slope_text(pair)}",
    )


def _hypothesis(jumps: list[Jump], pair: ElementwiseStep, v: str) -> Hypothesis:
    return Hypothesis(
        ("before", *pair.key, *jumps[0][1], *jumps[0][2]),
        lambda other: _edit(other, jumps),
        lambda match: _in_words(pair, v, match),
        1.6,
        int(pair.z.places.max()),
    )


def _family(key: Path, pair: ElementwiseStep, head: str) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        members = families(problem).get(key, [])
        found = [j for p in pairs_of(problem) for j in _jumps(problem, p)]
        return _edit(problem, [j for j in found if j[1] in members and j[2] in members])

    return Hypothesis(
        ("before", *key),
        edit,
        lambda match: _in_words(pair, f"{head}[t−1]", match),
        1.3,
        int(pair.z.places.max()),
    )
