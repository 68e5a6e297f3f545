"""What a student may see of a grade, at one feedback level: nothing of a higher level is in it.

tensor   which gradients are right, and the points
hint     and the variable to look at first, and what the code did besides
name     and what the mistake is called, and in which gradients
formula  and the formulas, the numbers of one problem, the derivation
"""

import msgspec

from reports.checked import Part
from reports.graded import Graded, GradeMark, Item, State


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
