"""What is known in the course of a search, and the sentences that come of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

from reference.checks.code import Path
from reference.checks.explain import simple_errors
from reference.checks.explain.finding import ENOUGH, ClaimCase, Explanation
from reference.checks.explain.graph import Array, Edit
from reference.checks.explain.hypothesis import Hypothesis, listed
from reference.checks.explain.problem import ClaimedArray, ReadingProblem, close, is_multiple
from reports.checked import NamedMistake


@dataclass
class ExplanationState:
    """What was found so far, for one objective."""

    problems: list[ReadingProblem]
    deadline: float
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
        """Whether the time is over."""
        return time.process_time() > self.deadline


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
    variable, follow = _variable(state)
    first = _first(state, variable, follow)
    described = {c.text: _not_named(state, c) for c in state.left if c.path not in follow}
    if variable is not None:
        names = listed([c.text for c in state.left if c.path in follow])
        how = f"{_not_named(state, variable)}; {names} would be right if {variable.text} were"
        described = {variable.text: how} | described
    elif first in described:
        described[first] += f"; it may also be in a variable that {first} is computed from"
    return Explanation(first, tuple(ordered), tuple(described.items()))


def _not_named(state: ExplanationState, claim: ClaimedArray) -> str:
    how = simple_errors.described(cases_of(state, claim.path))
    return "; ".join(filter(None, ["no known mistake fits", how]))


def _variable(state: ExplanationState) -> tuple[ClaimedArray | None, frozenset[Path]]:
    """Return the local variable from which what is left follows, and the claims that follow.

    These claims are what a right backward makes of the variable's own value, in every problem that
    has the variable (where all z > 0, relu(z) and z are one array). Of several variables it is the
    one nearest to the loss.
    """
    left = state.left
    inner = [c for c in state.problems[0].claims.values() if c.inner and not c.right]
    for variable in sorted(inner, key=depth_of, reverse=True) if left else ():
        follow, seen = {c.path for c in left}, 0
        for problem in state.problems:
            made = _continued(state, problem, variable.path)
            seen += bool(made)
            if made:
                follow = {p for p in follow if p in made and close(problem.claims[p].got, made[p])}
        if follow and seen >= min(ENOUGH, len(state.problems)):
            return variable, frozenset(follow)
    return None, frozenset()


def _continued(state: ExplanationState, problem: ReadingProblem, path: Path) -> dict[Path, Array]:
    """Return what the claims would be if the sweep went on with the backward's own variable."""
    variable = problem.claims.get(path)
    if variable is None:
        return {}
    places = variable.places.ravel().tolist()
    given = (variable.got / problem.scale).ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        for place, value in zip(places, given, strict=True):
            adjoints[place] = value

    return problem.predicted(state.base(problem) | Edit.at(places, hook))


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
        if not c.right and c.path not in follow
        if not c.inner or c is variable or (made and is_multiple(c.got, made[c.path]))
    ]
    return max(wrong, key=depth_of).text if wrong else ""
