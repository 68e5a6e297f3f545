"""The folder of a graded class: its page, the students' pages, and the forms of other systems."""

import json
import re
from pathlib import Path

from reports.checked import plain
from reports.class_page import render_class, render_student
from reports.grade_formats import autolab, gradescope, junit, otter, table
from reports.graded import Class, read_class
from reports.records import ReportError
from reports.views import view

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
