"""The page of a class and the pages of its students, made from the records alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.check_page import capital, derivation
from reports.graded import Class, Graded, points
from reports.html import render_page
from reports.plainmath import formula
from reports.views import GradeView

BINS = 10
WIDTH, HEIGHT = 560, 150
MARKS = {"right": "✓", "wrong": "✕", "tampering": "!", "not by hand": "!"}
_BADGES = {"right": "right", "wrong": "wrong manual", "tampering": "wrong manual"}


@dataclass(frozen=True)
class PointsBar:
    """One bar of the distribution of points."""

    x: float
    y: float
    width: float
    height: float
    count: int
    label: str


@dataclass(frozen=True)
class Common:
    """A mistake of the class: how many made it, and an example."""

    name: str
    count: int
    sentence: str
    yours: str
    right: str
    student: str
    students: tuple[str, ...]


def bars(graded: Class) -> list[PointsBar]:
    """Return the distribution of points: how many students have how many."""
    possible = graded.possible or 1.0
    counts = Counter(min(int(g.earned / possible * BINS), BINS - 1) for g in graded.graded)
    most = max(counts.values(), default=1)
    width = WIDTH / BINS
    found = []
    for place in range(BINS):
        height = counts[place] / most * HEIGHT
        low, high = (points(possible * p / BINS) for p in (place, place + 1))
        x, y = place * width + 2, HEIGHT - height + 18
        found.append(PointsBar(x, y, width - 4, height, counts[place], f"{low}–{high}"))
    return found


def common(graded: Class) -> list[Common]:
    """Return the mistakes of the class, the most frequent ones first, with an example of each."""
    found: dict[str, list[tuple[Graded, str, str, str]]] = {}
    for one in graded.graded:
        for item in one.items:
            for m in item.part.mistakes if item.part is not None else ():
                found.setdefault(m.name, []).append((one, m.sentence, m.yours, m.right))
    rows = []
    for name, seen in found.items():
        first, sentence, yours, right = seen[0]
        students = tuple(dict.fromkeys(g.student for g, *_ in seen))
        rows.append(Common(name, len(students), sentence, yours, right, first.student, students))
    return sorted(rows, key=lambda row: (-row.count, row.name))


def render_class(graded: Class, pages: Sequence[str]) -> str:
    """Return the page of a class, for its teacher; pages: the address of each student's page."""
    return render_page(
        "class.html", styles=("page.css", "check.css"), graded=graded, bars=bars(graded),
        common=common(graded), points=points, pages=pages,
        width=WIDTH, height=HEIGHT + 40, formula=formula, mark=MARKS, badge=_BADGES,
    )  # fmt: skip


def render_student(view: GradeView) -> str:
    """Return the page of one student."""
    return render_page(
        "student.html", styles=("page.css", "check.css"), view=view, points=points,
        formula=formula, derivation=derivation, capital=capital,
    )  # fmt: skip
