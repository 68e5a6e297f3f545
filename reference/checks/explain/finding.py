"""What is found out about a wrong gradient, and the bookkeeping of how often it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import ClaimedArray, ReadingProblem, close, close_entries
from reference.checks.routine import Path
from reports.checked import NamedMistake

ENOUGH = 3
"""A name is given when it reproduces the claim in at least so many problems that can tell."""


@dataclass(frozen=True)
class Explanation:
    """Which mistakes make a wrong gradient, and where.

    first: the claim or variable where it goes wrong first, going back from the loss; "" where
    that is not known. described: (tensor, words) where no name fits.
    """

    first: str = ""
    named: tuple[NamedMistake, ...] = ()
    described: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ClaimCase:
    """One claim in one problem, with what it would be so far (the truth, or after a mistake)."""

    problem: ReadingProblem
    claim: ClaimedArray
    base: Array

    @property
    def off(self) -> bool:
        """Whether it differs from what it would be so far."""
        return not close(self.claim.got, self.base)

    @property
    def wrong(self) -> Mask:
        """Where it differs."""
        return ~close_entries(self.claim.got, self.base)


@dataclass(frozen=True)
class Support:
    """In how many problems something holds."""

    matched: int
    of: int
    distance: float

    @property
    def enough(self) -> bool:
        """Whether it holds in 3 problems, or in all where fewer can tell, and in most."""
        return self.matched >= min(ENOUGH, self.of) > 0 and self.matched >= 0.7 * self.of


def evidence(cases: Sequence[ClaimCase], predicted: Sequence[Array | None]) -> Support:
    """Count the problems in which a prediction is the claim; those count where it could fail."""
    matched, of, worst = 0, 0, 0.0
    for case, value in zip(cases, predicted, strict=True):
        if value is None or value.shape != case.base.shape or close(value, case.base):
            continue
        if not case.off:
            continue
        of += 1
        if close(case.claim.got, value):
            matched += 1
            worst = max(worst, distance(case.claim.got, value))
    return Support(matched, of, worst)


def distance(got: Array, other: Array) -> float:
    """Return the largest difference, relative to the largest entry."""
    size = float(np.max(np.abs(other), initial=0.0))
    return float(np.max(np.abs(got - other), initial=0.0)) / size if size else 0.0


def named(words: Words, tensors: Sequence[str], found: Support) -> NamedMistake:
    """Return a mistake with the evidence for it."""
    text = words.name, words.sentence, words.yours, words.right
    each = tuple(dict.fromkeys(tensors))
    return NamedMistake(*text, each, found.matched, found.of, found.distance)


Predictions = Mapping[Path, Array]
Finding = Words | tuple[Words, Support] | None
"""What a claim is of the right one, with the evidence where not every case was compared."""
