"""A graded class: its page, its students' pages, and the folder with the forms of other systems."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.check_page import capital, derivation
from reports.checked import plain
from reports.formula import formula
from reports.grade_formats import autolab, gradescope, junit, otter, table
from reports.graded import Class, Graded, GradeView, points, read_class, view
from reports.html import render_page
from reports.records import ReportError

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


# -- the folder ------------------------------------------------------------------------------------

GRADES = "grades.json"
KEPT = "graded"
"""Where single results are kept while a class is being graded."""


def refuse_for_class(folder: Path) -> None:
    """Raise a ReportError where a class may not be written: a folder with something else in it."""
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"{str(folder)!r} is a file; expected a folder")
    if not folder.is_dir() or (folder / GRADES).is_file() or (folder / KEPT).is_dir():
        return
    if any(folder.iterdir()):
        raise ReportError(
            f"{str(folder)!r} is not empty and no class was graded into it; expected a new folder"
        )


def write_class(folder: Path, graded: Class) -> None:
    """Write all files of a graded class; those of an earlier run are replaced.

    grades.json, grades.csv, junit.xml and index.html are the teacher's. students/, gradescope/,
    otter/ and autolab/ hold what students may see at the assignment's feedback level.
    """
    refuse_for_class(folder)
    # Pages are made from what a reader of grades.json will see, not from what is in memory.
    text = json.dumps(plain(graded), indent=1, sort_keys=True) + "\n"
    seen = read_class(text)
    names = student_names(seen)
    files = {GRADES: text, "grades.csv": table(seen), "junit.xml": junit(seen)}
    files["index.html"] = render_class(seen, [f"students/{name}.html" for name in names])
    for one, name in zip(seen.graded, names, strict=True):
        shown = view(one, seen.feedback, seen.title)
        files[f"students/{name}.html"] = render_student(shown)
        files[f"gradescope/{name}/results.json"] = _json(gradescope(shown))
        files[f"otter/{name}.json"] = _json(otter(shown))
        files[f"autolab/{name}.txt"] = autolab(shown)
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        part.write_text(content, encoding="utf-8")
        part.replace(place)


def student_names(graded: Class) -> list[str]:
    """Return a file name for each student: letters and digits of the name, each once."""
    names: list[str] = []
    for one in graded.graded:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", one.student).strip("_")[:60] or "student"
        count = sum(n == name or n.startswith(f"{name}__") for n in names)
        names.append(f"{name}__{count + 1}" if count else name)
    return names


def rebuild_class(folder: Path) -> Class:
    """Make the files of a graded class again from its grades.json; return the class."""
    graded = read_class((folder / GRADES).read_bytes())
    write_class(folder, graded)
    return graded


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
