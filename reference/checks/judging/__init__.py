"""The reading under which most is right, and the code under it, problem by problem."""

from reference.checks.judging.chosen import Chosen
from reference.checks.judging.searching import Failure, modules_of, search
from reference.checks.judging.subject import (
    Demonstration,
    Key,
    ProblemCase,
    ReadingSubject,
    Subject,
)

__all__ = [
    "Chosen", "Demonstration", "Failure", "Key", "ProblemCase", "ReadingSubject", "Subject",
    "modules_of", "search",
]  # fmt: skip
