"""Finds the smallest problem that shows a wrong gradient, with numbers that are easy to read.

Sizes come first (every letter 1, then 2, then as drawn), then small whole numbers in place of
normal ones; after a hit each letter is tried smaller by itself. A problem counts when a gradient
that the check called wrong is wrong there too.
"""

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from reference.balls import Session, values
from reference.checks.allowances import nice_factors
from reference.checks.argument_spec import Spec, sizes_for
from reference.checks.assess import assess
from reference.checks.assessment import Assessment, Row
from reference.checks.deadline import TooSlow, within
from reference.checks.experiment import perform
from reference.checks.names import claim_name, path_name
from reference.checks.outcome import Reading, RunOutcome
from reference.checks.routine import Path
from reference.checks.subject import ReadingSubject
from reference.checks.tolerances import DIGITS, SAME, VISIBLE
from reports.checked import Numbers

MAX_SECONDS = 0.5
_MAX_FAILURES = 12  # runs that raise or have no value, one after another
_DRAWS = 5  # problems of each set of sizes
_MAX_SHOWN = 12  # entries of an array in the sentence
_MAX_SENTENCE = 420

Key = tuple[Path, Path]
Sizes = dict[str, int]


@dataclass
class Smallest:
    """A failing problem: how it is drawn, what it held, which gradients are wrong in it."""

    reading: Reading
    seed: int
    index: int
    sizes: Sizes
    outcome: RunOutcome
    """The run on plain floats."""
    rows: list[Row]
    scale: float

    def sentence(self) -> str:
        """Return its sizes and numbers: "N = 1, D = 1: x = [[1]], dout = [[2]]"."""
        sizes = ", ".join(f"{k} = {n}" for k, n in self.sizes.items())
        return sentence_of(sizes, inputs_of(self.outcome, self.reading))


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


def smallest(
    subject: ReadingSubject,
    seed: int,
    index: int,
    wrong: Collection[Key],
) -> Smallest | None:
    """Return the smallest failing problem of a subject, None where not even `index` fails again.

    index: a problem that fails as it was drawn. wrong: the claims (and what they are of) that
    the check called wrong.
    """
    shrink = _Shrinker(subject, seed, frozenset(wrong), time.process_time() + MAX_SECONDS)
    letters = _letters(subject.reading)
    for style in ("whole", subject.reading.mode.style):
        for sizes in _ladder(subject.reading, letters, seed, index):
            found = shrink.best(style, sizes)
            if found is not None:
                return shrink.narrowed(found, style)
            if shrink.over:
                break
    return shrink.drawn(index, letters)


@dataclass
class _Shrinker:
    subject: ReadingSubject
    seed: int
    wrong: frozenset[Key]
    until: float
    failures: int = 0

    @property
    def over(self) -> bool:
        return self.failures >= _MAX_FAILURES or time.process_time() > self.until

    def best(self, style: str, sizes: Sizes) -> Smallest | None:
        """Return, of a few failing problems of these sizes, one whose numbers are of one size."""
        tries = [self.attempt(style, sizes, draw) for draw in range(_DRAWS)]
        return max((t for t in tries if t is not None), key=_balance, default=None)

    def attempt(self, style: str, sizes: Sizes, index: int) -> Smallest | None:
        """Return the problem of these sizes if it fails."""
        if self.over:
            return None
        reading = self.subject.reading
        fixed = tuple({**sizes, **dict(reading.fixed)}.items())
        mode = replace(reading.mode, style=style)
        return self._run(replace(reading, mode=mode, fixed=fixed), index, sizes)

    def drawn(self, index: int, letters: Sequence[str]) -> Smallest | None:
        """Return a problem as it was drawn."""
        sizes = sizes_for(self.seed, index, self.subject.reading.mode.style)
        sizes |= dict(self.subject.reading.fixed)
        return self._run(self.subject.reading, index, {k: sizes[k] for k in letters})

    def narrowed(self, found: Smallest, style: str) -> Smallest:
        """Make each letter smaller by itself while the problem still fails."""
        for letter in list(found.sizes):
            for size in range(1, found.sizes[letter]):
                sizes = {**found.sizes, letter: size}
                smaller = self.best(style, sizes)
                if smaller is not None:
                    found = smaller
                    break
        return found

    def _run(self, reading: Reading, index: int, sizes: Sizes) -> Smallest | None:
        try:
            with within(2 * MAX_SECONDS):
                with Session() as session:
                    tracked = perform(reading, self.seed, index, session)
                    found = assess(self.subject.objective, tracked)
                plain = perform(reading, self.seed, index)
        except TooSlow:
            self.failures = _MAX_FAILURES
            return None
        except Exception:
            self.failures += 1
            return None
        rows = [] if found is None else self._wrong(found, tracked)
        rows = [replace(r, got=_plain(r, plain)) for r in rows]
        rows = [r for r in rows if visible(r, found.scale if found else 1.0)]
        self.failures = 0 if found is not None else self.failures + 1
        if found is None or not rows:
            return None
        return Smallest(reading, self.seed, index, sizes, plain, rows, found.scale)

    def _wrong(self, found: Assessment, outcome: RunOutcome) -> list[Row]:
        """Return the rows that are wrong here and were wrong before, under the same scale."""
        off = [r for r in found.rows if not r.right]
        if any((r.claim, r.leaf) not in self.wrong for r in off):
            return []
        if found.objective.kind == "implicit":
            factors = nice_factors(outcome)
            settled = factors.get(self.subject.spelling)
            if settled is not None and abs(settled - found.scale) > DIGITS * abs(settled):
                return []
        return [r for r in off if r.got.shape == r.truth.value.shape and r.got.size]


def _plain(row: Row, outcome: RunOutcome) -> Any:
    """Return a claim as plain floats make it, where its shape is the same."""
    try:
        value = np.asarray(values(outcome.claims[row.claim]), dtype=float)
    except (KeyError, TypeError, ValueError):
        return row.got
    return value.reshape(row.got.shape) if value.size == row.got.size else row.got


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


# -- sizes -------------------------------------------------------------------------------------


def _letters(reading: Reading) -> list[str]:
    """Return the letters of a layout that are free, samples first."""
    found: dict[str, None] = {}
    specs: list[Spec] = list(reading.layout.values())
    while specs:
        spec = specs.pop(0)
        for dim in (*spec.dims, spec.high):
            if dim not in ("columns", "rows"):
                found.update(dict.fromkeys(re.findall(r"[A-Z]", dim)))
        specs += spec.parts
    settled = dict(reading.fixed)
    return sorted(
        (k for k in found if k not in settled), key=lambda k: (k != "N", "NDHGCIYX".find(k))
    )


_RUNGS = ((1, 1), (1, 2), (2, 1), (2, 2))  # (samples, every other size)
_WINDOWS: tuple[Sizes, ...] = (
    {"K": 1, "Y": 1, "X": 1},
    {"K": 2, "Y": 2, "X": 2},
    {"K": 2, "Y": 3, "X": 3},
    {},
)


def _ladder(reading: Reading, letters: Sequence[str], seed: int, index: int) -> Iterator[Sizes]:
    """Yield sizes, small ones first, each once: kernel and image together, as they were at last."""
    drawn = sizes_for(seed, index, reading.mode.style)
    seen: list[Sizes] = []
    for samples, others in _RUNGS:
        for window in _WINDOWS:
            small = dict.fromkeys(letters, others) | {"N": samples}
            small |= {k: drawn[k] for k in ("K", "Y", "X")} | window
            sizes = {k: small[k] for k in letters}
            if sizes not in seen:
                seen.append(sizes)
                yield sizes
    yield {k: min(3, drawn[k]) if k not in "KYX" else drawn[k] for k in letters}
    yield {k: drawn[k] for k in letters}


# -- what went in ------------------------------------------------------------------------------


def inputs_of(outcome: RunOutcome, reading: Reading) -> dict[str, object]:
    """Return what went into a run, by name: inputs, parameters, targets, the incoming gradient."""
    every = {**outcome.inputs, **outcome.others}
    found: dict[str, Any] = {path_name(p): values(v) for p, v in every.items() if p[0] != "before"}
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
