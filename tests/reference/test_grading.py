"""Grading: assignments, points, feedback levels, formats, resuming, and the class of thirty."""

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import classofthirty
import msgspec
import pytest
from classofthirty import ASSIGNMENT, PAIRS, POSSIBLE, STUDENTS, Student
from patience import PATIENCE

from manual_backprop.operation import InvalidInput
from reference.grading.assignment import LEVELS, read_assignment
from reference.grading.command import init, run
from reference.grading.marking import FunctionEvidence, copied, marks_of
from reference.grading.records import ComparedGradient, Judged
from reference.grading.screening import screen_text
from reference.grading.submissions import find_submissions
from reports.class_page import rebuild_class
from reports.grade_formats import autolab, gradescope, junit, otter, table
from reports.graded import Class, Graded, read_class, view

SMALL = ("right_cmu", "inner", "other_forward", "empty", "right_notebook")


def write_class(folder: Path, students: tuple[Student, ...]) -> Path:
    """Write an assignment, its solution and submissions; return the assignment."""
    (folder / "subs").mkdir(parents=True)
    (folder / "hw.toml").write_text(ASSIGNMENT)
    (folder / "solution.py").write_text(PAIRS)
    for student in students:
        student.write(folder / "subs")
    return folder / "hw.toml"


def grade_into(folder: Path, students: tuple[Student, ...], workers: int = 2) -> Class:
    assignment = write_class(folder, students)
    assert run(assignment, [str(folder / "subs")], folder / "out", "csv", workers) == 0
    return read_class((folder / "out" / "grades.json").read_bytes())


def lost(one: Graded) -> set[str]:
    return {f"{i.heading}: {m.what}" for i in one.items for m in i.marks if m.earned < m.possible}


def is_true(one: Graded, student: Student) -> bool:
    named = not student.mistakes or bool(set(student.mistakes) & set(one.mistakes))
    return one.state == student.state and lost(one) == set(student.lost) and named


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Class]:
    folder = tmp_path_factory.mktemp("small")
    return folder, grade_into(folder, tuple(s for s in STUDENTS if s.name in SMALL))


# -- a class -----------------------------------------------------------------------------------


def test_a_small_class_is_graded_as_it_is(small: tuple[Path, Class]) -> None:
    truth = {s.name: s for s in STUDENTS}
    for one in small[1].graded:
        assert is_true(one, truth[one.student]), one
        assert one.possible == POSSIBLE


def test_a_follow_on_error_is_not_charged_twice(small: tuple[Path, Class]) -> None:
    inner = next(g for g in small[1].graded if g.student == "inner")
    states = {m.what: m.state for m in inner.items[3].marks}
    assert states == {"forward": "right", "W1": "wrong", "b1": "follows", "W2": "right",
                      "b2": "right"}  # fmt: skip


@pytest.mark.slow
def test_the_class_of_thirty(tmp_path: Path) -> None:
    """Every verdict and name is true, the hostile one is contained and named."""
    assert len(STUDENTS) == 30 and sum(s.state == "right" for s in STUDENTS) == 12
    began = time.process_time(), os.times()
    graded = grade_into(tmp_path, STUDENTS)
    children = os.times().children_user - began[1].children_user
    assert time.process_time() - began[0] + children < 2 * 180  # two processors, three minutes
    truth = {s.name: s for s in STUDENTS}
    false = [g.student for g in graded.graded if not is_true(g, truth[g.student])]
    assert false == []
    page = (tmp_path / "out" / "index.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<svg" in page
    assert rebuild_class(tmp_path / "out") == graded


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.mark.slow
def test_one_worker_two_workers_and_a_killed_run_give_the_same_bytes(tmp_path: Path) -> None:
    students = tuple(s for s in STUDENTS if s.name in (*SMALL, "slope", "hangs", "sign"))
    command = [sys.executable, "-m", "reference", "grade", "hw.toml", "subs", "--out", "out"]
    results = []
    for name, workers in (("one", 1), ("two", 2), ("killed", 2)):
        folder = tmp_path / name
        write_class(folder, students)
        whole = [*command, "--workers", str(workers)]
        root = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        if name == "killed":
            first = subprocess.Popen(whole, cwd=folder, env=root, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + PATIENCE
            while not list((folder / "out").glob("graded/*.json")):
                assert time.monotonic() < deadline and first.poll() is None
                time.sleep(0.05)
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert not (folder / "out" / "grades.json").exists()
        subprocess.run(whole, cwd=folder, env=root, check=True, stdout=subprocess.DEVNULL)
        results.append(digests(folder / "out"))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 4 * len(students)


def test_a_teacher_needs_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a reference solution: an assignment, a look at one, the class from a zip file."""
    solution = tmp_path / "solution.py"
    solution.write_text(PAIRS[: PAIRS.index("def softmax_loss")])
    archive = tmp_path / "class.zip"
    with zipfile.ZipFile(archive, "w") as class_of_two:
        class_of_two.writestr("week3/anna/hw.py", solution.read_text())
        class_of_two.writestr(
            "week3/ben/hw.py", solution.read_text().replace("x.T.dot", "2*x.T.dot")
        )
    assignment = tmp_path / "hw.toml"
    assert init(assignment, solution) == 0
    assert run(assignment, [str(solution)], None, "table", 1) == 0
    assert run(assignment, [str(archive)], tmp_path / "out", "table", 2) == 0
    text = capsys.readouterr().out
    assert "affine_backward: forward, gradients of x, w, b" in text
    assert re.search(r"solution +6 / 6  right", text)
    assert re.search(r"anna +6 / 6  right", text)
    assert re.search(r"ben +5 / 6  wrong; \w+", text)


# -- what students see -------------------------------------------------------------------------


def secrets_of(one: Graded) -> dict[str, set[str]]:
    """Return what of a grade is only to be seen from each level on."""
    parts = [i.part for i in one.items if i.part is not None and i.part.mistakes]
    assert parts
    return {
        "hint": {f"look first at {p.first_wrong}" for p in parts if p.first_wrong},
        "name": {m.name.replace("_", " ") for p in parts for m in p.mistakes},
        "formula": {t for p in parts for m in p.mistakes for t in (m.sentence, m.right, m.yours)}
        | {p.worst.sentence() for p in parts if p.worst},
    }


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_of_a_higher_level_is_in_what_a_student_sees(
    small: tuple[Path, Class], level: str
) -> None:
    one = next(g for g in small[1].graded if g.student == "inner")
    seen = view(one, level, "title")
    whole = json.dumps(msgspec.to_builtins(seen), ensure_ascii=False)
    forms = [whole, json.dumps(gradescope(seen), ensure_ascii=False), autolab(seen),
             json.dumps(otter(seen), ensure_ascii=False)]  # fmt: skip
    for higher, secrets in secrets_of(one).items():
        shown = LEVELS.index(higher) <= LEVELS.index(level)  # type: ignore[arg-type]
        for secret in secrets:
            assert all(secret in form or secret[:20] in form for form in forms) == shown, secret


def test_the_pages_of_students_keep_to_the_level(small: tuple[Path, Class]) -> None:
    folder, graded = small
    assert graded.feedback == "hint"
    page = (folder / "out" / "students" / "inner.html").read_text()
    assert "ook first at dz" in page
    assert "activation value for slope" not in page.lower()
    teacher = (folder / "out" / "index.html").read_text()
    assert "activation value for slope" in teacher


def test_a_page_with_the_formula_has_the_derivation(small: tuple[Path, Class]) -> None:
    from reports.class_page import render_student

    one = next(g for g in small[1].graded if g.student == "other_forward")
    page = render_student(view(one, "formula", "title"))
    assert "The derivation: sigmoid" in page


# -- the forms of other systems ----------------------------------------------------------------

GRADESCOPE = {
    "score": float, "execution_time": float, "output": str, "output_format": str,
    "test_output_format": str, "test_name_format": str, "visibility": str,
    "stdout_visibility": str, "extra_data": dict, "tests": list, "leaderboard": list,
}  # fmt: skip
GRADESCOPE_TEST = {
    "score": float, "max_score": float, "status": str, "name": str, "name_format": str,
    "number": str, "output": str, "output_format": str, "tags": list, "visibility": str,
    "extra_data": dict,
}  # fmt: skip
VISIBILITY = {"hidden", "after_due_date", "after_published", "visible"}
OUTPUT_FORMATS = {"text", "html", "simple_format", "md", "ansi"}


def test_gradescope_has_its_published_fields_and_no_other(small: tuple[Path, Class]) -> None:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/, "Output format"."""
    folder, graded = small
    for one in graded.graded:
        result = json.loads(
            (folder / "out" / "gradescope" / one.student / "results.json").read_text()
        )
        assert set(result) <= set(GRADESCOPE)
        assert all(isinstance(v, GRADESCOPE[k]) for k, v in result.items())
        assert result["stdout_visibility"] in VISIBILITY
        for test in result["tests"]:
            assert set(test) <= set(GRADESCOPE_TEST)
            assert all(isinstance(v, GRADESCOPE_TEST[k]) for k, v in test.items())
            assert test["visibility"] in VISIBILITY and test["status"] in ("passed", "failed")
            assert test["output_format"] in OUTPUT_FORMATS
            assert 0 <= test["score"] <= test["max_score"]
        assert sum(t["score"] for t in result["tests"]) == result["score"] == one.earned


def test_otter_has_the_fields_that_its_reader_asks_for(small: tuple[Path, Class]) -> None:
    """As `otter.test_files.GradingResults.from_ottr_json` reads them."""
    for one in small[1].graded:
        result = otter(view(one, "hint", ""))
        assert set(result) == {"test_file_results"}
        for file in result["test_file_results"]:
            assert set(file) == {"filename", "points", "test_case_results"}
            assert len(file["points"]) == len(file["test_case_results"])
            for case in file["test_case_results"]:
                assert set(case) == {"passed", "error", "test_case"}
                assert set(case["test_case"]) == {
                    "name", "code", "hidden", "points", "success_message", "failure_message"
                }  # fmt: skip
        earned = sum(
            c["test_case"]["points"]
            for f in result["test_file_results"] for c in f["test_case_results"] if c["passed"]
        )  # fmt: skip
        assert earned == one.earned


def test_the_last_line_for_autolab_is_its_result(small: tuple[Path, Class]) -> None:
    """Autolab's guide for lab authors: the last line on stdout is JSON with "scores"."""
    for one in small[1].graded:
        *_, last = autolab(view(one, "hint", "")).splitlines()
        result = json.loads(last)
        assert set(result) == {"scores", "scoreboard"}
        assert result["scores"] == {i.heading: i.earned for i in one.items}
        assert result["scoreboard"][-1] == one.earned


def test_junit_has_the_elements_and_attributes_that_pytest_writes(
    small: tuple[Path, Class], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_a(): assert 0\n\ndef test_b(): pytest.skip('x')\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=it.xml"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    theirs = ElementTree.parse(tmp_path / "it.xml").getroot()
    known = {e.tag: {a for x in theirs.iter(e.tag) for a in x.attrib} for e in theirs.iter()}
    root = ElementTree.fromstring(junit(small[1]).encode())
    for element in root.iter():
        assert set(element.attrib) <= known[element.tag], element.tag
    suites = {s.get("name"): s for s in root}
    for one in small[1].graded:
        suite = suites[one.student]
        failed, skipped = suite.findall(".//failure"), suite.findall(".//skipped")
        assert len(failed) == int(suite.get("failures", "")) and len(skipped) == int(
            suite.get("skipped", "")
        )
        assert len(failed) + len(skipped) == len(lost(one))
        assert len(suite) == int(suite.get("tests", ""))


def test_the_table_is_read_back_and_holds_no_formula(small: tuple[Path, Class]) -> None:
    renamed = msgspec.structs.replace(small[1].graded[0], student="=cmd|' /C calc'!A0")
    graded = msgspec.structs.replace(small[1], graded=(renamed, *small[1].graded[1:]))
    rows = list(csv.DictReader(io.StringIO(table(graded))))
    assert rows[0]["student"].startswith("'=")
    assert [float(r["points"]) for r in rows] == [g.earned for g in graded.graded]


def test_names_of_students_are_no_code(small: tuple[Path, Class]) -> None:
    from reports.class_page import render_class, render_student

    renamed = msgspec.structs.replace(small[1].graded[0], student="<script>alert(1)</script>\x00")
    graded = msgspec.structs.replace(small[1], graded=(renamed,))
    assert "<script>alert" not in render_class(graded, ["a.html"])
    assert "<script>alert" not in render_student(view(renamed, "formula", ""))
    ElementTree.fromstring(junit(graded).encode())


# -- assignments -------------------------------------------------------------------------------

BAD = [
    ('title = "A two-layer network"', "title = 3", "title = 3: Expected `str`, got `int`"),
    ('feedback = "hint"', 'feedback = "all"', "feedback = 'all': Invalid enum value 'all'"),
    ("seconds = 60", "seconds = 0", "limits.seconds = 0: Expected `float` > 0.0"),
    ("seconds = 60", 'seconds = "long"', "limits.seconds = 'long': Expected `float`, got `str`"),
    ("seconds = 60", "second = 60", "limits: Object contains unknown field `second`"),
    ("count = 3", "count = 1", "problems.count = 1: Expected `int` >= 2"),
    ("hidden_seed = 20811", "hidden_seed = 0", "expected another number than public_seed"),
    ("hidden_seed = 20811", "hidden_seed = -1", "problems.hidden_seed = -1: Expected `int` >= 0"),
    ('reference = "solution.py"', 'reference = "other.py"', "reference = 'other.py': expected"),
    ('reference = "solution.py"', "", "missing required field `reference`"),
    ('name = "affine_backward"', 'nam = "affine"', "function[0]"),
    ('name = "sigmoid_backward"', 'name = "affine_backward"', "is listed twice"),
    ("gradients = { x = 3 }", "gradients = {}", "gradients = {}: Expected `object` of length >= 1"),
    ("gradients = { x = 3 }", "gradients = { x = -1 }", "gradients[...] = {'x': -1}: Expected"),
    ('chapters = ["sigmoid"]', 'chapters = ["sigmo"]', "'sigmo' is not an operation of the book"),
    ("count = 3", 'count = 3\ndtypes = ["float32"]', "problems.dtypes = ['float32']: expected"),
    ("count = 3", 'count = 3\ndtypes = ["int8"]', "Invalid enum value 'int8'"),
    ("count = 3", "count = 3\ndtypes = []", "problems.dtypes = []: Expected `array` of length"),
    ("[problems]", '[dialect]\ncached = "some"\n\n[problems]', "dialect.cached = 'some': Invalid"),
    ("[limits]", "[limits", "is not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BAD, ids=[b[2][:30] for b in BAD])
def test_every_bad_field_is_named_with_its_value(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in ASSIGNMENT
    (tmp_path / "solution.py").write_text(PAIRS)
    path = tmp_path / "hw.toml"
    path.write_text(ASSIGNMENT.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_assignment(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "affine_backward"', 'name = "affine"', "function.name = 'affine': the reference"),
        ("x = 2, w = 2, b = 1", "x = 2, W = 2, b = 1", "'W': the reference solution gives"),
    ],
)
def test_an_assignment_that_its_solution_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = write_class(tmp_path, STUDENTS[:1])
    path.write_text(ASSIGNMENT.replace(old, new, 1))
    with pytest.raises(InvalidInput, match=re.escape(message)):
        run(path, [str(tmp_path / "subs")], None, "table", 1)


def test_a_wrong_solution_is_no_reference(tmp_path: Path) -> None:
    solution = tmp_path / "solution.py"
    solution.write_text("def f(x):\n    return x * x\n\n\ndef f_prime(x):\n    return x\n")
    with pytest.raises(InvalidInput, match="is wrong itself: x"):
        init(tmp_path / "hw.toml", solution)


@pytest.mark.parametrize(
    ("places", "form", "message"),
    [
        (["none"], "table", "SUBMISSIONS='none': expected"),
        ([], "table", "SUBMISSIONS: expected"),
        (["subs"], "pdf", "--format='pdf': expected one of table, json"),
        (["subs"], "gradescope", "is for one submission, but there are 2"),
    ],
)
def test_bad_arguments_are_one_sentence(
    tmp_path: Path, places: list[str], form: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_class(tmp_path, STUDENTS[:2])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=re.escape(message)):
        run(path, places, None, form, 1)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = write_class(tmp_path, STUDENTS[:1])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InvalidInput, match="is not empty"):
        run(path, [str(tmp_path / "subs")], tmp_path / "mine", "table", 1)


# -- points ------------------------------------------------------------------------------------


def judged(public: bool = False, **right: bool | str) -> Judged:
    """Return a judgement of gradients by name: True, False, or what it follows from."""
    held = tuple(
        ComparedGradient(of, f"d{of}", r is True, r if isinstance(r, str) else "")
        for of, r in right.items()
    )
    return Judged(public, True, True, False, held)


@pytest.fixture
def function(tmp_path: Path):
    return read_assignment(write_class(tmp_path, STUDENTS[:1])).function[3]


def earned(function, *runs: Judged) -> dict[str, float]:
    return {
        m.what: m.earned
        for m in marks_of(function, FunctionEvidence(runs, attempted=True), len(runs))
    }


def test_one_cause_is_charged_once_and_two_causes_twice(function) -> None:
    all_of_one = judged(W1="dz", b1="dz", W2=True, b2=True)
    assert earned(function, all_of_one) == {"forward": 1, "W1": 0, "b1": 1, "W2": 2, "b2": 1}
    two = judged(W1="dz", b1=False, W2=True, b2=True)
    assert earned(function, two) == {"forward": 1, "W1": 0, "b1": 0, "W2": 2, "b2": 1}
    every = judged(W1="ds", b1="ds", W2="ds", b2="ds")
    assert sum(earned(function, every).values()) == function.possible - 2


def test_a_gradient_that_is_wrong_once_is_wrong(function) -> None:
    right = judged(W1=True, b1=True, W2=True, b2=True)
    once = judged(W1=True, b1=True, W2=True, b2=False)
    assert earned(function, right, once)["b2"] == 0
    assert earned(function, right, right)["b2"] == 1


def test_a_gradient_of_another_forward_is_paid_unless_it_is_not_to_be(function) -> None:
    own = msgspec.structs.replace(
        judged(W1=False, b1=False, W2=False, b2=False), forward_right=False, own=True
    )
    assert earned(function, own) == {"forward": 0, "W1": 2, "b1": 1, "W2": 2, "b2": 1}
    strict = marks_of(function, FunctionEvidence((own,), attempted=True, own_counts=False), 1)
    assert sum(m.earned for m in strict) == 0


def test_other_types_and_other_cached_items_are_charged_where_they_are(
    function,
) -> None:
    right = judged(W1=True, b1=True, W2=True, b2=True)
    (bias, *rest) = (h for h in right.held if h.of == "b1")
    assert not rest
    wide = msgspec.structs.replace(bias, right=False, dtype="in float32 it came back as float64")
    lost = msgspec.structs.replace(
        right, held=tuple(wide if h.of == "b1" else h for h in right.held), cached="other items"
    )
    marks = marks_of(function, FunctionEvidence((lost,), attempted=True), 1)
    texts = {m.what: m.text for m in marks if m.earned < m.possible}
    assert texts == {
        "forward": "other items", "b1": "right in float64; in float32 it came back as float64",
    }  # fmt: skip


def test_too_few_runs_are_no_proof(function) -> None:
    right = judged(W1=True, b1=True, W2=True, b2=True)
    marks = marks_of(function, FunctionEvidence((right,), attempted=True), 4)
    assert {m.state for m in marks} == {"unreadable"}


def test_answers_of_the_public_problems_are_recognised() -> None:
    public, hidden = judged(True, x=True), judged(False, x=False)
    assert copied([public, hidden]) is not None
    assert copied([public, judged(False, x=True)]) is None
    assert copied([judged(True, x=False), hidden]) is None


# -- what is not by hand, and what was not attempted -------------------------------------------


def notices(code: str) -> list[str]:
    screened, _ = screen_text("a.py", code.encode())
    return [n.kind for n in screened.of("f_backward")]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("import torch\n\ndef f_backward(d, x):\n    return torch.tensor(x)\n", "framework"),
        ("from jax import grad as g\n\ndef f_backward(d, x):\n    return g(f)(x)\n", "framework"),
        ("import autograd.numpy as np\n\ndef f_backward(d):\n    return np.exp(d)\n", "framework"),
        ("def f_backward(d, x, h=1e-5):\n    return d * (f(x + h) - f(x - h)) / (2 * h)\n",
         "differences"),
        ("def num(x):\n    e = 1e-6\n    a, b = f(x + e), f(x - e)\n    return (a - b) / (2*e)\n"
         "\ndef f_backward(d, x):\n    return d * num(x)\n", "differences"),
        ("import numpy as np\n\ndef f_backward(d, x):\n    return np.gradient(x)\n", "differences"),
        ("def f_backward(d, x):\n    return f(x + 1e-20j).imag / 1e-20\n", "differences"),
        ("def f_backward(d):\n    return [" + ", ".join(["0.5"] * 30) + "]\n", "answers"),
    ],
)  # fmt: skip
def test_what_is_not_by_hand_is_named(code: str, kind: str) -> None:
    assert notices(code) == [kind]


@pytest.mark.parametrize(
    "code",
    [
        # a gradient check beside the backward, and what only looks like one
        "import torch\n\ndef f_backward(d, x):\n    return d * x\n\ndef t():\n    torch.ones(1)\n",
        "def c(h=1e-5):\n    return (f(h) - f(-h)) / (2 * h)\n\n"
        "def f_backward(d, x):\n    return d\n",
        "def f_backward(d, x, eps=1e-5):\n    s = np.sqrt(np.var(x) + eps)\n"
        "    return (d - np.mean(d)) / s\n",
        "def f_backward(d, x, eps=1e-8):\n"
        "    return (np.sum(d) - np.mean(x)) / (np.std(x) + eps)\n",
        "def f_backward(d, x):\n    h = np.tanh(x)\n    return (np.sum(d) - np.exp(h)) / len(h)\n",
    ],
)
def test_what_is_by_hand_is_not_accused(code: str) -> None:
    assert notices(code) == []


@pytest.mark.parametrize("style", classofthirty.STYLES)
def test_no_style_is_accused(style: str) -> None:
    screened, looks = screen_text("a.py", classofthirty.STYLES[style].encode())
    assert looks == []
    assert [n for r in screened.routines for n in screened.of(r)] == []


@pytest.mark.parametrize(
    ("body", "attempted"),
    [
        ("pass", False),
        ("raise NotImplementedError", False),
        ('raise NotImplementedError("later")', False),
        ("return None", False),
        ("return None, None", False),
        ('"""To do."""\n    x, w = cache\n    dx = None\n    dw = None\n    return dx, dw', False),
        ("...", False),
        ("return d", True),
        ("x = cache\n    return d * x", True),
        ("dx = None\n    dx = d * 2\n    return dx", True),
        ("raise ValueError", True),
    ],
)
def test_not_attempted_is_told_from_wrong(body: str, attempted: bool) -> None:
    screened, _ = screen_text("a.py", f"def f_backward(d, cache):\n    {body}\n".encode())
    assert screened.attempted(("f_backward",)) is attempted
    assert screened.attempted(("g_backward",)) is None


# -- submissions -------------------------------------------------------------------------------


def test_files_folders_and_zip_files_of_a_class_are_found(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "hw.py").write_text("def f_backward(d): return d\n")
    (tmp_path / "anna" / "plot.py").write_text("x = 1\n")
    (tmp_path / "ben").mkdir()
    (tmp_path / "ben" / "hw.ipynb").write_text("{}")
    (tmp_path / "carl").mkdir()
    (tmp_path / "carl" / "letter.txt").write_text("sorry")
    found = find_submissions([tmp_path])
    assert [(s.student, s.file) for s in found] == [
        ("anna", "hw.py"), ("ben", "hw.ipynb"), ("carl", ""),
    ]  # fmt: skip
    assert found[2].refused and set(found[0].files) == {"hw.py", "plot.py"}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in tmp_path.rglob("*.*"):
            if path.suffix != ".zip":
                archive.write(path, f"class/{path.relative_to(tmp_path)}")
    assert find_submissions([tmp_path / "all.zip"]) == found
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as archive:
        archive.write(tmp_path / "all.zip", "everyone.zip")
        archive.writestr("broken.zip", "none")
    broken, everyone = find_submissions([nested])
    assert broken.refused and everyone.student == "everyone" and len(everyone.files) == 4
    flat = find_submissions([tmp_path / "anna" / "hw.py", tmp_path / "anna" / "hw.py"])
    assert [s.student for s in flat] == ["hw", "hw (2)"]


# -- the documentation -------------------------------------------------------------------------


def test_the_assignment_of_the_docs_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "grading.md").read_text()
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    (tmp_path / "solution.py").write_text(PAIRS)
    (tmp_path / "hw.toml").write_text(found[1])
    assignment = read_assignment(tmp_path / "hw.toml")
    assert assignment.function[0].gradients == {"x": 2, "w": 2, "b": 1}


def test_the_forms_in_the_docs_have_the_fields_that_are_written(small: tuple[Path, Class]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "grading.md").read_text()
    test, case, autolab_line = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    seen = view(small[1].graded[0], "hint", "")
    assert set(test) == set(gradescope(seen)["tests"][0])
    ours = otter(seen)["test_file_results"][0]["test_case_results"][0]
    assert set(case) == set(ours) and set(case["test_case"]) == set(ours["test_case"])
    assert set(autolab_line) == set(json.loads(autolab(seen).splitlines()[-1]))


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reference", "grade", "none.toml", "hw.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "manual-backprop: ASSIGNMENT='none.toml': no such file\n"
