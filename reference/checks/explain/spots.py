"""A place on the tape at which a line of the catalogue is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Array, Places, read
from reference.checks.explain.problem import ReadingProblem
from reference.diagnosis.mistakes.catalogue import Line, LineName

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
    entries: tuple[Spot, ...] = ()
    """The line entry by entry, where an entry is made of others: h[t] of h[t − 1]."""


def cotangents_of(problem: ReadingProblem, adjoints: list[float]) -> Cotangents:
    """Return how a line reads the cotangents of a sweep: 0 where an entry is a constant."""
    return lambda places: np.where(places < 0, 0.0, problem.scale * read(adjoints, places))
