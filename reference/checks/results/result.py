"""What a check found, as text for a terminal, a table for a notebook, and JSON."""

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from reference.checks.results.records import (
    CheckRequest,
    Event,
    InternalError,
    PartFinished,
    PartStarted,
    Refused,
    TargetLoaded,
    Tried,
)
from reference.checks.results.text import listed, wrap
from reports.checked import Checked, Fault, Part, plain, problem_text, verdict_of

_NAMED_SHOWN = 3  # mistakes shown in full; more are listed by name


@dataclass(frozen=True)
class Result:
    """What was found of a target: its parts, and what was not checked."""

    what: str
    seed: int
    parts: tuple[Part, ...]
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    again: str = ""
    folder: str | None = None
    our_faults: tuple[str, ...] = ()
    ended: str = ""
    """"hung" or "crashed", where the target's process did so."""
    allow_unchecked: bool = False
    strict: bool = False

    @property
    def checked(self) -> list[Part]:
        """The parts that were judged."""
        return [p for p in self.parts if p.verdict != "unchecked"]

    @property
    def unchecked(self) -> list[Part]:
        """The parts that look like gradients and were not judged."""
        return [p for p in self.parts if p.verdict == "unchecked"]

    @property
    def exit_code(self) -> int:
        """0 all is right; 1 wrong; 2 not or not all checked; 3 it hung; 4 it crashed."""
        if any(p.verdict in ("wrong", "failed") and not _ended(p) for p in self.parts):
            return 1
        if self.ended:
            return 3 if self.ended == "hung" else 4
        if self.strict and any(p.fragile for p in self.parts):
            return 1
        if not self.checked or self.our_faults:
            return 2
        return 2 if self.unchecked and not self.allow_unchecked else 0

    @property
    def ok(self) -> bool:
        """Whether all that was found is right, and all of it was checked."""
        return self.exit_code == 0

    def __bool__(self) -> bool:
        """Whether all that was found is right."""
        return self.ok

    def headline(self) -> str:
        """Return the verdict in one sentence."""
        return "; ".join([self._verdict(), *self._beside()])

    def _verdict(self) -> str:
        ended = [p for p in self.parts if _ended(p)]
        wrong = [p for p in self.parts if p.verdict in ("wrong", "failed") and not _ended(p)]
        parts = [f"{listed(p.name for p in wrong)}: not right"] if wrong else []
        parts += [f"{p.name} {_ended(p)}" for p in ended]
        if parts:
            return "; ".join(parts)
        if self.ended:
            return f"the target {self.ended}"
        if not self.checked:
            return "nothing could be checked"
        count = len(self.checked)
        return "its gradient is right" if count == 1 else f"all {count} gradients are right"

    def _beside(self) -> list[str]:
        """Return what else the exit code depends on."""
        found = []
        if self.unchecked and self.checked:
            found.append(f"{len(self.unchecked)} not checked")
        if self.our_faults:
            found.append(f"{len(self.our_faults)} failed in our own code")
        if self.strict and any(p.fragile for p in self.parts):
            found.append("fragile, which --strict does not allow")
        return found

    def lines(self, right: bool = True) -> list[str]:
        """Return what was found, as lines of a terminal; right: also of what is right."""
        lines: list[str] = []
        for part in (*self.checked, *self.unchecked):
            if right or not part.ok or part.fragile:
                lines += part_lines(part)
        for text in self.our_faults:
            lines += wrap(
                f"failed in our own code, which is not your fault; please report it: {text}",
                0,
            )
        for remark in self.remarks:
            lines += wrap(f"remark: {remark}", 0)
        if len(self.parts) != 1 or self.unchecked or self._beside():
            lines += wrap(f"{self.what}: {self.headline()}", 0)
        return lines

    def __str__(self) -> str:
        """Return what was found, as text."""
        return "\n".join(self.lines())

    def checked_record(self) -> Checked:
        """Return it as the record that pages are made of."""
        return Checked(
            self.what,
            self.exit_code,
            self.headline(),
            self.parts,
            self.seed,
            self.remarks,
            self.our_faults,
            self.ended,
            self.seconds,
            self.again,
        )

    def plain(self) -> dict[str, object]:
        """Return it as JSON would hold it."""
        found: dict[str, object] = plain(self.checked_record())
        return found

    def _repr_html_(self) -> str:
        found = [
            "\n".join(_body(p) if p.verdict == "unchecked" else [f"  {verdict_of(p)}", *_body(p)])
            for p in self.parts
        ]
        rows = "".join(
            f"<tr><td>{html.escape(p.name)}</td><td>{p.verdict}</td>"
            f"<td style='white-space:pre-wrap'>{html.escape(text)}</td></tr>"
            for p, text in zip(self.parts, found, strict=True)
        )
        others = "".join(
            f"<tr><td colspan=3>{html.escape(s)}</td></tr>"
            for s in (*self.our_faults, *self.remarks)
        )
        return (
            f"<table><caption>{html.escape(self.headline())}</caption>"
            "<tr><th>gradient</th><th>verdict</th><th>what was found</th></tr>"
            f"{rows}{others}</table>"
        )


def _ended(part: Part) -> str:
    """Return "hung" or "crashed" of a part that ended its process."""
    return next((f.kind for f in part.faults if f.kind in ("hung", "crashed")), "")


def part_lines(part: Part) -> list[str]:
    """Return what was found of one part, one screen of it at most."""
    return [*wrap(f"{part.name}: {verdict_of(part)}", 0), *_body(part)]


def _body(part: Part) -> list[str]:
    """Return the lines below the name and the verdict of a part."""
    if part.verdict == "unchecked":
        return _unchecked_lines(part)
    lines = wrap(f"read as: {part.form}", 2) if part.form else []
    lines += wrap(f"drawn as: {part.drawn}", 2) if part.drawn else []
    if part.verdict != "right":
        lines += _findings(part)
    for fault in part.faults:
        times = f", in {fault.count} of {part.problems} problems" if fault.count > 1 else ""
        mark = "" if fault.fatal else "remark: "
        lines += wrap(f"{mark}{fault.kind}: {fault.text} ({problem_text(fault.problem)}{times})", 2)
    if part.missing:
        missing = listed(part.missing, 6)
        lines += wrap(f"your backward returns no gradient of {missing} (allowed)", 2)
    for remark in part.remarks:
        lines += wrap(f"remark: {remark}", 2)
    for text in part.fragile:
        lines += wrap(f"FRAGILE: {text}", 2)
    if part.judged:
        lines += wrap(f"judged by {part.judged}", 2)
    return lines


def _findings(part: Part) -> list[str]:
    lines: list[str] = []
    wrong = part.wrong_tensors
    if wrong:
        right = [t.name for t in part.tensors if t.right == t.problems]
        beside = f"; right: {listed(right, 6)}" if right else ""
        first = (
            f"first wrong, going back from the loss: {part.first_wrong}; "
            if part.first_wrong
            else ""
        )
        lines += wrap(f"{first}wrong: {listed(wrong, 6)}{beside}", 2)
    for number, mistake in enumerate(part.mistakes[:_NAMED_SHOWN], 1):
        tensors = f", in {listed(mistake.tensors)}" if mistake.tensors else ""
        lines += wrap(f"{number}. {mistake.name}{tensors}", 2)
        lines += wrap(mistake.sentence, 5)
        if mistake.yours:
            lines += wrap(f"yours: {mistake.yours}    right: {mistake.right}", 5)
        lines += wrap(mistake.evidence(), 5)
    if len(part.mistakes) > _NAMED_SHOWN:
        more = listed([m.name for m in part.mistakes[_NAMED_SHOWN:]], 6)
        lines += wrap(f"and: {more}", 2)
    for tensor, text in part.described[:_NAMED_SHOWN]:
        lines += wrap(f"{tensor}: {text}", 2)
    if part.worst is not None:
        lines += wrap(part.worst.sentence(), 2)
    if part.smallest:
        lines += wrap(f"smallest that fails: {part.smallest}", 2)
    return lines


def _unchecked_lines(part: Part) -> list[str]:
    """Return why a part was not checked, and what to add so that it is."""
    lines = wrap(part.why, 2)
    if part.wrapper:
        lines += ["  to have it checked, add the forward function that it belongs to:"]
        lines += [f"    {line}".rstrip() for line in part.wrapper.splitlines() if line.strip()]
    return lines


# -- from the events of a run ------------------------------------------------------------------

Progress = Callable[[str], None]


@dataclass
class CheckedRun:
    """The result of a run, built from its events."""

    progress: Progress = lambda name: None
    parts: dict[int, Part] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    our_faults: list[str] = field(default_factory=list)
    refused: str = ""
    ended: str = ""
    running: PartStarted | None = None
    problem: str = ""
    certifying: bool = False
    of: int = 0
    """How many parts the target has."""

    def take(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case TargetLoaded(remarks=remarks):
                self.remarks = list(remarks)
            case Tried(problem=problem, certified=certified):
                self.problem, self.certifying = problem, certified
            case PartStarted():
                self.of = event.of
                self.running, self.problem, self.certifying = event, "", False
                self.progress(event.name)
            case PartFinished(index=index, part=part):
                self.parts[index] = part
                self.running = None
            case Refused(text=text):
                self.refused = text
            case InternalError(name=name, text=text):
                self.our_faults.append(f"{name}: {text}")
                self.running = None

    def result(self, request: CheckRequest, **more: Any) -> Result:
        """Return what was found; `more` are further fields of the result."""
        parts = tuple(part for _, part in sorted(self.parts.items()))
        return Result(
            request.target,
            request.seed,
            parts,
            remarks=tuple(self.remarks),
            our_faults=tuple(self.our_faults),
            ended=self.ended,
            **more,
        )

    def fail(self, kind: str, text: str) -> int | None:
        """Note that the running part hung or crashed; return its number, None where none ran."""
        if self.running is None:
            self.refused = f"the target could not be loaded; it {kind}: {text}"
            self.ended = kind
            return None
        index, at = self.running.index, self.problem
        if kind == "hung" and self.certifying:  # its own code had run: certifying it is slow
            why = f"its numbers run, but certifying them took too long: {text}; try --timeout"
            self.parts[index] = Part(self.running.name, "unchecked", why=why)
            self.running = None
            return index
        self.ended = kind
        fault = Fault(kind, text, at, 1, True)
        self.parts[index] = Part(self.running.name, "failed", faults=(fault,))
        self.running = None
        return index

    def stopped(self, last: int, failures: int) -> None:
        """Note that the parts after the last one were not checked, after so many failures."""
        if left := self.of - last - 1:
            parts = "1 more part was" if left == 1 else f"{left} more parts were"
            self.remarks.append(
                f"{parts} not checked: the check stops after {failures} that hung or crashed"
            )
