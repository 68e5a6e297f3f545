"""What changed between two runs: before and after an upgrade or a change of the code."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from reports.records import (
    Accuracy,
    Cell,
    ClaimRecord,
    Convention,
    Finding,
    Record,
    grouped,
    of_type,
)
from reports.summary import (
    KINDS,
    MANUAL_WRONG,
    Summary,
    count_of,
    error_text,
    heaviest,
    kind_of,
    label,
    merged,
    sides,
    who,
    worse,
)

Direction = Literal["worse", "better", "other"]
NOTABLE = 10.0
"""A network's worst error counts as changed when it grew or shrank tenfold: less is luck."""
NOTABLE_ULP = 2.0
"""An operation's worst error is measured at the same points each time: twice is no luck."""
SELECTION = (
    "seed",
    "problems",
    "unfinished",
    "dtypes",
    "activations",
    "losses",
    "regimes",
    "architectures",
)
"""Runs that agree in these drew the same problems."""
GONE = "–"
DIGITS = "Same verdict, other digits"

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Change:
    """One difference: where, what it was and what it is."""

    part: str
    what: str
    before: str
    after: str
    direction: Direction = "other"
    at: str = ""  # a problem to look at, "seed:index"


@dataclass(frozen=True)
class Difference:
    """All changes between two runs, the worse ones first in each part."""

    before: Summary
    after: Summary

    @cached_property
    def changes(self) -> list[Change]:
        """The changes; none between a run and itself."""
        found = [
            *self._versions(),
            *self._accuracy(),
            *self._verdicts(),
            *self._findings(),
            *self._worst_errors(),
            *self._conventions(),
            *self._claims(),
            *self._digits(),
        ]
        order = {"worse": 0, "better": 1, "other": 2}
        parts = list(dict.fromkeys(change.part for change in found))
        return sorted(found, key=lambda c: (parts.index(c.part), order[c.direction]))

    @property
    def parts(self) -> dict[str, list[Change]]:
        """The changes by part."""
        return grouped(self.changes, lambda change: change.part)

    @property
    def comparable(self) -> bool:
        """Whether both runs have the same problems, so that counts can be compared."""
        a, b = self.before.run, self.after.run
        sides_of_both = [{oracle.name for oracle in s.present()} for s in (self.before, self.after)]
        return sides_of_both[0] == sides_of_both[1] and all(
            getattr(a, name) == getattr(b, name) for name in SELECTION
        )

    @property
    def got_worse(self) -> int:
        """How many changes are for the worse."""
        return sum(change.direction == "worse" for change in self.changes)

    @property
    def exit_code(self) -> int:
        """1 when something got worse, else 0."""
        return 1 if self.got_worse else 0

    @property
    def headline(self) -> str:
        """The difference in a sentence."""
        if not self.changes:
            return "Nothing changed between the two runs."
        better = sum(change.direction == "better" for change in self.changes)
        rest = len(self.changes) - self.got_worse - better
        counts = [(self.got_worse, "for the worse"), (better, "for the better"), (rest, "neither")]
        first, *others = [(n, what) for n, what in counts if n]
        noun = "change" if first[0] == 1 else "changes"
        text = ", ".join([f"{first[0]:,} {noun} {first[1]}", *(f"{n:,} {w}" for n, w in others)])
        upgrades = [
            f"{change.what} {change.before} → {change.after}"
            for change in self._versions()
            if change.what in map(label, sides(self._oracles)) and GONE not in change.before
        ]
        return f"{', '.join(upgrades) or 'Between the two runs'}: {text}."

    @property
    def sentences(self) -> list[str]:
        """What a maintainer asks first: who is wrong, who loses digits, and in which operation."""
        if not self.changes:
            return []
        if not self.comparable:
            return ["The runs drew different problems: counts are not compared."]
        lines = [
            f"{label(name)[:1].upper()}{label(name)[1:]}: {text}."
            for name in sides(self._oracles)
            if name not in ("complex_step", "certified") and (text := self._side(name))
        ]
        for name in sides({c.what.rpartition(" · ")[2]: None for c in self._accuracy()}):
            moved = [c for c in self._accuracy() if c.what.endswith(f" · {name}")]
            worse_off = [c for c in moved if c.direction == "worse"]
            parts = [
                f"{'less' if group is worse_off else 'more'} accurate in {_operations(group)}"
                for group in (worse_off, [c for c in moved if c.direction == "better"])
                if group
            ]
            lines.append(f"{name}'s own operations are {' and '.join(parts)}.")
        return lines

    @property
    def _oracles(self) -> dict[str, None]:
        return {o.name: None for s in (self.before, self.after) for o in s.run.oracles}

    def _side(self, name: str) -> str:
        """Say in how many problems a side deviates, loses digits or fails, and did before."""
        parts = []
        verbs = {
            "VALUE": "computes another value",
            "DEVIATES": "deviates",
            "PRECISION": "loses digits",
            "CRASHED": "crashed",
        }
        for kind, verb in verbs.items():
            old, new = (s.count(kind, name) for s in (self.before, self.after))
            if old or new or (kind == "DEVIATES" and name == "manual"):
                as_before = "as before" if old == new else f"{old:,} before"
                parts.append(f"{verb} in {count_of(new, 'problem')} ({as_before})")
        return ", ".join(parts)

    def _versions(self) -> Iterable[Change]:
        a, b = self.before.run, self.after.run
        olds, news = ({o.name: o for o in run.oracles} for run in (a, b))
        for name in sides(olds, news):
            old, new = olds.get(name), news.get(name)
            if old != new:
                was, is_now = (
                    GONE
                    if o is None
                    else f"{o.version} {'' if o.status == 'ok' else o.status}".strip()
                    for o in (old, new)
                )
                lost = (
                    old is not None and old.status == "ok" and (new is None or new.status != "ok")
                )
                yield Change("Versions", label(name), was, is_now, "worse" if lost else "other")
        known = {o.lower() for o in (*olds, *news)}
        for key in sorted(a.environment.keys() | b.environment.keys()):
            was, is_now = a.environment.get(key, GONE), b.environment.get(key, GONE)
            if was != is_now and key not in known:
                yield Change("Versions", key, was, is_now)
        for name in ("command", "seed", "problems", "unfinished"):
            if getattr(a, name) != getattr(b, name):
                yield Change("Versions", name, str(getattr(a, name)), str(getattr(b, name)))

    def _verdicts(self) -> Iterable[Change]:
        a, b = self.before.verdicts, self.after.verdicts
        for verdict in sorted(a.keys() | b.keys(), key=lambda v: (-kind_of(v).weight, v)):
            old, new = a.get(verdict, 0), b.get(verdict, 0)
            if old != new:
                step = new - old if self.comparable and _heavy(verdict) else 0
                yield Change("Verdicts", verdict, f"{old:,}", f"{new:,}", _towards(step))

    def _findings(self) -> Iterable[Change]:
        for what, old, new in self._pairs():
            known = [f for f in (old, new) if f is not None]
            if len(set(map(_identity, known))) < len(known):
                continue
            heavy = self.comparable and any(_heavy(f.verdict) for f in known)
            if old is None or new is None:
                wrong = new is not None and kind_of(new.verdict) is MANUAL_WRONG
                step = (heavy or wrong) if old is None else -heavy
            else:
                step = kind_of(new.verdict).weight - kind_of(old.verdict).weight
                if not step and self.comparable and _heavy(new.verdict):
                    step = new.count - old.count
            names = _moved(old, new)
            was, is_now = (GONE if f is None else _in_words(f, names) for f in (old, new))
            yield Change("Findings", what, was, is_now, _towards(step), known[-1].example.at)

    def _digits(self) -> Iterable[Change]:
        """Yield the findings with the same verdict and count whose numbers changed."""
        for what, old, new in self._pairs():
            if old is None or new is None or _identity(old) != _identity(new):
                continue
            was, is_now = _place(old), _place(new)
            if was != is_now:
                yield Change(DIGITS, f"{what} · worst entry", was, is_now)
                continue
            for name in _moved(old, new):
                was, is_now = (f.example.answers.get(name, GONE) for f in (old, new))
                yield Change(DIGITS, f"{what} · {label(name)}", was, is_now, at=new.example.at)

    def _pairs(self) -> Iterable[tuple[str, Finding | None, Finding | None]]:
        """Yield the findings of both runs by fingerprint, the heaviest first."""
        a = _keyed(self.before.findings, _fingerprint)
        b = _keyed(self.after.findings, _fingerprint)
        for key in dict.fromkeys([*b, *a]):
            yield " · ".join(part for part in key[:6] if part), a.get(key), b.get(key)

    def _worst_errors(self) -> Iterable[Change]:
        if not self.comparable:
            return
        a, b = (_by_pair(of_type(s.records, Cell)) for s in (self.before, self.after))
        for key in sorted(a.keys() & b.keys()):
            old, new = a[key], b[key]
            if not _parted(old.worst_scaled, new.worst_scaled, NOTABLE):
                continue
            # An error within the screen may move: it is worse only where the verdict is, too.
            step = kind_of(heaviest(new.verdicts)).weight - kind_of(heaviest(old.verdicts)).weight
            grew = worse(new.worst_scaled, old.worst_scaled)
            direction: Direction = "other"
            if _heavy(heaviest(new.verdicts)) and grew and step >= 0:
                direction = "worse"
            elif _heavy(heaviest(old.verdicts)) and not grew and step <= 0:
                direction = "better"
            yield Change(
                "Worst errors", " · ".join(key), _worst(old), _worst(new), direction, new.worst_at
            )

    def _conventions(self) -> Iterable[Change]:
        a = _keyed(of_type(self.before.records, Convention), _situation)
        b = _keyed(of_type(self.after.records, Convention), _situation)
        if not a or not b:  # swept in one run alone: nothing to compare
            if a or b:
                sizes = [f"{len(rows):,} rows" if rows else "not swept" for rows in (a, b)]
                yield Change("Conventions", "the ledger", sizes[0], sizes[1])
            return
        for key in dict.fromkeys([*b, *a]):
            old, new = a.get(key), b.get(key)
            what = " · ".join(key[:6])
            if old is None or new is None:
                yield Change("Conventions", what, "not swept" if old is None else "swept",
                             "not swept" if new is None else "swept")  # fmt: skip
                continue
            for name in sides(old.answers, new.answers):
                was, is_now = old.answers.get(name, GONE), new.answers.get(name, GONE)
                right = [row.admissible.get(name, True) for row in (old, new)]
                if (was, right[0]) != (is_now, right[1]):
                    direction = _towards(right[0] - right[1])
                    yield Change("Conventions", f"{what} · {label(name)}", was, is_now, direction)

    def _accuracy(self) -> Iterable[Change]:
        a = _keyed(of_type(self.before.records, Accuracy), _measured)
        b = _keyed(of_type(self.after.records, Accuracy), _measured)
        for key in (key for key in b if key in a):
            old, new = a[key], b[key]
            if _parted(old.worst_ulp, new.worst_ulp, NOTABLE_ULP):
                direction: Direction = "worse" if worse(new.worst_ulp, old.worst_ulp) else "better"
                what = " · ".join((*key[:4], label(key[4])))
                yield Change("Accuracy", what, _ulp(old), _ulp(new), direction)

    def _claims(self) -> Iterable[Change]:
        a, b = (
            {(c.article, c.claim): c for c in of_type(s.records, ClaimRecord)}
            for s in (self.before, self.after)
        )
        for key in dict.fromkeys([*b, *a]):
            was = a[key].verdict if key in a else GONE
            is_now = b[key].verdict if key in b else GONE
            if was != is_now:
                yield Change("Articles", " ".join(key), was, is_now)


def _towards(step: int) -> Direction:
    """Return which way a step goes; more is worse."""
    return "worse" if step > 0 else "better" if step < 0 else "other"


def _heavy(verdict: str) -> bool:
    """Whether a verdict is one to worry about: lost digits and all that is worse."""
    return kind_of(verdict).weight >= KINDS["PRECISION"].weight


def _fingerprint(f: Finding) -> tuple[str, ...]:
    return (f.operation, f.step, f.who, f.kind, f.dtype)


def _situation(c: Convention) -> tuple[str, ...]:
    return (c.operation, c.kind, c.situation, c.input, c.quantity, c.dtype)


def _measured(a: Accuracy) -> tuple[str, ...]:
    return (a.operation, a.kind, a.quantity, a.dtype, a.implementation)


def _keyed(records: Iterable[R], key: Callable[[R], tuple[str, ...]]) -> dict[tuple[str, ...], R]:
    """Return the records by key; of several with one key, each after the first has its number."""
    found: dict[tuple[str, ...], R] = {}
    times: dict[tuple[str, ...], int] = {}
    for record in records:
        plain = key(record)
        times[plain] = times.get(plain, 0) + 1
        found[plain if times[plain] == 1 else (*plain, str(times[plain]))] = record
    return found


def _by_pair(cells: Iterable[Cell]) -> dict[tuple[str, ...], Cell]:
    def pair(cell: Cell) -> tuple[str, ...]:
        second = cell.loss if cell.architecture == "dense" else cell.architecture
        return cell.activation, second, cell.dtype

    groups = grouped(cells, pair)
    return {key: total for key, group in groups.items() if (total := merged(group))}


def _identity(f: Finding) -> tuple[str, int]:
    return (f.verdict, f.count)


def _moved(old: Finding | None, new: Finding | None) -> list[str]:
    """Return whose numbers to show: those that changed on the same problem, or else the named."""
    if old is None or new is None or _place(old) != _place(new):
        accused = {name: None for f in (old, new) if f is not None for name in who(f.verdict)}
        return sides(accused)
    was, is_now = old.example.answers, new.example.answers
    return [name for name in sides(was, is_now) if was.get(name) != is_now.get(name)]


def _place(f: Finding) -> str:
    """Return where the example's numbers stand: problem, tensor and entry."""
    entry = f"[{', '.join(map(str, f.example.entry))}]" if f.example.entry else ""
    return f"{f.example.tensor}{entry} in {f.example.at}".strip()


def _in_words(f: Finding, names: Iterable[str]) -> str:
    shown = {label(name): f.example.answers[name] for name in names if name in f.example.answers}
    if shown and f.example.enclosure:
        shown["certified"] = f.example.enclosure.brief
    values = ", ".join(f"{name} {value}" for name, value in shown.items())
    return f"{f.verdict} ×{f.count:,}" + (f" ({values})" if values else "")


def _operations(changes: Iterable[Change]) -> str:
    """Name the operations of accuracy rows, each once."""
    names = list(dict.fromkeys(change.what.partition(" · ")[0] for change in changes))
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _ulp(row: Accuracy) -> str:
    return f"{row.worst_ulp:.3g} ULP" + (f" at {row.worst_input}" if row.worst_input else "")


def _worst(cell: Cell) -> str:
    return f"{error_text(cell.worst_scaled)} {heaviest(cell.verdicts)}".strip()


def _parted(a: float, b: float, notable: float) -> bool:
    """Whether two errors differ by such a factor, or one alone is zero or non-finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.isfinite(a) != math.isfinite(b)
    low, high = sorted((abs(a), abs(b)))
    return high > 0 and (low == 0 or high / low >= notable)
