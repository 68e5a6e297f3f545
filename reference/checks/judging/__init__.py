"""The reading under which most is right, and the code under it, problem by problem."""

from reference.checks.judging.chosen import Chosen
from reference.checks.judging.searching import Failure, search
from reference.checks.judging.subject import ProblemCase, ReadingSubject, Subject

__all__ = ["Chosen", "Failure", "ProblemCase", "ReadingSubject", "Subject", "search"]
