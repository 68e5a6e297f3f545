"""What a check found: events and records, the text of a terminal, the folder of pages."""

from reference.checks.results.records import CheckRequest, Refused
from reference.checks.results.result import CheckedRun, Result

__all__ = ["CheckRequest", "CheckedRun", "Refused", "Result"]
