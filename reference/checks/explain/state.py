"""What is known in the course of a search: the problems, what was found, what is left."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from reference.checks.explain.finding import ClaimCase, ExplainedMistake
from reference.checks.explain.graph import Edit
from reference.checks.explain.hypothesis import Hypothesis
from reference.checks.explain.problem import ClaimedArray, ReadingProblem
from reference.checks.routine import Path


@dataclass
class ExplanationState:
    """What was found so far, for one objective."""

    problems: list[ReadingProblem]
    deadline: float
    accepted: list[Hypothesis] = field(default_factory=list)
    named: list[tuple[ExplainedMistake, int]] = field(default_factory=list)
    cost: float = 0.0
    explained: set[Path] = field(default_factory=set)
    first: str = ""

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
