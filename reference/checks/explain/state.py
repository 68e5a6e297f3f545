"""What is known in the course of a search, and the sentences that come of it."""

from dataclasses import dataclass, field

import msgspec

from reference.checks.code import Path
from reference.checks.explain import simple_errors
from reference.checks.explain.finding import ClaimCase, Explanation
from reference.checks.explain.graph import Array, Edit, NumberGraph
from reference.checks.explain.hypothesis import Hypothesis, listed
from reference.checks.explain.problem import ClaimedArray, ReadingProblem, close, is_multiple
from reference.checks.explain.variables import as_made, wrong_variable
from reports.checked import NamedMistake


@dataclass
class ExplanationState:
    """What was found so far, for one objective. `end` is the work at which the search ends."""

    problems: list[ReadingProblem]
    end: int
    accepted: list[Hypothesis] = field(default_factory=list)
    named: list[tuple[NamedMistake, int]] = field(default_factory=list)
    cost: float = 0.0
    explained: set[Path] = field(default_factory=set)

    def base(self, problem: ReadingProblem) -> Edit:
        """Return the sweep with the mistakes accepted so far."""
        edit = Edit()
        for hypothesis in self.accepted:
            more = hypothesis.edit(problem)
            if more is not None:
                edit = edit | more
        return edit

    @property
    def left(self) -> list[ClaimedArray]:
        """The wrong claims of the first problem that nothing explains yet."""
        return [c for c in self.problems[0].wrong if c.path not in self.explained]

    @property
    def late(self) -> bool:
        """Whether the search has done the work that it may do."""
        return NumberGraph.work > self.end


def cases_of(state: ExplanationState, path: Path) -> list[ClaimCase]:
    """Return a claim in every problem, with what the accepted mistakes make of it."""
    found = []
    for problem in state.problems:
        claim = problem.claims.get(path)
        if claim is None:
            continue
        base = problem.predicted(state.base(problem))[path] if state.accepted else claim.truth
        if base.shape == claim.got.shape:
            found.append(ClaimCase(problem, claim, base))
    return found


def depth_of(claim: ClaimedArray) -> int:
    """Return where a claim's tensor stands on the tape: the later, the nearer to the loss."""
    return int(claim.places.max(initial=0))


# -- in sentences ------------------------------------------------------------------------------


def explanation_of(state: ExplanationState) -> Explanation:
    """Return what a search found, going back from the loss."""
    ordered = _merged(sorted(state.named, key=lambda n: -n[1]))
    bases = [state.base(p) for p in state.problems]
    cases, follow = wrong_variable(state.problems, bases, state.left)
    variable = cases[0].claim if cases else None
    first = _first(state, variable or _cause(state), follow)
    described = {
        c.text: _not_named(cases_of(state, c.path)) for c in state.left if c.path not in follow
    }
    if variable is not None:
        names = listed([c.text for c in state.left if c.path in follow])
        what = f"as the gradient of {variable.of}, {_not_named(cases)}"
        how = f"{what}; {names} would be right if {variable.text} were"
        described = {variable.text: how} | described
    elif first in described:
        described[first] += f"; it may also be in a variable that {first} is computed from"
    return Explanation(first, tuple(ordered), tuple(described.items()))


def _cause(state: ExplanationState) -> ClaimedArray | None:
    """Return the variable from which all wrong claims follow, where each one has a mistake."""
    if state.left:
        return None
    wrong = state.problems[0].wrong
    cases, follow = wrong_variable(state.problems, [Edit()] * len(state.problems), wrong)
    return cases[0].claim if cases and follow == {c.path for c in wrong} else None


def _not_named(cases: list[ClaimCase]) -> str:
    return "; ".join(filter(None, ["no known mistake fits", simple_errors.described(cases)]))


def _merged(found: list[tuple[NamedMistake, int]]) -> list[NamedMistake]:
    """Say in one sentence what is the same of several claims: dW1 and db1 are 2 times …."""
    groups: dict[tuple[str, ...], list[NamedMistake]] = {}
    for one, _ in found:
        text = one.tensors[0] if len(one.tensors) == 1 else ""
        same = one.sentence.startswith((f"{text} is ", f"{text} has ")) if text else False
        rest = one.sentence[len(text) :].split(":")[0] if same else one.sentence
        groups.setdefault((one.name, rest, "" if same else one.yours), []).append(one)
    return [_together(group) for group in groups.values()]


def _together(group: list[NamedMistake]) -> NamedMistake:
    if len(group) == 1:
        return group[0]
    texts = [t for one in group for t in one.tensors]
    first = group[0]
    rest = first.sentence[len(texts[0]) :]
    for single, plural in ((" is ", " are "), (" has ", " have ")):
        if rest.startswith(single):
            rest = plural + rest[len(single) :]
    return msgspec.structs.replace(
        first,
        sentence=listed(texts) + rest,
        tensors=tuple(texts),
        yours=first.yours.replace(texts[0], listed(texts)),
        right=first.right.replace(texts[0], listed(texts)),
        matched=min(n.matched for n in group),
        of=max(n.of for n in group),
        distance=max(n.distance for n in group),
    )


def _first(state: ExplanationState, variable: ClaimedArray | None, follow: frozenset[Path]) -> str:
    """Return what goes wrong first, going back from the loss: the latest of all that is wrong.

    variable, follow: a local variable that is wrong, and claims that are wrong because of it.
    Another variable counts where the mistakes that were found make it what it is; one that a loop
    has overwritten since does not count as wrong.
    """
    problem = state.problems[0]
    made = problem.predicted(state.base(problem)) if state.accepted else {}
    wrong = [
        c
        for c in problem.claims.values()
        if c.path not in follow
        if (made and _wrong_as(c, made[c.path]) if c.inner else not c.right)
    ]
    wrong += as_made(problem, state.base(problem)) if state.accepted else []
    wrong += [variable] if variable is not None else []
    return max(wrong, key=depth_of).text if wrong else ""


def _wrong_as(variable: ClaimedArray, made: Array) -> bool:
    """Whether a local variable is wrong, and is what the mistakes make of it."""
    got, factor = variable.got, variable.right and not close(variable.got, variable.truth)
    return close(got, made) if factor else not variable.right and is_multiple(got, made)
