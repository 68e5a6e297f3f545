"""What a check found, as text for a terminal, a table for a notebook, and JSON."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from manual_backprop.network import Problem
from reference.diagnose import Diagnosis

_WIDTH = 98  # columns: one screen
_NAMED_SHOWN = 3  # mistakes told at length; more are listed by name


@dataclass(frozen=True)
class Fault:
    """Something a target did beside a wrong gradient, and the problem that provoked it."""

    kind: str
    """raised, hung, died, exited, shape, dtype, mutated, printed, missing, forward"""
    text: str
    problem: str
    count: int = 1
    fatal: bool = True
    """Whether the gradient cannot be called right with it."""


@dataclass(frozen=True)
class Worst:
    """The entry that is furthest off: where, what was given, what it is."""

    at: str
    tensor: str
    entry: tuple[int, ...]
    given: float
    truth: float
    allowed: float | None = None

    def times(self, multiple: float) -> "Worst":
        """Return it for a multiple of the loss."""
        allowed = None if self.allowed is None else self.allowed * multiple
        given, truth = self.given * multiple, self.truth * multiple
        return replace(self, given=given, truth=truth, allowed=allowed)

    def sentence(self) -> str:
        """Return both values."""
        where = f"{self.tensor}{list(self.entry)}" if self.entry else self.tensor
        bound = f", which may be off by {self.allowed:.1e}" if self.allowed else ""
        return (
            f"{where} of problem {self.at}: yours {self.given:.17g}, right {self.truth:.17g}{bound}"
        )


@dataclass(frozen=True)
class Shrunk:
    """The smallest problem that still fails, and where the bug cannot be seen."""

    problem: Problem | None
    sentence: str
    invisible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One recognised part of a target and what was found of it."""

    form: str
    what: str
    matched: str
    problems: int
    right: int
    wrong: int
    judged: Mapping[str, int]
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    worst: Worst | None = None
    shrunk: Shrunk | None = None
    script: str | None = field(default=None, repr=False)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Our names of tensors -> the target's own: dx, dw, db."""

    @property
    def ok(self) -> bool:
        """Whether every entry of every problem is right and nothing else went wrong."""
        return not self.wrong and not any(f.fatal for f in self.faults) and self.right > 0

    def lines(self) -> list[str]:
        """Return what was found, one screen of it at most, under the target's own names."""
        return [self.own_names(line) for line in self._lines()]

    def own_names(self, text: str) -> str:
        """Return a text with the target's own names of the tensors."""
        for ours, theirs in self.aliases.items():
            text = text.replace(ours, theirs)
        return text

    def _lines(self) -> list[str]:
        lines = wrap(f"{self.what}: {self.form}, {self.matched}", 0)
        if self.ok:
            count = f"{self.right} problem" + "s" * (self.right != 1)
            lines += wrap(f"right on {count}, every entry, judged against {self.against}", 2)
        else:
            if self.wrong:
                lines += wrap(f"WRONG in {self.wrong} of {self.problems} problems", 2)
            else:
                though = "though right" if self.right == self.problems else "right"
                lines += wrap(f"FAILED: {though} on {self.right} of {self.problems} problems", 2)
            lines += self._findings()
        for fault in self.faults:
            times = f", in {fault.count} of {self.problems} problems" if fault.count > 1 else ""
            mark = "" if fault.fatal else "remark: "
            lines += wrap(f"{mark}{fault.kind}: {fault.text} (problem {fault.problem}{times})", 2)
        for remark in self.remarks:
            lines += wrap(f"remark: {remark}", 2)
        if not self.ok and self.against:
            lines += wrap(f"judged against {self.against}", 2)
        return lines

    def _findings(self) -> list[str]:
        lines: list[str] = []
        diagnosis = self.diagnosis
        if diagnosis is not None:
            if diagnosis.location:
                lines += wrap(diagnosis.location.sentence(), 2)
            for number, named in enumerate(diagnosis.named[:_NAMED_SHOWN], 1):
                mistake = named.mistake
                lines += wrap(f"{number}. {mistake.name}, in {', '.join(named.places)}", 2)
                lines += wrap(mistake.sentence, 5)
                lines += wrap(f"yours: {mistake.wrong}    right: {mistake.right}", 5)
                lines += wrap(named.evidence(), 5)
            rest = [n.mistake.name for n in diagnosis.named[_NAMED_SHOWN:]]
            if rest:
                lines += wrap(f"and also: {', '.join(rest)}", 5)
            for tensor, text in diagnosis.described:
                lines += wrap(f"{tensor}: {text}", 2)
            if diagnosis.location and not (diagnosis.named or diagnosis.described):
                lines.append("  no mistake of the catalogue fits, and no simple relation was found")
        if self.worst:
            lines += wrap(self.worst.sentence(), 2)
        if self.shrunk:
            lines += wrap(f"smallest that fails: {self.shrunk.sentence}", 2)
            if self.shrunk.invisible:
                lines += wrap(f"invisible {', '.join(self.shrunk.invisible)}", 2)
        return lines

    @property
    def against(self) -> str:
        """Return what the judgement rests on, with the number of problems."""
        return ", ".join(f"{name} ({n})" for name, n in self.judged.items() if n)

    def plain(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        diagnosis = self.diagnosis or Diagnosis(None)
        location = diagnosis.location
        return {
            "form": self.form,
            "what": self.what,
            "matched": self.matched,
            "ok": self.ok,
            "problems": self.problems,
            "right": self.right,
            "wrong": self.wrong,
            "judged": dict(self.judged),
            "first_wrong": self.own_names(location.tensor) if location else None,
            "wrong_tensors": [self.own_names(t) for t in location.wrong] if location else [],
            "mistakes": [
                {
                    "name": n.mistake.name,
                    "sentence": n.mistake.sentence,
                    "yours": n.mistake.wrong,
                    "right": n.mistake.right,
                    "places": [self.own_names(p) for p in n.places],
                    "problems": n.matched,
                    "of": n.of,
                    "remaining": n.remaining,
                    "equally": list(n.equally),
                }
                for n in diagnosis.named
            ],
            "described": [{"tensor": t, "text": s} for t, s in diagnosis.described],
            "faults": [
                {"kind": f.kind, "text": f.text, "problem": f.problem, "count": f.count,
                 "fatal": f.fatal}
                for f in self.faults
            ],
            "remarks": list(self.remarks),
            "worst": self.worst.sentence() if self.worst else None,
            "smallest": self.shrunk.sentence if self.shrunk else None,
            "invisible": list(self.shrunk.invisible) if self.shrunk else [],
        }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a check found: text when printed, a table in a notebook, true when all is right."""

    target: str
    seed: int
    problems: int
    parts: tuple[Part, ...]
    seconds: float = 0.0
    folder: str = ""
    again: str = ""
    """The command that runs it again; none for an object, which no command can name."""

    @property
    def ok(self) -> bool:
        """Whether every part is right."""
        return bool(self.parts) and all(part.ok for part in self.parts)

    @property
    def exit_code(self) -> int:
        """0 right, 1 wrong."""
        return 0 if self.ok else 1

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the text, line by line: wrong parts at length, right ones in a line or two."""
        lines: list[str] = []
        for part in sorted(self.parts, key=lambda p: p.ok):
            lines += part.lines()
        if self.folder:
            files = "index.html, check.json, and for what is wrong a script that shows it"
            lines += wrap(f"written to {self.folder}: {files}", 0)
        return lines

    def plain(self) -> dict[str, Any]:
        """Return what was found, for JSON."""
        return {
            "target": self.target,
            "ok": self.ok,
            "seed": self.seed,
            "problems": self.problems,
            "parts": [part.plain() for part in self.parts],
        }

    def _repr_html_(self) -> str:
        """Return a table: one row a part."""
        rows = "".join(_row(part) for part in self.parts)
        return (
            "<table><thead><tr><th>part</th><th>verdict</th><th>where</th><th>what</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )


def _row(part: Part) -> str:
    diagnosis = part.diagnosis
    where = part.own_names(diagnosis.location.tensor) if diagnosis and diagnosis.location else ""
    said = [n.mistake.sentence for n in diagnosis.named] if diagnosis else []
    said += [f"{tensor}: {text}" for tensor, text in (diagnosis.described if diagnosis else ())]
    said += [f"{f.kind}: {f.text}" for f in part.faults]
    verdict = f"right on {part.right}" if part.ok else f"wrong in {part.wrong} of {part.problems}"
    cells = (part.what, verdict, where, " ".join(said))
    return "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>"


def wrap(text: str, indent: int) -> list[str]:
    """Break a text into lines of a screen's width."""
    import textwrap

    return textwrap.wrap(text, _WIDTH, initial_indent=" " * indent,
                         subsequent_indent=" " * (indent + 2), break_long_words=False)  # fmt: skip


def merge(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return one fault of each kind, the first, with the number of problems that had one."""
    first: dict[tuple[str, bool], Fault] = {}
    where: dict[tuple[str, bool], set[str]] = {}
    for fault in faults:
        key = fault.kind, fault.fatal
        first.setdefault(key, fault)
        where.setdefault(key, set()).add(fault.problem)
    return tuple(replace(fault, count=len(where[key])) for key, fault in first.items())
