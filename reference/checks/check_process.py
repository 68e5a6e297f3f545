"""Runs a check in a separate process, so that a target that hangs or crashes ends only that."""

from pathlib import Path

import msgspec

from reference.checks.records import CheckRequest, Event
from reference.checks.result import CheckedRun
from reference.workers import Died, Finished, Hung, Limits, Raised, Worker

SECONDS = 10.0
"""Processor time that a target may take for one problem of a few numbers."""
SLEEP = 30.0
"""Seconds of the clock, for code that waits and uses no processor."""
MAX_RESTARTS = 20


def run(request: CheckRequest, gathered: CheckedRun, seconds: float | None) -> None:
    """Check a target in a process; note a part that hangs or crashes, and check the rest again."""
    limits = Limits(seconds or SECONDS, max(SLEEP, 3 * (seconds or SECONDS)))
    path, colon, name = request.target.partition(":")
    if Path(path).is_file():  # the process works in an empty folder
        request = msgspec.structs.replace(request, target=f"{Path(path).resolve()}{colon}{name}")
    skip: list[int] = []
    worker = Worker("reference.checks.session:serve")
    try:
        for _ in range(MAX_RESTARTS):
            message = msgspec.structs.replace(request, skip=tuple(skip))
            failed = _once(worker, message, gathered, limits)
            if failed is None:
                return
            skip.append(failed)
    finally:
        worker.close()


def _once(
    worker: Worker, request: CheckRequest, gathered: CheckedRun, limits: Limits
) -> int | None:
    """Ask once; return the number of the part that hung or crashed, None where it is over."""
    for event in worker.run(request, Event, limits=lambda last: limits):  # type: ignore[arg-type]
        match event:
            case Hung():
                return gathered.fail("hung", event.reason)
            case Died() | Raised():
                text = event.reason if isinstance(event, Died) else f"{event.kind}: {event.message}"
                return gathered.fail("crashed", text)
            case Finished():
                return None
            case _:
                gathered.take(event)
    return None
