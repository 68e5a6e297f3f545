"""The command `manual-backprop grade`: a class graded, as text or in the form of another system.

With --init it writes an assignment from your solution.
"""

import json
import secrets
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from manual_backprop.operation import InvalidInput
from reference.grading.assignment import Assignment, Function, Problems, read_assignment
from reference.grading.grader import Judge, grade
from reference.grading.records import Described
from reference.grading.submissions import find_submissions
from reports.checked import plain
from reports.class_page import refuse_for_class, write_class
from reports.grade_formats import autolab, class_text, gradescope, junit, otter, table
from reports.graded import Class, GradeView, view
from reports.records import ReportError

_HEAD = """\
# What is asked for, what it is worth, and how it is judged: see docs/grading.md.
title = {title}
reference = {reference}  # your solution
feedback = "hint"  # what students see: "tensor", "hint", "name" or "formula"

[limits]
seconds = 60  # processor time of one submission
hang_seconds = 10  # without a result of the next problem
memory_mb = 1024
processes = 16
file_mb = 8
open_files = 64

[problems]
count = 4
public_seed = 0  # students may try it: manual-backprop check FILE --seed 0
hidden_seed = {hidden}  # keep it to yourself
dtypes = ["float64"]  # or ["float64", "float32"]: gradients of float32 have to be float32

[dialect]
layout = "any"  # or "reference": samples and weights must have your solution's layout
mean = "any"  # or "reference": 1/N must be where your solution has it
forward = "any"  # or "reference": a right gradient of another forward gets no points
cached = "any"  # or "reference": forward must return your solution's cache, in its order
"""

_FUNCTION = """
[[function]]
name = {name}  # as your solution calls it
title = {title}
names = []  # what else submissions may call it
forward = 1
gradients = {{ {gradients} }}
chapters = {chapters}  # of the book, shown to students at the level "formula"
"""


def begin(file: Path, solution: Path) -> Assignment:
    """Write an assignment for a solution, a point for each mark; return it.

    Raises InvalidInput where the file exists, or the solution is not right itself.
    """
    if file.exists():
        raise InvalidInput(f"--init {str(file)!r} exists; expected the name of a new file")
    if not file.parent.is_dir():
        raise InvalidInput(f"--init {str(file)!r}: there is no folder {str(file.parent)!r}")
    if not solution.is_file() or solution.suffix not in (".py", ".ipynb"):
        raise InvalidInput(f"--solution {str(solution)!r}: expected a .py or .ipynb file")
    described = _described(solution)
    functions = tuple(
        Function(
            d.unit,
            dict.fromkeys(d.gradients, 1.0),
            1.0,
            chapters=(d.operation,) if d.operation else (),
        )
        for d in described
    )
    hidden = secrets.randbelow(2**31) + 1
    reference = _relative(solution, file.parent)
    title = solution.stem.replace("_", " ")
    text = _HEAD.format(title=_toml(title), reference=_toml(reference), hidden=hidden)
    file.write_text(text + "".join(map(_function, functions)), encoding="utf-8")
    return Assignment(reference, functions, title, problems=Problems(hidden_seed=hidden))


def _described(solution: Path) -> list[Described]:
    one = Assignment(str(solution.resolve()), (Function("all", {"x": 1.0}),))
    judge = Judge(one)
    try:
        described = judge.describe()
    finally:
        judge.close()
    if not described:
        raise InvalidInput(f"--solution {str(solution)!r}: no gradient was found in it")
    unfit = next((d for d in described if d.verdict != "right"), None)
    if unfit is not None:
        raise InvalidInput(f"--solution {str(solution)!r}: {unfit.verdict}")
    return described


def _function(one: Function) -> str:
    gradients = ", ".join(f"{_key(g)} = {p:g}" for g, p in one.gradients.items())
    return _FUNCTION.format(
        name=_toml(one.name), title=_toml(one.name.replace("_", " ")), gradients=gradients,
        chapters=_toml(list(one.chapters)),
    )  # fmt: skip


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _toml(name)


def _toml(value: object) -> str:
    """Return text or a list of texts as TOML spells it; JSON's spelling is TOML's as well."""
    return msgspec.json.encode(value).decode()


def _relative(solution: Path, folder: Path) -> str:
    try:
        return solution.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        return str(solution.resolve())


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
