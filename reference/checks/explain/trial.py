"""Tests one hypothesis with the claims: in the first problem, then in all."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain import (
    catalogued,
    cotangents,
    finding,
    inner,
    operands,
    ownvalues,
    paths,
    regions,
    rowwise,
    uses,
    windows,
)
from reference.checks.explain.finding import Support, spelled
from reference.checks.explain.graph import Array, Edit, read
from reference.checks.explain.hypothesis import Hypothesis, Match
from reference.checks.explain.links import Link, few_links, scaled_links
from reference.checks.explain.problem import (
    ClaimedArray,
    ReadingProblem,
    close,
    close_entries,
    is_multiple,
)
from reference.checks.explain.state import ExplanationState, cases_of
from reference.checks.tolerances import SAME


@dataclass(frozen=True)
class HypothesisTrial:
    """A hypothesis that reproduces claims, and how well."""

    hypothesis: Hypothesis
    match: Match
    found: Support
    clean: bool

    @property
    def rank(self) -> tuple[float, ...]:
        """More claims first, then those that leave the right ones right, then the simpler one."""
        return _rank(self.hypothesis, self.match, self.clean)


def _rank(hypothesis: Hypothesis, match: Match, clean: bool) -> tuple[float, ...]:
    fit = -len(match.claims) + 0.5 * (not clean) + 0.4 * bool(match.part)
    return (fit, hypothesis.cost, -hypothesis.depth)


def tried(
    state: ExplanationState,
    hypothesis: Hypothesis,
    problem: ReadingProblem,
    base: Edit,
    now: finding.Predictions,
    best: HypothesisTrial | None,
) -> HypothesisTrial | None:
    """Return what a hypothesis explains beyond the best so far; None where nothing."""
    edit = edit_of(hypothesis, problem)
    if edit is None:
        return None
    adjoints = problem.graph.sweep(base | edit)
    if not any(_fits(problem, c, now[c.path], adjoints) for c in state.left):
        return None
    made = {k: problem.scale * read(adjoints, c.places) for k, c in problem.claims.items()}
    changed = [c for k, c in problem.claims.items() if not close(made[k], now[k])]
    left = [c for c in changed if c.path not in state.explained and not c.right and not c.inner]
    hit = [c for c in left if close(c.got, made[c.path])]
    part = ""
    if not hit:
        hit = [c for c in left if _in_part(c.got, now[c.path], made[c.path])]
        if not hit:
            return None
        part = regions.region(~close_entries(hit[0].got, now[hit[0].path]))
    broken = [
        c
        for c in changed
        if (c.right or c.path in state.explained)
        and not _as_made(c, made[c.path], now[c.path])
        # of the same numbers: relu(x) is x above 0
        and not (c.inner and any(np.isin(c.places, h.places).any() for h in hit))
    ]
    match, clean = Match(hit, bool(broken), part), not (broken or part)
    if best is not None and _rank(hypothesis, match, not broken) >= best.rank:
        return None
    found = _confirmed(state, hypothesis, hit, bool(part))
    return None if found is None else HypothesisTrial(hypothesis, match, found, clean)


def _fits(problem: ReadingProblem, claim: ClaimedArray, now: Array, adjoints: list[float]) -> bool:
    """Whether the entry that is furthest off is as a sweep makes it: a quick first test."""
    off = np.abs(claim.got - now)
    worst = int(np.argmax(np.where(np.isfinite(off), off, -1)))
    place, got = int(claim.places.flat[worst]), float(claim.got.flat[worst])
    value = problem.scale * adjoints[place] if place >= 0 else math.nan
    return abs(value - got) <= 1e-7 * abs(got) + SAME * float(off.flat[worst])


def _in_part(got: Array, now: Array, made: Array) -> bool:
    """Whether every wrong entry is as made, and some are right: a mistake in some rows only."""
    right = close_entries(got, now)
    wrong = ~right
    if not right.any() or wrong.sum() < 2 or not np.isfinite(made).all():
        return False
    size = np.max(np.abs(made))
    different = np.abs(made - now)[wrong] > 1e-6 * size
    return bool(close_entries(got, made)[wrong].all() and different.all())


def _as_made(claim: ClaimedArray, value: Array, now: Array) -> bool:
    """Whether a claim is as a sweep makes it; an inner variable up to a factor, or right."""
    if not claim.inner:
        return close(claim.got, value)
    return not close(claim.got, now) and is_multiple(claim.got, value)


def _confirmed(
    state: ExplanationState, hypothesis: Hypothesis, hit: list[ClaimedArray], part: bool
) -> Support | None:
    """Return the evidence for a hypothesis over all problems; None where it is not enough."""
    total: Support | None = None
    for claim in hit:
        cases = cases_of(state, claim.path)
        values: list[Array | None] = []
        for case in cases:
            edit = edit_of(hypothesis, case.problem)
            value = None
            if edit is not None:
                value = case.problem.predicted(state.base(case.problem) | edit)[claim.path]
                value = np.where(case.wrong, value, case.base) if part else value
            values.append(value)
        found = finding.evidence(cases, values)
        if not found.enough:
            return None
        if total is None or found.matched < total.matched:
            total = found
    return total


def best_link(
    state: ExplanationState,
    problem: ReadingProblem,
    base: Edit,
    now: finding.Predictions,
    best: HypothesisTrial | None,
) -> HypothesisTrial | None:
    """Return a path whose term is a constant multiple of what it should be, the multiple fitted.

    best: what is returned where no such path explains more.
    """
    for link in few_links(problem):
        if state.late:
            break
        made = problem.predicted(base | scaled_links(problem, [link], 0.0))
        wrong = [
            c for c in state.left if paths.times_of(c.got, now[c.path], made[c.path]) is not None
        ]
        if not wrong:
            continue
        fitted = ((p, _times_in(state, link, wrong[0].path, p)) for p in state.problems)
        times = [(p, t) for p, t in fitted if t is not None]
        if len(times) < min(3, len(state.problems)) or not times:
            continue
        text = spelled([p for p, _ in times], [t for _, t in times])
        if text is None or abs(times[0][1] - 1) < 1e-6:
            continue
        hypothesis = paths.multiplied(problem, link, text, {id(p): t for p, t in times})
        trial = tried(state, hypothesis, problem, base, now, best)
        if trial is not None and (best is None or trial.rank < best.rank):
            best = trial
    return best


def _times_in(
    state: ExplanationState, link: Link, path: Path, problem: ReadingProblem
) -> float | None:
    base = state.base(problem)
    claim = problem.claims.get(path)
    if claim is None:
        return None
    now = problem.predicted(base) if base else {path: claim.truth}
    made = problem.predicted(base | scaled_links(problem, [link], 0.0))
    return paths.times_of(claim.got, now[path], made[path])


# -- all hypotheses, and how one that does not suit a forward is passed over ----------------------

SOURCES: tuple[Callable[[ReadingProblem], Iterator[Hypothesis]], ...] = (
    catalogued.catalogue_hypotheses,
    paths.step_hypotheses,
    paths.path_hypotheses,
    rowwise.row_hypotheses,
    paths.before_hypotheses,
    ownvalues.own_value_hypotheses,
    operands.operand_hypotheses,
    cotangents.turned_hypotheses,
    uses.use_hypotheses,
    cotangents.order_hypotheses,
    windows.window_hypotheses,
    inner.inner_hypotheses,
    cotangents.scaled_hypotheses,
)


def all_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield every mistake that may be in a problem's sweep."""
    for source in SOURCES:
        try:
            yield from source(problem)
        except UNEXPECTED:
            continue


UNEXPECTED: tuple[type[Exception], ...] = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a forward that nobody thought of may raise in a hypothesis: that one is passed over."""


def edit_of(hypothesis: Hypothesis, problem: ReadingProblem) -> Edit | None:
    """Return a hypothesis' sweep in a problem, None where it does not apply."""
    try:
        return hypothesis.edit(problem)
    except UNEXPECTED:
        return None
