"""What can be asked of anything that is checked: its claims beside the truth, problem by problem.

`ReadingSubject` is a user's NumPy code under one reading; the kinds beside it (torch, jax, an
engine of values, a general form, a whole network) answer the same questions in their own way.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from reference.balls import Session
from reference.checks import differences
from reference.checks.assess import assess
from reference.checks.assessment import Assessment, Row
from reference.checks.chosen import Chosen
from reference.checks.experiment import perform
from reference.checks.outcome import RunOutcome
from reference.checks.tolerances import DIGITS, EXTRAPOLATED, SUMMED
from reference.checks.vocabulary import COTANGENT_NAMES, gradient_of


@dataclass
class ProblemCase:
    """One problem: what was claimed and what is true, and what else happened."""

    index: int
    assessment: Assessment
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(kind, text): mutated, dtype, shape, printed …"""
    nodes: int = 0
    """How many numbers the tape held: what it cost."""


class Subject(Protocol):
    """Something that is checked."""

    name: str
    """Its name in the file."""

    def sentence(self) -> str:
        """Return in one line what it is and how it was read."""

    def judged_by(self) -> str:
        """Return what the truth is, and to how many digits: "its own forward, certified"."""

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem and compare every claim with the truth; raises what the target raises."""


def _same_outputs(one: RunOutcome, other: RunOutcome) -> bool:
    return all(
        np.array_equal(np.asarray(v), np.asarray(other.outputs.get(p)), equal_nan=True)
        for p, v in one.outputs.items()
        if np.asarray(v).dtype.kind == "f"
    )


def _before_its_step(row: Row, plain: RunOutcome) -> Any:
    """Return a claim as the code holds it: of a step, the local variable that is its gradient."""
    value: Any = plain.claims.get(row.claim)
    if row.claim[0] != "step":
        return value
    held = (
        v
        for p, v in plain.middle.items()
        if np.shape(v) == np.shape(value) and row.leaf[-1] in gradient_of(p[-1])
    )
    return next(held, value)


class ReadingSubject:
    """A user's NumPy code, under the reading that was found for it."""

    def __init__(self, chosen: Chosen) -> None:
        self.chosen = chosen
        self.reading, self.objective = chosen.reading, chosen.objective
        self.name = chosen.reading.unit.name
        self.spelling = "1"

    def sentence(self) -> str:
        """Return what it is and how it is read."""
        forward = self.reading.forward
        if forward is None:
            return "it computes its forward itself"
        return self.reading.unit.derivative_of(forward)

    def judged_by(self) -> str:
        """Return what the truth is."""
        if self.chosen.differences:
            return (
                f"{self.objective.sentence()}, by differences, to {EXTRAPOLATED} digits "
                "(its forward cannot run on certified numbers)"
            )
        if self.objective.kind == "implicit" and self.spelling != "1":
            return f"{self.objective.sentence()}, times {self.spelling}, certified"
        return f"{self.objective.sentence()}, certified"

    def remarks(self) -> list[str]:
        """Return what the reading itself tells."""
        found = self._of_the_binding()
        if self.chosen.narrow:
            found.append(
                "read with one output; with several, all gradients would be off by one factor: "
                "the loss and its gradient divide by different numbers"
            )
        other = self.chosen.other
        if other is None:
            return found
        return [
            *found,
            f"its gradients are those of {other.objective.sentence()}: the value of the loss that "
            "the code computes is that of another function, so one of the two is not as intended",
        ]

    def _of_the_binding(self) -> list[str]:
        """Return what is special about the gradient that the backward was given."""
        given, back = dict(self.reading.binding), self.reading.unit.backward
        if "cotangent:single:" in given.values():
            return [
                "it is right where one entry of the incoming gradient is not zero; it skips zeros"
            ]
        return [
            f"read with {p.name} = {p.default}, its default: any other {p.name} is left out"
            for p in back.parameters
            if self.reading.forward is not None
            and p.name.lower() in COTANGENT_NAMES
            and p.default in (1, 1.0)
            and p.name not in given
        ]

    def case(self, seed: int, index: int) -> ProblemCase:
        """Run one problem on the tape and compare every claim with the certified gradient."""
        if self.chosen.differences:
            found, nodes = differences.assessed(self.reading, seed, index, self.objective), 3_000
        else:
            with Session() as session:
                outcome = perform(self.reading, seed, index, session)
                found = assess(self.objective, outcome)
            nodes = session.nodes
        if found is None:
            raise ArithmeticError("the loss has no value here")
        case = ProblemCase(index, found, nodes=nodes)
        self._with_floats(seed, case)
        return case

    def _with_floats(self, seed: int, case: ProblemCase) -> None:
        """Run the same problem on plain floats; note changed inputs and lost digits."""
        plain = perform(self.reading, seed, case.index)
        for name in dict.fromkeys(plain.mutated):
            kind = "overwrites" if name == "the incoming gradient" else "mutated"
            case.faults.append((kind, f"the backward changes {name} in place"))
        for row in case.assessment.rows:
            value = _before_its_step(row, plain)
            dtype = getattr(value, "dtype", np.dtype(np.float64))
            if dtype in (np.float32, np.float16):
                case.faults.append(
                    ("dtype", f"{'.'.join(row.claim)} is {dtype}, its input float64")
                )
        if self.reading.forward is not None and self.reading.forward.bound and case.index < 2:
            self._after_another(seed, case, plain)

    def _after_another(self, seed: int, case: ProblemCase, plain: RunOutcome) -> None:
        """Ask again after a forward on other numbers: an old cache must not be used."""
        again = perform(self.reading, seed, case.index, warm=True)
        if not _same_outputs(plain, again):
            return  # it draws a mask of its own each time
        for row in case.assessment.rows:
            one, other = plain.claims.get(row.claim), again.claims.get(row.claim)
            if (
                row.right
                and one is not None
                and other is not None
                and not np.array_equal(np.asarray(one), np.asarray(other), equal_nan=True)
                and not np.allclose(one, other, rtol=SUMMED, atol=DIGITS)
            ):
                case.faults.append(
                    (
                        "stale",
                        f"{'.'.join(row.claim)} is right after the first forward and wrong after "
                        "another one: the backward uses what the first forward kept",
                    )
                )
