"""What changed between two runs: before and after an upgrade, or a change of one's own code."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

from reports.html import render_page
from reports.markdown import escape, markdown_table
from reports.records import Accuracy, Cell, Claim, Convention, Finding, Record, of_type
from reports.summary import (
    KINDS,
    Summary,
    error_text,
    heaviest,
    kind_of,
    label,
    merged,
    sides,
    worse,
)
from reports.text import one_line

Direction = Literal["worse", "better", "other"]
SHOWN = 200
NOTABLE = 10.0
"""A worst error counts as changed when it grew or shrank tenfold: less is the luck of rounding."""
MARKS: Mapping[Direction, str] = {"worse": "▲", "better": "▼", "other": "·"}
GONE = "–"

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
            *self._verdicts(),
            *self._findings(),
            *self._worst_errors(),
            *self._conventions(),
            *self._accuracy(),
            *self._claims(),
        ]
        order = {"worse": 0, "better": 1, "other": 2}
        parts = list(dict.fromkeys(change.part for change in found))
        return sorted(found, key=lambda c: (parts.index(c.part), order[c.direction]))

    @property
    def parts(self) -> dict[str, list[Change]]:
        """The changes by part."""
        return {
            part: [change for change in self.changes if change.part == part]
            for part in dict.fromkeys(change.part for change in self.changes)
        }

    @property
    def comparable(self) -> bool:
        """Whether both drew the same problems, so that counts may be set against each other."""
        a, b = self.before.run, self.after.run
        return all(
            getattr(a, name) == getattr(b, name)
            for name in ("seed", "problems", "unfinished", "filters", "dtypes")
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
        counts = [
            (self.got_worse, "got worse"),
            (better, "got better"),
            (rest, "changed otherwise"),
        ]
        said = ", ".join(f"{n:,} {what}" for n, what in counts if n)
        note = (
            "" if self.comparable else " The runs drew different problems: counts are not compared."
        )
        return f"Between the two runs {said}.{note}"

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
            if old == new:
                continue
            direction: Direction = "other"
            if self.comparable and _heavy(verdict):
                direction = "worse" if new > old else "better"
            yield Change("Verdicts", verdict, f"{old:,}", f"{new:,}", direction)

    def _findings(self) -> Iterable[Change]:
        a = _keyed(self.before.findings, _fingerprint)
        b = _keyed(self.after.findings, _fingerprint)
        for key in dict.fromkeys([*b, *a]):
            old, new = a.get(key), b.get(key)
            what = " · ".join(part for part in key[:6] if part)
            if old is None and new is not None:
                direction: Direction = "worse" if _heavy(new.verdict) else "other"
                yield Change("Findings", what, GONE, _said(new), direction, new.example.at)
            elif new is None and old is not None:
                direction = "better" if _heavy(old.verdict) else "other"
                yield Change("Findings", what, _said(old), GONE, direction, old.example.at)
            elif old is not None and new is not None and _told(old) != _told(new):
                step = kind_of(new.verdict).weight - kind_of(old.verdict).weight
                if not step and self.comparable and _heavy(new.verdict):
                    step = new.count - old.count
                direction = "worse" if step > 0 else "better" if step < 0 else "other"
                yield Change("Findings", what, _said(old), _said(new), direction, new.example.at)

    def _worst_errors(self) -> Iterable[Change]:
        if not self.comparable:
            return
        a, b = (_by_pair(of_type(s.records, Cell)) for s in (self.before, self.after))
        for key in sorted(a.keys() & b.keys()):
            old, new = a[key], b[key]
            if not _tenfold(old.worst_scaled, new.worst_scaled):
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
                    direction: Direction = "other"
                    if right[0] != right[1]:
                        direction = "better" if right[1] else "worse"
                    yield Change("Conventions", f"{what} · {label(name)}", was, is_now, direction)

    def _accuracy(self) -> Iterable[Change]:
        a = _keyed(of_type(self.before.records, Accuracy), _measured)
        b = _keyed(of_type(self.after.records, Accuracy), _measured)
        for key in (key for key in b if key in a):
            old, new = a[key], b[key]
            if _tenfold(old.worst_ulp, new.worst_ulp):
                direction: Direction = "worse" if worse(new.worst_ulp, old.worst_ulp) else "better"
                what = " · ".join((*key[:4], label(key[4])))
                yield Change(
                    "Accuracy",
                    what,
                    f"{old.worst_ulp:.3g} ULP",
                    f"{new.worst_ulp:.3g} ULP",
                    direction,
                )

    def _claims(self) -> Iterable[Change]:
        a, b = (
            {(c.article, c.claim): c for c in of_type(s.records, Claim)}
            for s in (self.before, self.after)
        )
        for key in dict.fromkeys([*b, *a]):
            was = a[key].verdict if key in a else GONE
            is_now = b[key].verdict if key in b else GONE
            if was != is_now:
                yield Change("Articles", " ".join(key), was, is_now)


def render_diff_text(difference: Difference) -> str:
    """Return the difference for a terminal."""
    lines = [one_line(difference.headline)]
    for part, changes in difference.parts.items():
        lines += ["", f"{part} ({len(changes):,})"]
        for change in changes[:SHOWN]:
            where = f"  [{change.at}]" if change.at else ""
            said = f"{change.what}: {change.before} → {change.after}{where}"
            lines.append(f"  {MARKS[change.direction]} {one_line(said, 400)}")
        lines += _rest(changes)
    return "\n".join(lines) + "\n"


def render_diff_markdown(difference: Difference) -> str:
    """Return the difference as Markdown, for a pull request."""
    parts = [f"## {escape(difference.headline)}"]
    for part, changes in difference.parts.items():
        rows = [
            (
                MARKS[c.direction]
                if c.direction == "other"
                else f"{MARKS[c.direction]} {c.direction}",
                escape(c.what),
                escape(c.before),
                escape(c.after),
            )
            for c in changes[:SHOWN]
        ]
        parts += [f"### {part}", markdown_table(("", "What", "Before", "After"), rows, "llll")]
        parts += _rest(changes)
    return "\n\n".join(parts) + "\n"


def render_diff_html(difference: Difference) -> str:
    """Return the difference as a page of the report's look."""
    shown = {
        part: [
            replace(
                change,
                what=one_line(change.what, 1_000),
                before=one_line(change.before, 1_000),
                after=one_line(change.after, 1_000),
                at=one_line(change.at, 80),
            )
            for change in changes[:SHOWN]
        ]
        for part, changes in difference.parts.items()
    }
    left_out = {part: max(0, len(changes) - SHOWN) for part, changes in difference.parts.items()}
    return render_page(
        "diff.html",
        headline=one_line(difference.headline, 600),
        state="wrong" if difference.got_worse else "right" if not difference.changes else "open",
        mark="▲" if difference.got_worse else "=" if not difference.changes else "~",
        parts=shown,
        left_out=left_out,
        marks=MARKS,
        runs=[
            [one_line(t, 400) for t in (name, s.run.command, s.headline, s.compared())]
            for name, s in (("Before", difference.before), ("After", difference.after))
        ],
    )


def _rest(changes: list[Change]) -> list[str]:
    rest = len(changes) - SHOWN
    return [f"  … and {rest:,} more"] if rest > 0 else []


def _heavy(verdict: str) -> bool:
    """Whether a verdict is one to worry about: lost digits and all that is worse."""
    return kind_of(verdict).weight >= KINDS["PRECISION"].weight


def _fingerprint(f: Finding) -> tuple[str, ...]:
    return (f.operation, f.step, f.regime, f.who, f.kind, f.dtype)


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


def _by_pair(cells: Iterable[Cell]) -> dict[tuple[str, str, str], Cell]:
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.activation, cell.loss, cell.dtype), []).append(cell)
    return {key: total for key, group in groups.items() if (total := merged(group))}


def _told(f: Finding) -> tuple[str, int, Mapping[str, str]]:
    return (f.verdict, f.count, f.example.answers)


def _said(f: Finding) -> str:
    values = ", ".join(
        f"{label(name)} {f.example.answers[name]}" for name in sides(f.example.answers)
    )
    return f"{f.verdict} ×{f.count:,}" + (f" ({values})" if values else "")


def _worst(cell: Cell) -> str:
    return f"{error_text(cell.worst_scaled)} {heaviest(cell.verdicts)}".strip()


def _tenfold(a: float, b: float) -> bool:
    """Whether two errors differ tenfold, or one alone is zero or non-finite."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.isfinite(a) != math.isfinite(b)
    low, high = sorted((abs(a), abs(b)))
    return high > 0 and (low == 0 or high / low >= NOTABLE)
