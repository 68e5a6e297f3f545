"""Finds the smallest problem that shows a wrong gradient, with numbers that are easy to read.

A subject has small versions of itself, the smallest first; after a hit each letter is tried smaller
by itself. A problem counts when a gradient that the check called wrong is wrong there too. At a
kink the forward has no gradient, so that a problem there shows nothing of a mistake: such a problem
is only taken where all small ones are of this kind.
"""

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reference.balls import values
from reference.checks.code import TooSlow, claim_name, path_name, within
from reference.checks.comparing import Row
from reference.checks.judging import Key, ProblemCase, ReadingSubject, Subject
from reference.checks.running import Reading, RunOutcome
from reference.checks.tolerances import SAME, VISIBLE
from reports.checked import Numbers

_MAX_FAILURES = 12  # runs that raise or have no value, one after another
_MAX_SHOWN = 12  # entries of an array in the sentence
_MAX_SENTENCE = 420


@dataclass(frozen=True)
class Smallest:
    """A failing problem: who was asked, what came of it, which gradients are wrong in it."""

    subject: Subject
    seed: int
    case: ProblemCase
    rows: list[Row]

    @property
    def scale(self) -> float:
        """The factor of all right gradients."""
        return self.case.assessment.scale


def smallest(subject: Subject, seed: int, index: int, wrong: Collection[Key]) -> Smallest | None:
    """Return the smallest failing problem of a subject, None where no small version fails.

    index: a problem that fails as it was drawn. wrong: the claims (and what they are of) that
    the check called wrong.
    """
    shrink = _Shrinker(seed, frozenset(wrong), time.process_time() + subject.patience)
    for one in subject.smaller(seed, index, wrong):
        found = shrink.best(one)
        if found is not None:
            return shrink.narrowed(found)
    return shrink.at_a_kink


@dataclass
class _Shrinker:
    seed: int
    wrong: frozenset[Key]
    until: float
    failures: int = 0
    at_a_kink: Smallest | None = None
    """The first problem that fails at a kink."""

    def best(self, one: Subject) -> Smallest | None:
        """Return, of a few failing problems of a version, one whose numbers are of one size."""
        tries = (self.attempt(one, index) for index in one.draws)
        return max((t for t in tries if t is not None), key=_balance, default=None)

    def narrowed(self, found: Smallest) -> Smallest:
        """Make each letter smaller by itself while the problem still fails."""
        for letter in found.subject.letters if len(found.subject.draws) > 1 else ():
            for size in range(1, found.subject.letters[letter]):
                sizes = {**found.subject.letters, letter: size}
                smaller = self.best(found.subject.with_sizes(sizes))
                if smaller is not None:
                    found = smaller
                    break
        return found

    def attempt(self, one: Subject, index: int) -> Smallest | None:
        """Return a problem if it fails; what is tried once alone is tried when time is over too."""
        over = self.failures >= _MAX_FAILURES or time.process_time() > self.until
        if over and len(one.draws) > 1:
            return None
        limit: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if isinstance(one, ReadingSubject):  # a compiler must not be interrupted
            limit = within(2 * one.patience)
        try:
            with limit:
                case = one.small_case(self.seed, index)
        except TooSlow:
            self.failures = _MAX_FAILURES
            return None
        except Exception:  # the target refuses these sizes
            self.failures += 1
            return None
        self.failures, scale = 0, case.assessment.scale
        off = [r for r in case.assessment.rows if not r.right]
        rows = [r for r in off if r.got.shape == r.truth.value.shape and visible(r, scale)]
        known = all((r.claim, r.leaf) in self.wrong for r in off)
        found = Smallest(one, self.seed, case, rows) if rows and known else None
        if found is not None and case.at_a_kink:
            self.at_a_kink = self.at_a_kink or found
            return None
        return found


def visible(row: Row, scale: float) -> bool:
    """Whether the difference is one that a reader sees, and both sides are what they are."""
    truth = row.truth.value * scale
    with np.errstate(invalid="ignore"):
        off = np.abs(row.got - truth) > VISIBLE * np.max(np.abs(truth), initial=SAME)
    return bool(np.any(off | ~np.isfinite(row.got))) and bool(np.isfinite(truth).all())


def _balance(found: Smallest) -> float:
    """Return how alike in size the given and the right gradients are: 1, or less."""
    shares = []
    for row in found.rows:
        both = row.got, row.truth.value * found.scale
        sizes = sorted(float(np.max(np.abs(a), initial=0.0)) for a in both)
        shares.append(sizes[0] / sizes[1] if np.isfinite(sizes[1]) and sizes[1] else 0.0)
    return min(1.0, 2 * min(shares))


# -- in words ---------------------------------------------------------------------------------


def numbers_of(rows: Sequence[Row], scale: float) -> tuple[Numbers, ...]:
    """Return gradients entry by entry: as given, and as they should be."""
    return tuple(
        Numbers(
            claim_name(r.claim, r.leaf),
            tuple(r.got.shape),
            tuple(map(float, r.got.flat)),
            tuple(float(v) * scale for v in r.truth.value.flat),
        )
        for r in rows
    )


def sentence_of(sizes: str, given: Mapping[str, object]) -> str:
    """Return sizes and numbers in one line, as many as are read easily."""
    shown, length = [], len(sizes)
    for name, value in given.items():
        text = f"{name} = {spell(value)}"
        length += len(text) + 2
        if length > _MAX_SENTENCE:
            shown.append("…")
            break
        shown.append(text)
    return ": ".join(p for p in (sizes, ", ".join(shown)) if p)


def inputs_of(outcome: RunOutcome, reading: Reading) -> dict[str, object]:
    """Return what went into a run, by name: inputs, parameters, targets, the incoming gradient."""
    every = {**outcome.inputs, **outcome.others}
    found: dict[str, object] = {path_name(p): values(v) for p, v in every.items()}
    found |= {k: v for k, v in outcome.numbers.items() if k not in found}
    names = [name for name, source in reading.binding if source.startswith("cotangent")]
    names, count = names or ["dout"], len(outcome.cotangents)
    if count > len(names):
        names = [f"{names[0]}[{number}]" for number in range(count)]
    return found | {
        name: given for name, (_, given) in zip(names, outcome.cotangents, strict=False)
    }


def spell(value: object) -> str:
    """Return numbers as a person writes them, a large array by its shape."""
    array = np.asarray(value)
    if array.size > _MAX_SHOWN:
        return f"({' × '.join(map(str, array.shape))} numbers)"
    return _nested(array.tolist())


def _nested(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_nested, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
