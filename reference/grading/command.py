"""The command `manual-backprop grade`: a class graded, as text or in the form of another system."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from manual_backprop.operation import InvalidInput
from reference.grading.assignment import read_assignment
from reference.grading.grader import grade
from reference.grading.new_assignment import begin
from reference.grading.submissions import find_submissions
from reports.checked import plain
from reports.class_page import refuse_for_class, write_class
from reports.grade_formats import autolab, class_text, gradescope, junit, otter, table
from reports.graded import Class, GradeView, view
from reports.records import ReportError

WHOLE: dict[str, Callable[[Class], str]] = {
    "table": lambda c: "\n".join(class_text(c)),
    "json": lambda c: json.dumps(plain(c), indent=1, sort_keys=True),
    "csv": lambda c: table(c).rstrip("\n"),
    "junit": lambda c: junit(c).rstrip("\n"),
}
SINGLE: dict[str, Callable[[GradeView], str]] = {
    "gradescope": lambda v: json.dumps(gradescope(v), indent=1, ensure_ascii=False),
    "otter": lambda v: json.dumps(otter(v), indent=1, ensure_ascii=False),
    "autolab": lambda v: autolab(v).rstrip("\n"),
}
FORMATS = (*WHOLE, *SINGLE)


def run(assignment: Path, places: list[str], out: Path | None, form: str, workers: int) -> int:
    """Grade and print; return 0 when every submission was graded, whatever its points."""
    if form not in FORMATS:
        raise InvalidInput(f"--format={form!r}: expected one of {', '.join(FORMATS)}")
    if workers < 1:
        raise InvalidInput(f"--workers={workers}: expected at least 1")
    if not places:
        raise InvalidInput("SUBMISSIONS: expected files, folders or zip files")
    asked = read_assignment(assignment)
    submissions = find_submissions(places)
    if form in SINGLE and len(submissions) > 1 and out is None:
        raise InvalidInput(
            f"--format={form!r} is for one submission, but there are {len(submissions)}; "
            "with --out FOLDER each gets a file"
        )
    if out is not None:
        try:
            refuse_for_class(out)
        except ReportError as error:
            raise InvalidInput(f"--out: {error}") from None
    graded = grade(asked, submissions, workers, out, _progress(len(submissions)))
    _clear()
    command = ["manual-backprop", "grade", str(assignment), *places]
    graded = msgspec.structs.replace(graded, again=shlex.join(command))
    if out is not None:
        write_class(out, graded)
    if form in WHOLE:
        print(WHOLE[form](graded))
    elif len(graded.graded) == 1:
        print(SINGLE[form](view(graded.graded[0], graded.feedback, graded.title)))
    if out is not None and form == "table":
        print(f"the page: {out / 'index.html'}")
    return 0


def init(file: Path, solution: Path) -> int:
    """Write an assignment from a reference solution, and say what it asks for."""
    made = begin(file, solution)
    for function in made.function:
        print(f"{function.name}: forward, gradients of {', '.join(function.gradients)}")
    print(f"{made.possible:g} points, one for each mark; change them in {file}")
    return 0


def _progress(total: int) -> Callable[[str], None]:
    """Return what shows who was graded last, where a person watches."""
    if not sys.stderr.isatty():
        return lambda student: None
    count = 0

    def show(student: str) -> None:
        nonlocal count
        count += 1
        print(f"\r\033[K{count} of {total}: {student}", end="", file=sys.stderr, flush=True)

    return show


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
