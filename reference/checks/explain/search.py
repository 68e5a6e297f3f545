"""Searches for the mistakes that make a wrong gradient: from the loss back, the simplest first.

A mistake is a change of the certified reverse sweep, or of one claim. The one that explains most
is taken. What it leaves unexplained is searched with it in place, so that two mistakes in one
file are both found, and consequences of the first are not taken for a second one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from reference.checks.comparing import Objective
from reference.checks.explain import finding, general, simple_errors
from reference.checks.explain.catalogued import catalogue_hypotheses
from reference.checks.explain.finding import Explanation
from reference.checks.explain.general import WholeReading, objectives_of, problems_of
from reference.checks.explain.graph import NumberGraph, read
from reference.checks.explain.hypothesis import Hypothesis
from reference.checks.explain.problem import ClaimedArray, ReadingProblem, close, ratio, rescaled
from reference.checks.explain.state import ExplanationState, cases_of, depth_of, explanation_of
from reference.checks.explain.trial import (
    HypothesisTrial,
    all_hypotheses,
    best_link,
    edit_of,
    tried,
)
from reference.checks.running import Reading
from reference.checks.tolerances import EXPLAINED, SAME
from reference.diagnosis.mistakes import CATALOGUE

LIMIT = 2_500_000
"""The work (`NumberGraph.work`) after which a search ends: 5 to 15 s, depending on the machine."""


def explain(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int], limit: int = LIMIT
) -> Explanation:
    """Return which mistakes reproduce the wrong gradients of a reading, and where it goes wrong.

    reading, objective: what is run, and the scalar that its claims should be the gradient of.
    seed, indices: the problems to try, those with a wrong claim first. limit: the work after which
    what was found is returned.
    """
    end, enough = NumberGraph.work + limit, NumberGraph.work + limit * 5 // 6
    best: ExplanationState | None = None
    whole = WholeReading()
    given = problems_of(reading, objective, seed, indices, enough, whole)
    others = objectives_of(reading, objective, seed, indices) if given else ()
    for way, one in others:
        plain = objective.kind in ("sum", "mean") and one.kind not in ("sum", "mean")
        elsewhere = (one.output != objective.output and one.kind != "loss") or plain
        if best is not None and not best.left and elsewhere:
            break
        as_given = way is reading and one == objective
        problems = given if as_given else problems_of(way, one, seed, indices, enough, whole)
        explained = best.problems[0].wrong if best is not None and not best.left else None
        if not problems or (explained is not None and len(problems[0].wrong) > len(explained)):
            continue
        state = _searched(problems, end)
        if best is None or _better(state, best):
            best = state
        if state.late or (
            not best.left
            and (one.kind in ("loss", "cotangents") or best.cost <= _PLAIN * len(best.named))
        ):
            break
    found = explanation_of(best) if best is not None else Explanation()
    return _with_general(found, reading, objective, seed, indices, whole)


def _searched(problems: list[ReadingProblem], end: int) -> ExplanationState:
    """Search; where no right claim tells the loss's factor, under those that explain something."""
    best: ExplanationState | None = None
    if problems[0].free:
        for factors in _scales_of(problems, end):
            scaled_ones = [rescaled(p, x) for p, x in zip(problems, factors, strict=True)]
            other = ExplanationState([p for p in scaled_ones if p.wrong], end)
            if other.problems:
                _search(other)
                best = other if best is None or _better(other, best) else best
            if best is not None and not best.left:
                return best
    state = ExplanationState(problems, end)
    _search(state)
    return state if best is None or _better(state, best) else best


_PLAIN = 1.65
"""Up to this cost a mistake is common, and no other loss is tried for another explanation. The
hypotheses about common mistakes cost 1 to 1.6 (each gives its cost), those about rare ones 1.7 or
more."""


def _with_general(
    found: Explanation,
    reading: Reading,
    objective: Objective,
    seed: int,
    indices: Sequence[int],
    whole: WholeReading,
) -> Explanation:
    named = [*found.named, *general.changed_in_place(whole.mutated)]
    described = dict(found.described)
    if described or any(n.name not in _OF_ANY_LOSS for n in found.named):
        other = general.another_loss(reading, objective, seed, indices)
        if other is not None:
            return Explanation(found.first, (other, *(found.named if not described else ())), ())
    explained = {t for n in named for t in n.tensors}
    described |= {k: v for k, v in whole.described.items() if k not in explained} | whole.misshapen
    return Explanation(found.first, tuple(named), tuple(described.items()))


_OF_ANY_LOSS = frozenset(
    ["constant_factor", "wrong_sign", *(m.name for m in CATALOGUE.values() if m.line == "loss")]
)
"""Mistakes that fit a gradient which is right up to a factor: other losses are not tried then."""


def _better(state: ExplanationState, best: ExplanationState) -> bool:
    return (len(state.left), state.cost) < (len(best.left), best.cost)


def _search(state: ExplanationState) -> None:
    while state.left and not state.late:
        before = len(state.explained)
        _from_catalogue(state)
        if len(state.explained) > before:
            continue
        _locally(state, sure=True)
        best = _best_of(state, all_hypotheses) if state.left else None
        if best is not None:
            _accept(state, best)
        if len(state.explained) == before:
            _locally(state, sure=False)
        if len(state.explained) == before:
            return


def _from_catalogue(state: ExplanationState) -> None:
    """Accept a mistake of the catalogue that explains whole claims and leaves the others right."""
    best = _best_of(state, lambda problem: catalogue_hypotheses(problem, named=True), whole=True)
    if best is not None and not _shared_factor(state, best.match.claims):
        _accept(state, best)


def _shared_factor(state: ExplanationState, claims: Sequence[ClaimedArray]) -> bool:
    """Whether a claim is a multiple of the right one, and another wrong claim the same multiple.

    Then something that both are made of is off by that factor, not the line of one of them.
    """
    if len(claims) > 1:
        return False
    factors = [
        (c, ratio(c.got, cases[0].base)) for c in state.left if (cases := cases_of(state, c.path))
    ]
    mine = next((r for c, r in factors if c.path == claims[0].path), None)
    return mine is not None and any(
        r is not None and c.path != claims[0].path and abs(r - mine) <= SAME * abs(mine)
        for c, r in factors
    )


def _locally(state: ExplanationState, sure: bool) -> None:
    """Explain single claims by what they are of the truth: twice, transposed, another's."""
    for claim in state.left:
        result = simple_errors.analyse(cases_of(state, claim.path), sure)
        if result is not None:
            words, found = result
            state.named.append((finding.named(words, [claim.text], found), depth_of(claim)))
            state.explained.add(claim.path)
            state.cost += 1.2


def _best_of(
    state: ExplanationState,
    source: Callable[[ReadingProblem], Iterator[Hypothesis]],
    whole: bool = False,
) -> HypothesisTrial | None:
    """Return what explains most of a source; whole: only what explains all of some claims."""
    problem = state.problems[0]
    base = state.base(problem)
    now = problem.predicted(base) if base else {k: c.truth for k, c in problem.claims.items()}
    best: HypothesisTrial | None = None
    for hypothesis in source(problem):
        if state.late:
            break
        trial = tried(state, hypothesis, problem, base, now, best)
        if trial is not None and (trial.clean or not whole):
            best = trial if best is None or trial.rank < best.rank else best
    return best if whole else best_link(state, problem, base, now, best)


def _accept(state: ExplanationState, best: HypothesisTrial) -> None:
    tensors = [c.text for c in best.match.claims]
    words = best.hypothesis.words(best.match)
    if best.match.part:
        words = replace(
            words, sentence=f"{words.sentence[:-1]} (in {best.match.part}; the others are right)."
        )
    state.cost += best.hypothesis.cost
    state.named.append((finding.named(words, tensors, best.found), best.hypothesis.depth))
    state.explained |= {c.path for c in best.match.claims}
    if best.clean:
        state.accepted.append(best.hypothesis)
        _explain_what_follows(state)


def _explain_what_follows(state: ExplanationState) -> None:
    """Count claims as explained that are as the accepted mistakes together make them."""
    for claim in state.left:
        cases = cases_of(state, claim.path)
        if cases and all(not c.off for c in cases):
            state.explained.add(claim.path)


# -- the factor of a loss that nobody wrote: a mean or a sum -----------------------------------


def _scales_of(problems: list[ReadingProblem], end: int) -> Iterator[list[float]]:
    """Yield the loss's factors under which some mistake reproduces most of the claims."""
    counts: dict[str, tuple[int, Hypothesis]] = {}
    problem = problems[0]
    for hypothesis in all_hypotheses(problem):
        if NumberGraph.work > end:
            break
        found = _factors_in(problem, hypothesis)
        for factor in dict.fromkeys(found):
            key = f"{factor:.9g}"
            if found.count(factor) > counts.get(key, (0, hypothesis))[0]:
                counts[key] = (found.count(factor), hypothesis)
    for _, hypothesis in sorted(counts.values(), key=lambda c: -c[0])[:3]:
        some = [_factors_in(p, hypothesis) for p in problems]
        if all(some):
            yield [max(found, key=found.count) for found in some]


def _factors_in(problem: ReadingProblem, hypothesis: Hypothesis) -> list[float]:
    """Return the factors of the loss under which a mistake makes the wrong claims, one of each."""
    edit = edit_of(hypothesis, problem)
    if edit is None:
        return []
    adjoints = problem.graph.sweep(edit)
    return [f for c in problem.wrong if (f := _free_factor(problem, c, adjoints))]


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
    if factor is None:
        return None
    made = factor * problem.scale * read(adjoints, claim.places)
    return factor if close(claim.got, made) else None
