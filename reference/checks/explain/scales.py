"""The factor of a loss that nobody wrote, where no right claim tells it: a mean or a sum."""

from __future__ import annotations

import time
from collections.abc import Iterator

from reference.checks.explain.graph import read
from reference.checks.explain.hypothesis import Hypothesis
from reference.checks.explain.problem import ClaimedArray, ReadingProblem, close
from reference.checks.explain.sources import all_hypotheses, edit_of
from reference.checks.tolerances import EXPLAINED


def scales_of(problems: list[ReadingProblem], deadline: float) -> Iterator[list[float]]:
    """Yield the loss's factors under which some mistake reproduces most of the claims."""
    counts: dict[str, tuple[int, Hypothesis]] = {}
    problem = problems[0]
    for hypothesis in all_hypotheses(problem):
        if time.process_time() > deadline:
            break
        edit = edit_of(hypothesis, problem)
        if edit is None:
            continue
        adjoints = problem.graph.sweep(edit)
        found = [f for c in problem.wrong if (f := _free_factor(problem, c, adjoints))]
        for factor in dict.fromkeys(found):
            key = f"{factor:.9g}"
            if found.count(factor) > counts.get(key, (0, hypothesis))[0]:
                counts[key] = (found.count(factor), hypothesis)
    for _, hypothesis in sorted(counts.values(), key=lambda c: -c[0])[:3]:
        factors = [_factor_in(p, hypothesis) for p in problems]
        if all(factors):
            yield [f or 1.0 for f in factors]


def _free_factor(
    problem: ReadingProblem, claim: ClaimedArray, adjoints: list[float]
) -> float | None:
    """Return the factor of the loss under which a sweep is the claim, one that it may have."""
    places = claim.places.ravel()
    if places.size < 2 or places[0] < 0:
        return None
    first = adjoints[places[0]] * problem.scale
    c = float(claim.got.flat[0]) / first if first else 0.0
    factor = next((f for f in problem.free if abs(c - f) < EXPLAINED * f), None)
    if factor is None or not close(
        claim.got, factor * problem.scale * read(adjoints, claim.places)
    ):
        return None
    return factor


def _factor_in(problem: ReadingProblem, hypothesis: Hypothesis) -> float | None:
    edit = edit_of(hypothesis, problem)
    if edit is None:
        return None
    adjoints = problem.graph.sweep(edit)
    found = [f for c in problem.wrong if (f := _free_factor(problem, c, adjoints))]
    return max(found, key=found.count, default=None)
