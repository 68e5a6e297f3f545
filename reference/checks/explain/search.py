"""Searches for the mistakes that make a wrong gradient: from the loss back, the simplest first.

A mistake is a change of the certified reverse sweep, or of one claim. The one that explains most
is taken; what it leaves unexplained is searched with it in place, so that two mistakes in one
file are both found and what follows from the first is not accused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reference.balls import Session
from reference.checks.experiment import Outcome, Reading, perform
from reference.checks.explain import finding, general, inner, locally, operands, paths, regions, rowwise, slopes, uses
from reference.checks.explain.factors import ratio, spelled
from reference.checks.explain.finding import Case, Evidence, Explanation, Named
from reference.checks.explain.graph import Edit
from reference.checks.explain.hypothesis import Hypothesis, Match
from reference.checks.explain.problem import Claim, Problem, close, close_entries, problem_of, rescaled
from reference.checks.objective import Objective, candidates
from reference.checks.routine import Path

PROBLEMS = 6
SOURCES: tuple[Callable[[Problem], Iterator[Hypothesis]], ...] = (
    slopes.slope_hypotheses,
    paths.path_hypotheses,
    rowwise.row_hypotheses,
    operands.operand_hypotheses,
    uses.use_hypotheses,
    inner.inner_hypotheses,
)


@dataclass
class _State:
    """What was found so far, for one objective."""

    problems: list[Problem]
    deadline: float
    accepted: list[Hypothesis] = field(default_factory=list)
    named: list[tuple[Named, int]] = field(default_factory=list)
    cost: float = 0.0
    explained: set[Path] = field(default_factory=set)
    first: str = ""

    def base(self, problem: Problem) -> Edit:
        """Return the sweep with the mistakes accepted so far."""
        edit = Edit()
        for hypothesis in self.accepted:
            more = hypothesis.edit(problem)
            if more is not None:
                edit = edit | more
        return edit

    @property
    def left(self) -> list[Claim]:
        """The wrong claims of the first problem that nothing explains yet."""
        return [c for c in self.problems[0].wrong if c.path not in self.explained]

    @property
    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline


def explain(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int],
    scale: float = 1.0, limit: float = 3.0,
) -> Explanation:  # fmt: skip
    """Return which mistakes reproduce the wrong gradients of a reading, and where it goes wrong.

    reading, objective: what is run, and which scalar its claims are held to be the gradient of.
    seed, indices: the problems to try, those with a wrong claim first. scale: unused where the
    problems settle it. limit: seconds after which what was found is returned.
    """
    deadline = time.monotonic() + limit
    best: _State | None = None
    met = _Met()
    for reading, one in _objectives(reading, objective, seed, indices):
        if (best is not None and not best.left and one.output != objective.output) or met.right:
            break
        problems = _problems(reading, one, seed, indices, deadline, met)
        if not problems or (best is not None and not best.left and _more_wrong(problems, best)):
            continue
        state = _State(problems, deadline)
        _search(state)
        if state.left and problems[0].free:
            state = _with_another_scale(state)
        if best is None or _better(state, best):
            best = state
        if state.late or (not best.left and (one.kind in ("loss", "cotangents") or best.cost <= _PLAIN)):
            break
    found = _explanation(best) if best is not None else Explanation()
    return _with_general(found, reading, objective, seed, indices, met)


def _with_another_scale(state: _State) -> _State:
    """Search again with the loss as a mean, where no right claim tells what it is."""
    best = state
    for factors in _scales(state):
        problems = [rescaled(p, x) for p, x in zip(state.problems, factors, strict=True)]
        other = _State([p for p in problems if p.wrong], state.deadline)
        if not other.problems or state.late:
            continue
        _search(other)
        if _better(other, best):
            best = other
        if not best.left:
            break
    return best


def _scales(state: _State) -> Iterator[list[float]]:
    """Yield the loss's factors under which some mistake reproduces most of the claims."""
    counts: dict[str, tuple[int, Hypothesis]] = {}
    problem = state.problems[0]
    for hypothesis in _hypotheses(problem):
        if state.late:
            break
        edit = hypothesis.edit(problem)
        made = problem.predicted(edit) if edit is not None else {}
        found = [_free_factor(problem, c, made[c.path]) for c in problem.wrong] if made else []
        for factor in {f for f in found if f}:
            key = f"{factor:.9g}"
            if found.count(factor) > counts.get(key, (0, hypothesis))[0]:
                counts[key] = (found.count(factor), hypothesis)
    for count, hypothesis in sorted(counts.values(), key=lambda c: -c[0])[:3]:
        factors = [_factor_in(p, hypothesis, count) for p in state.problems]
        if all(factors):
            yield [f or 1.0 for f in factors]


def _free_factor(problem: Problem, claim: Claim, made: finding.Array) -> float | None:
    """Return the factor of the loss under which a prediction is the claim, as one that it may have."""
    c = ratio(claim.got, made) if claim.got.size > 1 else None
    if c is None or abs(c - 1) < 1e-9:
        return None
    return next((f for f in problem.free if abs(c - f) < 1e-8 * f), None)


def _factor_in(problem: Problem, hypothesis: Hypothesis, count: int) -> float | None:
    edit = hypothesis.edit(problem)
    if edit is None:
        return None
    made = problem.predicted(edit)
    found = [f for c in problem.wrong if (f := _free_factor(problem, c, made[c.path]))]
    return max(found, key=found.count, default=None)


_PLAIN = 1.35
"""An explanation of that cost is the common mistake; no other loss is tried for another one."""


@dataclass
class _Met:
    """What was met on the way that concerns the reading as a whole."""

    mutated: list[Outcome] = field(default_factory=list)
    described: dict[str, str] = field(default_factory=dict)
    misshapen: dict[str, str] = field(default_factory=dict)
    right: bool = False
    """Whether everything is right as the derivative of the sum (its mean is not asked then)."""


def _more_wrong(problems: list[Problem], best: _State) -> bool:
    return len(problems[0].wrong) > len(best.problems[0].wrong)


def _with_general(
    found: Explanation, reading: Reading, objective: Objective, seed: int, indices: Sequence[int], met: _Met
) -> Explanation:  # fmt: skip
    named = [*found.named, *general.changed_in_place(met.mutated)]
    described = dict(found.described)
    if described:
        other = general.another_loss(reading, objective, seed, indices)
        if other is not None:
            return Explanation(found.first, (other,), ())
    explained = {t for n in named for t in n.tensors}
    described |= {k: v for k, v in met.described.items() if k not in explained} | met.misshapen
    return Explanation(found.first, tuple(named), tuple(described.items()))


def _better(state: _State, best: _State) -> bool:
    return (len(state.left), state.cost) < (len(best.left), best.cost)


def _objectives(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int]
) -> Iterator[tuple[Reading, Objective]]:
    """Yield the reading and the objective, and the other ones that they may be.

    A slope may be meant of the input where it was given the output, a loss that nobody wrote
    may be another one, and a mean a sum.
    """
    if objective.kind in ("sum", "mean"):
        for one in _other_bindings(reading):
            yield one, replace(objective, kind="sum")
            yield one, replace(objective, kind="mean")
        return
    yield reading, objective
    if objective.kind != "implicit" or not indices:
        return
    with Session() as session:
        outcome = perform(reading, seed, indices[0], session)
        others = [o for o in candidates(outcome) if o.kind == "implicit" and o != objective]
    others.sort(key=lambda o: (o.target != objective.target, o.output != objective.output))
    yield from ((reading, o) for o in others[:12])


def _other_bindings(reading: Reading) -> list[Reading]:
    found = [reading]
    for name, source in reading.binding:
        if source == "output:" and reading.forward is not None and name in reading.forward.arguments:
            found.append(reading.bound(**{name: f"input:{name}"}))
    return found


def _problems(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int], deadline: float, met: _Met
) -> list[Problem]:  # fmt: skip
    found: list[Problem] = []
    for index in indices[: 2 * PROBLEMS]:
        if len(found) >= PROBLEMS or (found and time.monotonic() > deadline - 0.5):
            break
        with Session() as session:
            try:
                outcome = perform(reading, seed, index, session)
                one = problem_of(outcome, objective)
                if not found:
                    met.described |= dict(general.a_vector_of_slopes(objective, outcome)) if one and one.wrong else {}
                    met.misshapen |= dict(general.misshapen(objective, outcome))
            except Exception:  # a problem on which the target fails explains nothing
                continue
        if objective.kind != "implicit" and len(met.mutated) < PROBLEMS:
            met.mutated.append(outcome)
        if one is not None and one.wrong:
            found.append(one)
        elif one is not None and objective.kind == "sum" and one.claims and not found:
            met.right = True
    # the first one is searched: the more entries are wrong, the fewer chances
    found.sort(key=lambda p: -sum(min(c.got.size, 12) for c in p.wrong))
    return found


def _search(state: _State) -> None:
    while state.left and not state.late:
        before = len(state.explained)
        _locally(state, sure=True)
        if state.left:
            _best_edit(state)
        if len(state.explained) == before:
            _locally(state, sure=False)
        if len(state.explained) == before:
            return


def _cases(state: _State, path: Path) -> list[Case]:
    found = []
    for problem in state.problems:
        claim = problem.claims.get(path)
        if claim is None:
            continue
        base = problem.predicted(state.base(problem))[path] if state.accepted else claim.truth
        if base.shape == claim.got.shape:
            found.append(Case(problem, claim, base))
    return found


def _locally(state: _State, sure: bool) -> None:
    """Explain single claims by what they are of the truth: twice, transposed, another's …"""
    for claim in state.left:
        result = locally.analyse(_cases(state, claim.path), sure)
        if result is not None:
            words, found = result
            state.named.append((finding.named(words, [claim.text], found), _depth(claim)))
            state.explained.add(claim.path)
            state.cost += 1.2


def _depth(claim: Claim) -> int:
    return int(claim.places.max(initial=0))


@dataclass(frozen=True)
class _Trial:
    hypothesis: Hypothesis
    match: Match
    found: Evidence
    clean: bool

    @property
    def rank(self) -> tuple[float, ...]:
        """More claims first, then those that leave the right ones right, then the simpler one."""
        fit = -len(self.match.claims) + 0.5 * (not self.clean) + 0.4 * bool(self.match.part)
        return (fit, self.hypothesis.cost, -self.hypothesis.depth)


def _best_edit(state: _State) -> None:
    problem = state.problems[0]
    base = state.base(problem)
    now = problem.predicted(base) if base else {k: c.truth for k, c in problem.claims.items()}
    best: _Trial | None = None
    for hypothesis in _hypotheses(problem):
        if state.late:
            break
        trial = _tried(state, hypothesis, problem, base, now, best)
        if trial is not None and (best is None or trial.rank < best.rank):
            best = trial
    if best is None:
        return
    tensors = [c.text for c in best.match.claims]
    words = best.hypothesis.words(best.match)
    if best.match.part:
        words = replace(words, sentence=f"{words.sentence[:-1]} (in {best.match.part}; the others are right).")
    state.cost += best.hypothesis.cost
    state.named.append((finding.named(words, tensors, best.found), best.hypothesis.depth))
    state.explained |= {c.path for c in best.match.claims}
    if best.clean:
        state.accepted.append(best.hypothesis)
        _explain_what_follows(state)


def _best_link(
    state: _State, problem: Problem, base: Edit, now: finding.Predictions
) -> _Trial | None:
    """Return a path whose term is a constant multiple of what it should be, the multiple fitted."""
    best: _Trial | None = None
    for link in paths.fitted_links(problem):
        if state.late:
            break
        made = problem.predicted(base | paths.scaled_links(problem, [link], 0.0))
        wrong = [c for c in state.left if paths.times_of(c.got, now[c.path], made[c.path]) is not None]
        if not wrong:
            continue
        times = [_times_in(state, link, wrong[0].path, p) for p in state.problems]
        plain = [(p, t) for p, t in zip(state.problems, times, strict=True) if t is not None]
        text = spelled([p for p, _ in plain], [t for _, t in plain]) if len(plain) >= min(3, len(times)) else None
        if text is None or abs(plain[0][1] - 1) < 1e-6:
            continue
        hypothesis = paths.multiplied(problem, link, text, plain)
        trial = _tried(state, hypothesis, problem, base, now, best)
        if trial is not None and (best is None or trial.rank < best.rank):
            best = trial
    return best


def _times_in(state: _State, link: paths.Link, path: Path, problem: Problem) -> float | None:
    base = state.base(problem)
    claim = problem.claims.get(path)
    if claim is None:
        return None
    now = problem.predicted(base) if base else {path: claim.truth}
    made = problem.predicted(base | paths.scaled_links(problem, [link], 0.0))
    return paths.times_of(claim.got, now[path], made[path])


def _explain_what_follows(state: _State) -> None:
    """Count claims as explained that are as the accepted mistakes together make them."""
    for claim in state.left:
        cases = _cases(state, claim.path)
        if cases and all(not c.off for c in cases):
            state.explained.add(claim.path)


def _hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    for source in SOURCES:
        yield from source(problem)


def _tried(
    state: _State, hypothesis: Hypothesis, problem: Problem, base: Edit,
    now: finding.Predictions, best: _Trial | None,
) -> _Trial | None:  # fmt: skip
    edit = hypothesis.edit(problem)
    if edit is None:
        return None
    made = problem.predicted(base | edit)
    changed = [c for k, c in problem.claims.items() if not close(made[k], now[k])]
    left = [c for c in changed if c.path not in state.explained and not c.right and not c.inner]
    hit = [c for c in left if close(c.got, made[c.path])]
    part = ""
    if not hit:
        hit = [c for c in left if _in_part(c.got, now[c.path], made[c.path])]
        if not hit:
            return None
        part = regions.region(~close_entries(hit[0].got, now[hit[0].path]))
    broken = [c for c in changed if (c.right or c.path in state.explained) and not _as_made(c, made[c.path])]
    if best is not None and _Trial(hypothesis, Match(hit, bool(broken), part), best.found, not broken).rank >= best.rank:
        return None
    found = _confirmed(state, hypothesis, hit, bool(part))
    if found is None:
        return None
    return _Trial(hypothesis, Match(hit, bool(broken), part), found, not (broken or part))


def _in_part(got: finding.Array, now: finding.Array, made: finding.Array) -> bool:
    """Whether every wrong entry is as made, and some are right: a mistake in some rows only."""
    right = close_entries(got, now)
    wrong = ~right
    if not right.any() or wrong.sum() < 2 or not np.isfinite(made).all():
        return False
    size = np.max(np.abs(made))
    different = np.abs(made - now)[wrong] > 1e-6 * size
    return bool(close_entries(got, made)[wrong].all() and different.all())


def _as_made(claim: Claim, value: finding.Array) -> bool:
    return close(claim.got, value) if not claim.inner else False


def _confirmed(
    state: _State, hypothesis: Hypothesis, hit: list[Claim], part: bool = False
) -> Evidence | None:
    """Return the evidence for a hypothesis over all problems; None where it is not enough."""
    total: Evidence | None = None
    for claim in hit:
        cases = _cases(state, claim.path)
        values = []
        for case in cases:
            edit = hypothesis.edit(case.problem)
            if edit is None:
                values.append(None)
                continue
            value = case.problem.predicted(state.base(case.problem) | edit)[claim.path]
            if part:
                value = np.where(close_entries(case.claim.got, case.base), case.base, value)
            values.append(value)
        found = finding.evidence(cases, values)
        if not found.enough:
            return None
        if total is None or found.matched < total.matched:
            total = found
    return total


def _explanation(state: _State) -> Explanation:
    ordered = sorted(state.named, key=lambda n: -n[1])
    described = [(c.text, locally.described(_cases(state, c.path))) for c in state.left]
    first = state.first or _first(state)
    return Explanation(first, tuple(n for n, _ in ordered), tuple(d for d in described if d[1]))


def _first(state: _State) -> str:
    """Return what goes wrong first, going back from the loss: the latest of all that is wrong."""
    wrong = [c for c in state.problems[0].claims.values() if not c.right]
    return max(wrong, key=_depth).text if wrong else ""
