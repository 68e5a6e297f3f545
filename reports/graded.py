"""The results of a grading run, as records: the grader makes them, pages and files show them.

A teacher's record holds everything. A student sees a `GradeView`, made at one feedback level: code
that shows something to a student gets a `GradeView` and nothing else. The levels:

tensor   which gradients are right, and the points
hint     and the variable to look at first, and what the code did besides
name     and what the mistake is called, and in which gradients
formula  and the formulas, the numbers of one problem, the derivation
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
        return msgspec.convert(msgspec.json.decode(text), Class, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ReportError(f"not a grades.json: {error}") from None


def points(value: float) -> str:
    """Return points as people write them: 2, 2.5."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


class SeenMark(msgspec.Struct, frozen=True):
    """One mark as a student sees it."""

    what: str
    earned: float
    possible: float
    text: str
    passed: bool

    @property
    def sign(self) -> str:
        """✓ or ✕."""
        return "✓" if self.passed else "✕"


class SeenMistake(msgspec.Struct, frozen=True):
    """A mistake as a student sees it: its name, and its formulas only at the level `formula`."""

    name: str
    tensors: tuple[str, ...] = ()
    sentence: str = ""
    yours: str = ""
    right: str = ""


class SeenItem(msgspec.Struct, frozen=True):
    """One function as a student sees it."""

    heading: str
    unit: str
    marks: tuple[SeenMark, ...]
    hints: tuple[str, ...] = ()
    mistakes: tuple[SeenMistake, ...] = ()
    numbers: tuple[str, ...] = ()
    chapters: tuple[tuple[str, str], ...] = ()

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(m.earned for m in self.marks)

    @property
    def possible(self) -> float:
        """Points to be had."""
        return sum(m.possible for m in self.marks)

    def lines(self) -> list[str]:
        """Return what stands beside the marks, as lines of text."""
        found = list(self.hints)
        for mistake in self.mistakes:
            where = f", in {', '.join(mistake.tensors)}" if mistake.tensors else ""
            found.append(f"mistake: {mistake.name}{where}")
            found += [mistake.sentence] if mistake.sentence else []
            if mistake.yours:
                found.append(f"yours: {mistake.yours}    right: {mistake.right}")
        return [*found, *self.numbers]


class GradeView(msgspec.Struct, frozen=True):
    """A grade as its student sees it."""

    student: str
    title: str
    file: str
    items: tuple[SeenItem, ...]
    remarks: tuple[str, ...] = ()

    @property
    def earned(self) -> float:
        """Points earned."""
        return sum(i.earned for i in self.items)

    @property
    def possible(self) -> float:
        """Points to be had."""
        return sum(i.possible for i in self.items)


def view(graded: Graded, level: str, title: str) -> GradeView:
    """Return what a student may see of a grade at a feedback level."""
    remarks = [graded.refused] if graded.refused else []
    if graded.ended:
        remarks.append(f"the submission {graded.ended}")
    return GradeView(
        graded.student, title, graded.file, tuple(_item(i, level) for i in graded.items),
        tuple(remarks),
    )  # fmt: skip


def _item(item: Item, level: str) -> SeenItem:
    marks = tuple(_mark(m, level) for m in item.marks)
    part, wrong = item.part, any(m.state in ("wrong", "follows") for m in item.marks)
    if part is None or not wrong or level == "tensor":
        return SeenItem(item.heading, item.unit, marks)
    return SeenItem(
        item.heading,
        item.unit,
        marks,
        tuple(_hints(part)),
        tuple(_mistakes(part, level)) if level in ("name", "formula") else (),
        tuple(_numbers(part)) if level == "formula" else (),
        item.chapters if level == "formula" else (),
    )


_PLAIN: dict[State, str] = {
    "follows": "counted as right: it follows from a mistake that is charged elsewhere",
    "wrong": "wrong",
}


def _mark(mark: GradeMark, level: str) -> SeenMark:
    text = _PLAIN.get(mark.state, mark.text) if level == "tensor" else mark.text
    return SeenMark(mark.what, mark.earned, mark.possible, text, mark.earned == mark.possible)


def _hints(part: Part) -> list[str]:
    found = [f"look first at {part.first_wrong}"] if part.first_wrong else []
    return found + [f.text for f in part.faults if f.kind in ("mutated", "dtype", "stale")]


def _mistakes(part: Part, level: str) -> list[SeenMistake]:
    if level == "name":
        return [SeenMistake(m.name.replace("_", " "), m.tensors) for m in part.mistakes]
    return [
        SeenMistake(m.name.replace("_", " "), m.tensors, m.sentence, m.yours, m.right)
        for m in part.mistakes
    ]


def _numbers(part: Part) -> list[str]:
    found = [f"{tensor}: {text}" for tensor, text in part.described]
    found += [part.worst.sentence()] if part.worst is not None else []
    return found + ([f"smallest that fails: {part.smallest}"] if part.smallest else [])
