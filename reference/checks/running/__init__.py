"""One run of the code, on floats or on the tape: what went in, what came of it."""

from reference.checks.running.experiment import announce, perform, still_computing
from reference.checks.running.matching import matched, same_shape
from reference.checks.running.outcome import (
    ForwardFailed,
    NotFinite,
    Reading,
    RunOutcome,
    Unreadable,
)
from reference.checks.running.surroundings import Library

__all__ = [
    "ForwardFailed", "Library", "NotFinite", "Reading", "RunOutcome", "Unreadable",
    "announce", "matched", "perform", "same_shape", "still_computing",
]  # fmt: skip
