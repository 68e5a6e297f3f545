"""What a check found: events and records, the text of a terminal, the folder of pages."""

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
from reference.checks.results.result import CheckedRun, Result

__all__ = [
    "CheckRequest", "CheckedRun", "Event", "InternalError", "PartFinished", "PartStarted",
    "Refused", "Result", "TargetLoaded", "Tried",
]  # fmt: skip
