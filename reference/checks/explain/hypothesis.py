"""A mistake as the search sees it: how it changes the sweep, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reference.checks.explain.graph import Edit
from reference.checks.explain.problem import ClaimedArray, ReadingProblem


@dataclass(frozen=True)
class Words:
    """The words for a mistake."""

    name: str
    sentence: str
    yours: str
    right: str


@dataclass(frozen=True)
class Match:
    """What a hypothesis explains: the claims it reproduces, and whether the rest stays right."""

    claims: Sequence[ClaimedArray]
    alone: bool
    """Whether claims that it would change as well are right: it is in these claims only."""
    part: str = ""
    """Which entries it explains, where the others are right: "rows 2 and 3"."""


@dataclass(frozen=True)
class Hypothesis:
    """One mistake in the sweep.

    key: what it is, the same in every problem. edit: the sweep's change in a problem, None where
    it does not apply there. words: the words for it, given what it explains. cost: of two that
    explain the same, the cheaper is taken. depth: where in the sweep; the later in the forward,
    the larger (of the first problem).
    """

    key: tuple[str, ...]
    edit: Callable[[ReadingProblem], Edit | None]
    words: Callable[[Match], Words]
    cost: float = 1.0
    depth: int = 0
    scalar: bool = True
    """Whether one number for each problem is enough to recognise it."""


def listed(texts: Sequence[str]) -> str:
    """Return names as people list them: dW1, db1 and dx."""
    found = list(dict.fromkeys(texts))
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else "".join(found)


_WORDS = frozenset("the a an nothing there only it one some in an".split())


def sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with a name."""
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first in _WORDS else text
