"""The results of a grading run, as records: the grader makes them, pages and files show them.

A teacher's record holds everything. A student sees a `View`, made at one feedback level: code that
shows something to a student gets a `View` and nothing else.
"""

from typing import Literal

import msgspec

from reports.checked import Part
from reports.records import ReportError

State = Literal["right", "wrong", "follows", "missing", "empty", "refused", "unreadable"]
"""Of one mark. right, wrong; follows: wrong only by an earlier mistake that is charged already;
missing: nothing of it came back; empty: not attempted; refused: not written by hand, or tampered
with; unreadable: it could not be judged."""


class GradeMark(msgspec.Struct, frozen=True):
    """One thing that gives points: a forward, or the gradient of one input."""

    what: str
    """"forward", or what it is the gradient of."""
    earned: float
    possible: float
    state: State
    text: str
    """The reason, in words that do not give away an answer."""
    claim: str = ""
    """Its name in the submission."""


class Notice(msgspec.Struct, frozen=True):
    """How a submission was made: a framework instead of a backward, an attack on the judge."""

    kind: str
    text: str
    grave: bool = False
    """Whether it takes points, or a teacher has to look."""


class Item(msgspec.Struct, frozen=True):
    """One function of the assignment, and the result for it."""

    name: str
    heading: str
    marks: tuple[GradeMark, ...]
    unit: str = ""
    """Its name in the submission."""
    part: Part | None = None
    """The result of the check for it."""
    notices: tuple[Notice, ...] = ()
    chapters: tuple[tuple[str, str], ...] = ()
    """(operation, its derivation in the book)."""

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(m.earned for m in self.marks)

    @property
    def possible(self) -> float:
        """Points to be had."""
        return sum(m.possible for m in self.marks)


class Graded(msgspec.Struct, frozen=True):
    """One submission, graded."""

    student: str
    file: str
    items: tuple[Item, ...]
    ended: str = ""
    """"hung", "crashed", "used more than …": how its process ended, where not by itself."""
    refused: str = ""
    """The reason why nothing of it could be judged."""
    notices: tuple[Notice, ...] = ()
    lacks: tuple[str, ...] = ()
    """Measures of isolation that this system does not have."""

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(i.earned for i in self.items)

    @property
    def possible(self) -> float:
        """Points to be had."""
        return sum(i.possible for i in self.items)

    @property
    def grave(self) -> bool:
        """Whether a teacher has to look at it."""
        return any(n.grave for n in (*self.notices, *(m for i in self.items for m in i.notices)))

    @property
    def state(self) -> str:
        """The result in one word."""
        if any(n.kind == "attempt" for n in self.notices):
            return "tampering"
        if self.refused and not self.ended:
            return "not read"
        if self.ended:
            return self.ended.partition(":")[0]
        marks = [m for i in self.items for m in i.marks]
        if all(m.state in ("empty", "missing") for m in marks):
            return "not attempted"
        if any(m.state == "refused" for m in marks):
            return "not by hand"
        return "right" if self.earned == self.possible else "wrong"

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The names of the mistakes, each once."""
        named = [m.name for i in self.items if i.part for m in i.part.mistakes]
        return tuple(dict.fromkeys(named))


class Class(msgspec.Struct, frozen=True):
    """All submissions of one assignment: one object of grades.json."""

    title: str
    feedback: str
    seed: int
    possible: float
    graded: tuple[Graded, ...]
    again: str = ""


def read_class(text: bytes | str) -> Class:
    """Return the class of a grades.json; raises ReportError for other content."""
    try:
        found: object = msgspec.json.decode(text)
        return msgspec.convert(found, Class, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ReportError(f"not a grades.json: {error}") from None


def points(value: float) -> str:
    """Return points as people write them: 2, 2.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
