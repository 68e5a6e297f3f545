"""What is found out about a wrong gradient, how often it holds, and how factors are written."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Array, Mask
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import (
    ClaimedArray,
    ReadingProblem,
    close,
    close_entries,
    once,
    text_of,
)
from reference.checks.tolerances import DIGITS
from reports.checked import NamedMistake

_PLAIN = {"1": 1.0, "2": 2.0, "1/2": 0.5, "4": 4.0, "1/4": 0.25, "3": 3.0, "1/3": 1 / 3}


@once
def symbols(problem: ReadingProblem) -> dict[str, float]:
    """Return the numbers of a problem that a factor may be made of, by how they are written."""
    outcome = problem.outcome
    found = dict(problem.factors)
    arrays = {**outcome.inputs, **outcome.others, **outcome.outputs, **outcome.values}
    shapes: dict[tuple[int, ...], Path] = {}
    for path, value in arrays.items():
        shapes.setdefault(np.shape(value), path)
    for shape, path in shapes.items():
        for axis, n in enumerate(shape):
            if n > 1:
                found[f"{text_of(path)}.shape[{axis}]"] = float(n)
        if len(shape) > 1:
            found[f"{text_of(path)}.size"] = float(np.prod(shape))
            if len(shape) > 2:
                found[f"{text_of(path)}.shape[-1]·shape[-2]"] = float(shape[-1] * shape[-2])
    for name in [n for n in found if n.startswith(("k", "pool", "size", "kernel"))]:
        found[f"{name}²"] = found[name] ** 2
    return found


def _spelled(problem: ReadingProblem, pairs: bool) -> Iterator[tuple[str, float]]:
    known = {k: v for k, v in symbols(problem).items() if v}
    for a, x in _PLAIN.items():
        yield a, x
    for (name, n), (a, x) in itertools.product(known.items(), _PLAIN.items()):
        before = "" if a == "1" else f"{a}·"
        yield f"{before}{name}", x * n
        yield f"{a}/{name}" if "/" not in a else f"{a}·1/{name}", x / n
        if n > 0 and a == "1":
            yield f"√{name}", math.sqrt(n)
            yield f"1/√{name}", 1 / math.sqrt(n)
            yield f"1 − {name}", 1 - n
            yield f"{name} − 1", n - 1
            yield f"1/(1 − {name})", 1 / (1 - n) if n != 1 else math.nan
            yield f"({name} − 1)/{name}", (n - 1) / n
            yield f"{name}/({name} − 1)", n / (n - 1) if n != 1 else math.nan
    if pairs:
        for (one, n), (other, m) in itertools.permutations(known.items(), 2):
            for a, x in (("", 1.0), ("2·", 2.0), ("1/2·", 0.5)):
                yield f"{a}{one}/{other}", x * n / m
                yield f"{a}{one}·{other}", x * n * m


def spelled(
    problems: Sequence[ReadingProblem], values: Sequence[float], pairs: bool = False
) -> str | None:
    """Return how a factor is written, the same in every problem; None where there is no such way.

    A number that is the same everywhere is written as it is.
    """
    left: list[str] | None = None
    for problem, value in zip(problems, values, strict=True):
        found = [
            text
            for name, x in _spelled(problem, pairs)
            for sign, text in ((1.0, name), (-1.0, f"−{name}"))
            if abs(value - sign * x) <= DIGITS * abs(x)
        ]
        left = found if left is None else [f for f in left if f in found]
        if not left:
            break
    if left:
        return left[0]
    first = values[0]
    if len(values) > 1 and all(abs(v - first) <= DIGITS * abs(first) for v in values):
        return f"{first:.7g}"
    return None


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
