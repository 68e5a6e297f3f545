"""A mistake as the search sees it: how it changes the sweep, and the words for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Array, Edit, Places, read
from reference.checks.explain.problem import ClaimedArray, ReadingProblem
from reference.diagnosis.mistakes.catalogue import Line, LineName

CLAIMS, WHERE_ALONE = "{claims}", "{alone}"
"""In the words of a hypothesis: the names of what it explains, and what is added where it is in
these claims alone."""


@dataclass(frozen=True)
class Words:
    """The words for a mistake; those of a hypothesis may hold CLAIMS and WHERE_ALONE."""

    name: str
    sentence: str
    yours: str
    right: str
    alone: str = ""
    """What stands for WHERE_ALONE where the other claims are right."""

    def of(self, match: "Match") -> "Words":
        """Return the words for what a hypothesis explains."""
        alone = self.alone if match.alone else ""
        return Words(self.name, *(
            text.replace(WHERE_ALONE, alone).replace(CLAIMS, match.text)
            for text in (self.sentence, self.yours, self.right)
        ))  # fmt: skip


@dataclass(frozen=True)
class Match:
    """What a hypothesis explains: the claims it reproduces, and whether the rest stays right."""

    claims: Sequence[ClaimedArray]
    alone: bool
    """Whether claims that it would change as well are right: it is in these claims only."""
    part: str = ""
    """Which entries it explains, where the others are right: "rows 2 and 3"."""

    @property
    def text(self) -> str:
        """The names of the claims: dW1 and db1."""
        return listed([c.text for c in self.claims])


@dataclass(frozen=True)
class Hypothesis:
    """One mistake in the sweep.

    edit: the sweep's change in a problem, None where it does not apply there. words: the words
    for it, given what it explains. cost: of two that explain the same, the cheaper is taken.
    depth: where in the sweep; the later in the forward, the larger (of the first problem).
    """

    edit: Callable[[ReadingProblem], Edit | None]
    words: Callable[[Match], Words]
    cost: float = 1.0
    depth: int = 0


Cotangents = Callable[[Places], Array]
"""Reads the cotangents of an array from a sweep, on the claims' scale."""


@dataclass(frozen=True)
class Spot:
    """A line on the tape: what it is called in the catalogue, whose cotangent it makes.

    made: the line, given the cotangents of a sweep. texts: the target's names of the catalogue's
    symbols. what: the step in words, "a1 = tanh(z1)". depth: where it stands on the tape.
    """

    key: tuple[str, ...]
    name: LineName
    places: Places
    made: Callable[[Cotangents], Line]
    texts: Mapping[str, str]
    what: str
    right: str = ""
    """The right line in the target's own names, where it is shorter than the catalogue's."""
    depth: int = 0
    unnamed: bool = False
    """Whether the target has no name for z or a."""
    entries: "tuple[Spot, ...]" = ()
    """The line entry by entry, where an entry is made of others: h[t] of h[t − 1]."""


def cotangents_of(problem: ReadingProblem, adjoints: list[float]) -> Cotangents:
    """Return how a line reads the cotangents of a sweep: 0 where an entry is a constant."""
    return lambda places: np.where(places < 0, 0.0, problem.scale * read(adjoints, places))


def listed(texts: Sequence[str]) -> str:
    """Return names as people list them: dW1, db1 and dx."""
    found = list(dict.fromkeys(texts))
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


_WORDS = frozenset("the a an nothing there only it one some in an".split())


def sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with a name."""
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first in _WORDS else text
