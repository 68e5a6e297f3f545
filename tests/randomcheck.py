"""Checks random targets in this process and counts the results."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from injected_catalogue import InjectedFile, injected_files
from randomplans import Injected, RandomTarget
from randomtargets import target

from reference.checks.results import CheckRequest, Event, InternalError, PartFinished, Refused
from reference.checks.results.records import Part
from reference.checks.session import serve

PROBLEMS = 4
PROBLEMS_TO_EXPLAIN = 8
"""A name needs three problems that can tell it apart; a person's check tries twenty."""


@dataclass
class Said:
    """The result of checking one source."""

    verdict: str
    """right, wrong, failed, unchecked"""
    text: str
    """Why, or how the mistake is named."""


@dataclass
class Counts:
    """What came of many targets."""

    right: Counter[str] = field(default_factory=Counter)
    accused: list[tuple[int, str, Said]] = field(default_factory=list)
    unchecked: list[tuple[int, str, Said]] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[int, int, str, Said]] = field(default_factory=list)
    unnamed: list[tuple[int, int, str, Said]] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        """Add the counts of other targets."""
        for counter in ("right", "injected", "found", "named"):
            getattr(self, counter).update(getattr(other, counter))
        for rows in ("accused", "unchecked", "missed", "unnamed"):
            getattr(self, rows).extend(getattr(other, rows))


def checked(source: str, problems: int = PROBLEMS, name: str = "target") -> Said:
    """Return what a check says of a source."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.py"
        file.write_text(source, encoding="utf-8")
        events: list[Event] = []
        serve(CheckRequest(str(file), problems=problems), events.append)
    for event in events:
        if isinstance(event, Refused | InternalError):
            return Said("failed", f"{type(event).__name__}: {event.text}")
    parts = {e.index: e.part for e in events if isinstance(e, PartFinished)}
    for verdict in ("wrong", "failed", "unchecked"):
        found = [p for p in parts.values() if p.verdict == verdict]
        if found:
            return Said(verdict, " | ".join(map(_text, found)))
    return Said("right" if parts else "unchecked", "" if parts else "nothing was found")


def _text(part: Part) -> str:
    named = [f"{m.name}: {m.sentence}" for m in part.mistakes] + [
        f"(described) {t}: {d}" for t, d in part.described
    ]
    faults = [f.text for f in part.faults]
    return "; ".join([*named, *faults, *([part.why] if part.why else [])])


def names_it(injected: Injected, outcome: Said) -> bool:
    """Whether an explanation says what the mistake is."""
    if outcome.verdict == "failed":
        return bool(outcome.text)
    return bool(re.search(injected.pattern, outcome.text, re.I))


def check_right(seed: int) -> Counts:
    """Check one right target."""
    made = target(seed)
    counts = Counts()
    outcome = checked(made.source)
    if outcome.verdict == "right":
        counts.right[made.family] += 1
    elif outcome.verdict == "unchecked":
        counts.unchecked.append((seed, made.family, outcome))
    else:
        counts.accused.append((seed, made.family, outcome))
    return counts


def check_injected(seed: int) -> Counts:
    """Check one target with one of its mistakes; which one follows from the seed."""
    made = target(seed)
    counts = Counts()
    if not made.mistakes:
        return counts
    which = seed % len(made.mistakes)
    injected = made.mistakes[which]
    outcome = checked(injected.source, PROBLEMS_TO_EXPLAIN)
    counts.injected[injected.kind] += 1
    if outcome.verdict in ("wrong", "failed"):
        counts.found[injected.kind] += 1
        if names_it(injected, outcome):
            counts.named[injected.kind] += 1
        else:
            counts.unnamed.append((seed, which, injected.kind, outcome))
    else:
        counts.missed.append((seed, which, injected.kind, outcome))
    return counts


_DTYPES = {"_in_single_precision": "float32", "_in_half_precision": "float16"}


def check_file(one: InjectedFile) -> Counts:
    """Check a mistake of the catalogue in its file, and the same file without it.

    It counts as named when the check gives it the catalogue's own name; of a type with fewer
    digits, when the fault names the type.
    """
    counts = Counts()
    right, outcome = checked(one.right), checked(one.wrong, PROBLEMS_TO_EXPLAIN)
    place = f"{one.name} in {one.operation}"
    if right.verdict == "right":
        counts.right[place] += 1
    elif right.verdict == "unchecked":
        counts.unchecked.append((one.seed, place, right))
    else:
        counts.accused.append((one.seed, place, right))
    counts.injected[one.name] += 1
    if outcome.verdict not in ("wrong", "failed"):
        counts.missed.append((one.seed, 0, place, outcome))
        return counts
    counts.found[one.name] += 1
    dtype = next((d for part, d in _DTYPES.items() if one.name.endswith(part)), None)
    if re.search(rf"\b{one.name}: ", outcome.text) or (dtype and f" is {dtype}," in outcome.text):
        counts.named[one.name] += 1
    else:
        counts.unnamed.append((one.seed, 0, place, outcome))
    return counts


def run_catalogue(seed: int, every: int = 1, processes: int = 1) -> Counts:
    """Check the catalogue's files in the dialects of a seed, or every so-many-th of them."""
    files = list(injected_files(seed))[seed % every :: every]
    total = Counts()
    if processes == 1:
        for counts in map(check_file, files):
            total.add(counts)
        return total
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for counts in pool.map(check_file, files, chunksize=4):
            total.add(counts)
    return total


def run(right: Iterable[int], injected: Iterable[int], processes: int = 1) -> Counts:
    """Check right targets and mistakes by seed, on several processes."""
    total = Counts()
    if processes == 1:
        for counts in (*map(check_right, right), *map(check_injected, injected)):
            total.add(counts)
        return total
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for counts in pool.map(check_right, right, chunksize=4):
            total.add(counts)
        for counts in pool.map(check_injected, injected, chunksize=4):
            total.add(counts)
    return total


def source_of(made: RandomTarget, which: int | None = None) -> str:
    """Return a target's source, or that of one of its mistakes."""
    return made.source if which is None else made.mistakes[which].source
