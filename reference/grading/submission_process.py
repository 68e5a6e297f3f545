"""Runs one submission in a separate process, and collects its results."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from reference.checks.results import CheckedRun
from reference.grading.assignment import Allowance, Assignment
from reference.grading.records import (
    AnyRun,
    Attempt,
    Confined,
    KindRun,
    ProblemRun,
    SubmissionEvent,
    SubmissionRequest,
    Unrun,
)
from reference.grading.submissions import Submission
from reference.workers import Confinement, Died, Finished, Hung, Limits, Raised, Worker
from reports.checked import Part

MAX_RESTARTS = 4
"""How often what is left is tried again after a part that hung or crashed."""

MAX_EVENTS = 20_000
"""Events of one submission: more are a flood, not a check."""

MAX_RUN_BYTES = 4 << 20
"""Bytes of the numbers of one run; a problem has a few hundred numbers."""

MAX_PARTS = 200
"""Parts of one submission that are compared with the reference solution."""

SLOWER = 3.0
"""Seconds of the clock for each of processor time: a machine that grades does other things."""


@dataclass
class SubmissionResult:
    """What came of one submission."""

    parts: dict[int, Part] = field(default_factory=dict)
    runs: dict[int, list[AnyRun]] = field(default_factory=lambda: defaultdict(list))
    unrun: dict[int, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    refused: str = ""
    ended: str = ""
    lacks: tuple[str, ...] = ()


def run_apart(
    submission: Submission,
    assignment: Assignment,
    only: str = "",
    shapes: Mapping[str, str] = MappingProxyType({}),
) -> SubmissionResult:
    """Run a submission as far as it goes; whatever it does ends in this record.

    only, shapes: see `SubmissionRequest`.
    """
    ran, gathered = SubmissionResult(), CheckedRun()
    limits = assignment.limits
    deadline = time.monotonic() + SLOWER * limits.seconds
    skip: list[int] = []
    for _ in range(1 + MAX_RESTARTS):
        problems = assignment.problems
        asked = SubmissionRequest(
            submission.file, submission.files, problems.hidden_seed, problems.public_seed,
            problems.count, tuple(skip), only, problems.dtypes, dict(shapes),
        )  # fmt: skip
        ended = _once(asked, limits, ran, gathered, deadline)
        if not ended:
            break
        ran.ended = ran.ended or ended
        index = gathered.fail(ended.partition(":")[0], ended.partition(": ")[2])
        if index is None or time.monotonic() > deadline:
            break
        skip.append(index)
    ran.parts = dict(gathered.parts)
    ran.refused = gathered.refused
    return ran


def _once(
    asked: SubmissionRequest,
    limits: Allowance,
    ran: SubmissionResult,
    gathered: CheckedRun,
    deadline: float,
) -> str:
    """Ask once; return how the process ended, "" where by itself."""
    silence = Limits(limits.hang_seconds, SLOWER * limits.hang_seconds)
    worker = _worker(limits)
    ran.runs.clear()  # they come again, but those of what is skipped
    count = 0
    try:
        for event in worker.run(asked, SubmissionEvent, limits=lambda last: silence):  # type: ignore[arg-type]
            count += 1
            if isinstance(event, Hung):
                return f"hung: no sign of life for {limits.hang_seconds:g} s"
            if isinstance(event, Died):
                return _died(event, limits)
            if isinstance(event, Raised):
                return f"crashed: {event.kind}"
            if isinstance(event, Finished):
                return ""
            if count > MAX_EVENTS:
                return f"crashed: it sent more than {MAX_EVENTS} messages"
            if time.monotonic() > deadline:
                return f"hung: it took longer than {SLOWER * limits.seconds:g} s"
            _take(event, ran, gathered, 2 * asked.problems)
    finally:
        worker.close()
    return ""


def _worker(limits: Allowance) -> Worker:
    confinement = Confinement(
        limits.seconds, limits.file_mb << 20, limits.open_files, limits.processes
    )
    memory = limits.memory_mb << 20
    return Worker("reference.grading.running:serve", memory=memory, confinement=confinement)


def _died(event: Died, limits: Allowance) -> str:
    if event.signal in ("SIGXCPU", "SIGKILL"):
        return f"hung: it used more than {limits.seconds:g} s of processor time, or all its memory"
    return f"crashed: {event.reason}"


def _take(event: SubmissionEvent, ran: SubmissionResult, gathered: CheckedRun, runs: int) -> None:
    """Take in one event; runs: how many of each part are kept."""
    match event:
        case ProblemRun() | KindRun():
            kept = ran.runs[event.unit] if len(ran.runs) <= MAX_PARTS else []
            if len(kept) < runs and sum(a.nbytes for a in event.arrays) <= MAX_RUN_BYTES:
                kept.append(event)
        case Unrun():
            ran.unrun[event.unit] = event.why
        case Attempt():
            if event not in ran.attempts:
                ran.attempts.append(event)
        case Confined():
            ran.lacks = event.lacks
        case _:
            gathered.take(event)
