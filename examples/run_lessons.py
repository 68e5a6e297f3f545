"""Run the lessons and grade their exercises, as CI does.

Each lesson has a minute of processor time, so that no lesson fails on a busy machine.

python examples/run_lessons.py             # all of them
python examples/run_lessons.py 003         # one
python examples/run_lessons.py --write     # and store what their cells print
"""

import os
import resource
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from reference.grading.assignment import read_assignment
from reference.grading.grader import grade
from reference.grading.submissions import find_submissions
from reports.graded import Graded, points

HERE = Path(__file__).parent
LESSONS = HERE / "lessons"
EXERCISES = HERE / "exercises"
SECONDS = 60
PATIENCE = 10  # how much longer a cell may take on a busy machine


def main(wanted: list[str]) -> int:
    """Run lessons and grade exercises; return 1 if one fails, 2 for a name that no lesson has."""
    failed = 0
    write = "--write" in wanted
    wanted = [name for name in wanted if name != "--write"]
    lessons = sorted(LESSONS.glob("*.ipynb"))
    for name in wanted:
        if not any(name in path.name for path in lessons):
            print(f"{name}: no lesson has this name; expected one of {[p.stem for p in lessons]}")
            return 2
    for path in lessons:
        if not wanted or any(name in path.name for name in wanted):
            failed |= run_lesson(path, write)
            failed |= grade_exercise(EXERCISES / path.stem.removeprefix("lesson_"))
    return failed


def run_lesson(path: Path, write: bool = False) -> int:
    """Execute a notebook, and store its outputs if `write`; return 1 if it failed or was slow."""
    # The kernel has to find this checkout, also when it is not installed.
    root = str(HERE.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    failed = 0
    notebook = nbformat.read(path, as_version=4)
    before = _processor_time()
    try:
        NotebookClient(notebook, timeout=PATIENCE * SECONDS, kernel_name="python3").execute()
        text = "ran"
    except (CellExecutionError, TimeoutError) as error:
        text, failed = f"failed\n{error}", 1
    taken = _processor_time() - before
    if write and not failed:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # the time of day
        nbformat.write(notebook, path)
    if not 0 < taken <= SECONDS:
        text, failed = f"took more than {SECONDS} s of processor time", 1
    print(f"{path.name}: {text} ({taken:.0f} s)", flush=True)
    return failed


def _processor_time() -> float:
    """Return the processor time of the kernels that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def grade_exercise(folder: Path) -> int:
    """Grade an exercise; return 1 unless the right answer gets points and the mistake is named."""
    graded = grade(
        read_assignment(folder / "assignment.toml"), find_submissions([folder / "submissions"])
    )
    failed = 0
    for one in graded.graded:
        as_it_has_to_be = is_right(one) if one.student == "right" else is_named(one)
        text = f"{one.state}, {points(one.earned)} of {points(one.possible)} points"
        print(f"{folder.name}, {one.student}: {text} {' '.join(one.mistakes)}", flush=True)
        failed |= not as_it_has_to_be
    return failed


def is_right(one: Graded) -> bool:
    return one.state == "right" and one.earned == one.possible


def is_named(one: Graded) -> bool:
    return one.state == "wrong" and 0 < one.earned < one.possible and bool(one.mistakes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
