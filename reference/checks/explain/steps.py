"""Values of one list by their number, h[0], h[1], …: what goes back from step to step."""

from __future__ import annotations

from collections.abc import Iterator

from reference.checks.explain.graph import Edit
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed
from reference.checks.explain.paths import Link, links, pieces, scaled_links, stopped
from reference.checks.explain.problem import ReadingProblem
from reference.checks.routine import Path


def families(problem: ReadingProblem) -> dict[Path, list[Path]]:
    """Return the values of one list by their number: ("h", "*") -> h[0], h[1]."""
    found: dict[Path, dict[int, Path]] = {}
    for path in pieces(problem):
        for k, part in enumerate(path):
            if part.lstrip("-").isdigit():
                key = (*path[:k], "*", *path[k + 1 :])
                found.setdefault(key, {})[int(part)] = path
    return {k: [v[i] for i in sorted(v)] for k, v in found.items() if len(v) > 1}


def step_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every list of values: no path from one step to the one before, or none at all."""
    for key, members in families(problem).items():
        inside = [x for x in links(problem) if x.v in members and _later(x, members)]
        if inside:
            yield _not_in_time(problem, key, members)
        yield _held_family(key, members, problem)


def _later(link: Link, members: list[Path]) -> bool:
    """Whether a path leads to a later member of the family, or to what comes of that step."""
    return link.u in members


def _reaches_members(problem: ReadingProblem, members: list[Path]) -> list[Link]:
    return [x for x in links(problem) if x.v in members and x.u in members]


def _name_of(key: Path, problem: ReadingProblem, members: list[Path]) -> str:
    text = pieces(problem)[members[0]].text
    head = text.split("[")[0]
    return head


def _not_in_time(problem: ReadingProblem, key: Path, members: list[Path]) -> Hypothesis:
    head = _name_of(key, problem, members)

    def edit(other: ReadingProblem) -> Edit | None:
        mine = families(other).get(key)
        return scaled_links(other, _reaches_members(other, mine), 0.0) if mine else None

    def words(match: Match) -> Words:
        return Words(
            "not_passed_back_in_time",
            f"The gradient of {head} is not passed back to the step before: δ{head}[t−1] lacks "
            "the path "
            f"from {head}[t] (every time step is treated alone).",
            f"δ{head}[t−1] = the term of its own step",
            f"δ{head}[t−1] = the term of its own step + δ{head}[t]·∂{head}[t]/∂{head}[t−1]",
        )

    top = max(int(pieces(problem)[m].places.max()) for m in members)
    return Hypothesis(("in time", *key), edit, words, 1.1, top)


def _held_family(key: Path, members: list[Path], problem: ReadingProblem) -> Hypothesis:
    head = _name_of(key, problem, members)

    def edit(other: ReadingProblem) -> Edit | None:
        mine = families(other).get(key)
        if not mine:
            return None
        known = pieces(other)
        return stopped([i for p in mine for i in known[p].places.ravel().tolist() if i >= 0])

    def words(match: Match) -> Words:
        claims = listed([c.text for c in match.claims])
        return Words(
            "path_left_out",
            f"{claims} lacks the path (the term) through {head}: nothing is passed back through "
            "it.",
            f"δ{head} is not used",
            f"δ{head} is passed on",
        )

    top = max(int(pieces(problem)[m].places.max()) for m in members)
    return Hypothesis(("held family", *key), edit, words, 1.6, top)
