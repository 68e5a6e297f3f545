"""Ways of cheating and of breaking out: each is contained, or docs/grading.md says it is not."""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reference.grading.assignment import Allowance, Assignment, Function, Problems
from reference.grading.grader import Judge, grade_one
from reference.grading.submissions import MAX_BYTES, Submission, find_submissions
from reference.workers import Confinement, Worker
from reports.graded import Graded

SOLUTION = """\
import numpy as np


def sigmoid_forward(x):
    y = 1 / (1 + np.exp(-x))
    return y, y


def sigmoid_backward(dout, y):
    return dout * y * (1 - y)
"""
WRONG = SOLUTION.replace("dout * y * (1 - y)", "dout * y")
FUNCTION = Function("sigmoid_backward", {"x": 2.0}, 1.0)


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    path = tmp_path_factory.mktemp("assignment") / "solution.py"
    path.write_text(SOLUTION)
    limits = Allowance(seconds=20, hang_seconds=3, memory_mb=512, file_mb=1)
    return Assignment(str(path), (FUNCTION,), limits=limits, problems=Problems(2, 0, 977))


@pytest.fixture(scope="module")
def judge(assignment: Assignment):
    one = Judge(assignment)
    yield one
    one.close()


def graded(text: str, assignment: Assignment, judge: Judge) -> Graded:
    return grade_one(Submission("mallory", "hw.py", {"hw.py": text.encode()}), assignment, judge)


def inside(code: str, text: str = WRONG) -> str:
    """Return a submission that runs `code` whenever its backward is called."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return text.replace(
        "def sigmoid_backward(dout, y):\n", f"def sigmoid_backward(dout, y):\n{body}"
    )


def beside(code: str, text: str = WRONG) -> str:
    """Return a submission that runs `code` when it is loaded."""
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return f"{text}\n\nclass Loaded:\n{body}"


def tampering(one: Graded) -> bool:
    return one.state == "tampering" and one.grave and one.earned == 0


def ended(one: Graded) -> bool:
    return one.state in ("hung", "crashed", "not read") and one.earned == 0


def harmless(one: Graded) -> bool:
    """It did nothing: a wrong gradient stays wrong, its forward is paid."""
    return one.state == "wrong" and one.earned == 1


def by_hand(one: Graded) -> bool:
    return one.state == "not by hand" and one.earned == 0


@dataclass(frozen=True)
class Cheat:
    name: str
    text: str
    contained: Callable[[Graded], bool]


FORGED = """\
import os, struct, msgspec
part = {"name": "sigmoid_backward", "verdict": "right"}
event = {"type": "finished", "index": 0, "part": part}
message = msgspec.msgpack.encode({"type": "Event", "content": msgspec.msgpack.encode(event)})
for pipe in range(3, 20):
    try:
        os.write(pipe, struct.pack(">Q", len(message)) + message)
    except OSError:
        pass
"""
COMPLEX = "return dout * np.imag(1 / (1 + np.exp(-(np.log(y / (1 - y)) + 1e-30j)))) / 1e-30"
CHEATS = [
    Cheat(
        "network", inside("import socket\nsocket.socket().connect(('192.0.2.1', 80))"), tampering
    ),
    Cheat("process", inside("import subprocess\nsubprocess.Popen(['true'])"), tampering),
    Cheat("fork", inside("import os\nos.fork()"), tampering),
    Cheat("kill", inside("import os\nos.kill(os.getppid(), 9)"), tampering),
    Cheat("system", beside("import os\nos.system('true')"), tampering),
    Cheat("password", inside("open('/etc/passwd').read()"), tampering),
    Cheat("write", inside("open('/tmp/mallory', 'w')"), tampering),
    Cheat("library", inside("import ctypes\nctypes.CDLL(None)"), tampering),
    Cheat("objects", inside("import gc\ngc.get_objects()"), tampering),
    Cheat("numpy", beside("np.abs = lambda *a, **k: 0.0"), tampering),
    Cheat(
        "judge", beside("import reference.checks.comparing.assessment as a\na.close = 1"), tampering
    ),
    Cheat("spin", inside("while True: pass"), ended),
    Cheat("sleep", inside("import time\ntime.sleep(1000)"), ended),
    Cheat("exit", inside("import os\nos._exit(0)"), ended),
    Cheat("spin at once", beside("while True: pass"), ended),
    Cheat("memory", inside("hog = bytearray(1 << 33)"), lambda one: one.earned == 0),
    Cheat(
        "garbage",
        inside(
            "import os\nfor i in range(3, 20):\n    try: os.write(i, b'x' * 99)\n"
            "    except OSError: pass"
        ),
        ended,
    ),
    Cheat("forged", inside(FORGED), harmless),
    Cheat("at exit", beside("import atexit\natexit.register(print, 'right')"), harmless),
    Cheat("flood", inside("print('right ' * 9999)"), harmless),
    Cheat(
        "large file",
        inside("try: open('big', 'wb').write(bytes(9 << 20))\nexcept OSError: pass"),
        harmless,
    ),
    Cheat("seed", inside("np.random.seed(0)"), harmless),
    Cheat("torch", inside("import torch\nt = torch.tensor(1.0)", SOLUTION), by_hand),
    Cheat("harness", inside("from reference.balls import gradient\ngradient", SOLUTION), by_hand),
    Cheat("complex step", inside(COMPLEX), by_hand),
    Cheat(
        "nothing",
        SOLUTION.replace("1 / (1 + np.exp(-x))", "x * 0").replace("dout * y * (1 - y)", "dout * 0"),
        lambda one: one.earned == 0,
    ),
    Cheat(
        "public answers",
        SOLUTION.replace(
            "    return dout * y", "    public = abs(y.flat[0] - 0.5) < 1e-9\n    return dout * y"
        ).replace("(1 - y)", "(public - y)"),
        lambda one: one.earned == 1,
    ),
]
QUICK = {"network", "password", "judge", "spin", "forged", "harness", "nothing"}


@pytest.mark.parametrize(
    "cheat",
    [pytest.param(c, id=c.name, marks=[] if c.name in QUICK else pytest.mark.slow) for c in CHEATS],
)
def test_cheating_is_contained(cheat: Cheat, assignment: Assignment, judge: Judge) -> None:
    one = graded(cheat.text, assignment, judge)
    assert cheat.contained(one), (
        one.state,
        one.earned,
        one.ended,
        one.refused,
        one.notices,
        one.items,
    )
    assert not Path("/tmp/mallory").exists()


def test_the_same_code_without_cheating_is_right(assignment: Assignment, judge: Judge) -> None:
    one = graded(SOLUTION, assignment, judge)
    assert (one.state, one.earned) == ("right", 3.0)


def test_the_environment_is_clean_and_no_file_of_the_teacher_is_in_reach(
    assignment: Assignment, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it finds it puts into its gradient: a right one where there is nothing to find."""
    monkeypatch.setenv("SECRET_TOKEN", "x")
    look = f"""
import os
bad = 'SECRET_TOKEN' in os.environ or os.path.exists('grades.json') or os.listdir('.') != ['hw.py']
try:
    bad = bad or bool(os.listdir({os.path.dirname(assignment.reference)!r}))
except OSError:
    pass
dout = dout * (2 if bad else 1)
"""
    one = graded(inside(look.strip(), SOLUTION), assignment, judge)
    if not one.lacks or one.lacks == ("a user of its own",):
        assert one.state == "right", one


def test_a_zip_file_reaches_nothing_outside(tmp_path: Path) -> None:
    place = tmp_path / "class.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anna/hw.py", SOLUTION)
        archive.writestr("../out.py", "x = 1")
        archive.writestr("/etc/out.py", "x = 1")
        archive.writestr("bomb/hw.py", bytes(20 * MAX_BYTES))
    found = {s.student: s for s in find_submissions([place])}
    assert set(found) == {"anna", "bomb"}
    assert found["bomb"].files["hw.py"] == b""
    assert [p.name for p in tmp_path.iterdir()] == ["class.zip"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "hw.py").write_text(SOLUTION)
    (tmp_path / "stolen.py").symlink_to("/etc/passwd")
    assert [s.file for s in find_submissions([tmp_path])] == ["hw.py"]


def test_measures_that_hold_are_told_from_those_that_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each measure is tried from inside a confined worker, where the system has it."""
    tests = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", tests)
    confinement = Confinement(20, 1 << 20, 64, 16, (tests,))
    worker = Worker("workertasks:try_measures", confinement=confinement)
    try:
        events = list(worker.run(None, dict))
        tried = next((e for e in events if isinstance(e, dict)), None)
        assert tried is not None, events
    finally:
        worker.close()
    for measure in tried["holds"]:
        assert tried["tried"].get(measure, True), (measure, tried)
    assert set(tried["holds"]) & set(tried["lacks"]) == set()
