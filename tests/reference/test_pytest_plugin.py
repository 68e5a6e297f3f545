"""The pytest plugin, run in sessions of its own."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from targetsources import DENSE_PAIR, SLOPE, inside

from manual_backprop_pytest import message
from reference.checks.results import Result
from reference.checks.results.pages import write_report
from reference.checks.results.records import Part

ROOT = Path(__file__).parents[2]

pytest_plugins = ["pytester"]

# Installed, the plugin loads by itself; from a bare checkout it is named.
_INSTALLED = any(e.name == "backprop" for e in entry_points(group="pytest11"))
_NAMED = () if _INSTALLED else ("-p", "manual_backprop_pytest")
PLUGIN = ("-p", "no:slipcover", *_NAMED)  # the coverage of these sessions is nobody's

WRONG = DENSE_PAIR.replace("dout.sum(axis=0)", "dout.mean(axis=0)")
TESTS = """
import layers, slopes, pytest

def test_wrong(check_gradient):
    check_gradient(layers)

@pytest.mark.backprop(problems=4)
def test_right(check_gradient):
    result = check_gradient(slopes.sigmoid)
    assert result.parts[0].problems == EXPECTED
"""


@pytest.fixture(scope="module", autouse=True)
def _everything_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what a check loads: pytester forgets modules; torch does not bear a second import."""
    write_report(inside(WRONG, 2), tmp_path_factory.mktemp("page"))


@pytest.fixture
def session(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(layers=WRONG, slopes=SLOPE)
    pytester.syspathinsert()
    return pytester


def test_the_message_carries_the_finding(session: pytest.Pytester) -> None:
    session.makepyfile(TESTS.replace("EXPECTED", "4"))
    ran = session.runpytest(*PLUGIN, "-p", "no:cacheprovider")
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(
        [
            "*affine_backward: WRONG in 20 of 20 problems*",
            "*read as: the gradient of affine_forward*",
            "*wrong: db; right: dx, dw*",
            "*smallest that fails: N = 2*",
            "*again: manual-backprop check layers --seed 0*",
        ]
    )


def test_the_options_go_over_the_marker_and_the_page_is_written(session: pytest.Pytester) -> None:
    session.makepyfile(TESTS.replace("EXPECTED", "3"))
    ran = session.runpytest(
        *PLUGIN, "--backprop-problems=3", "--backprop-seed=7", "--backprop-report=page"
    )
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*--seed 7 --problems 3*", "gradient report: *index.html"])
    page = (session.path / "page" / "index.html").read_text()
    assert "2 targets: 1 not right, 1 right" in page and "affine_backward" in page
    found = json.loads((session.path / "page/check.json").read_text())
    assert {one["what"]: one["exit_code"] for one in found} == {"layers": 1, "sigmoid": 0}
    assert all((session.path / "page" / name).is_file() for one in found for name in one["pages"])


HAND_OVER = """
from manual_backprop_pytest import RESULTS
from reports.checked import Part, Worst
from reference.checks.results import Result
import pytest

@pytest.mark.parametrize("n", [1, 2, 3])
def test_one(request, n):
    worst = Worst("0:0", "dx", (), float("nan"), 1.0)
    part = Part(f"part {n}", "wrong", "form", "judge", n, 0, n, worst=worst)
    request.config.stash[RESULTS].append(Result(f"target {n}", 0, (part,)))
"""


def test_workers_of_xdist_hand_their_results_over(session: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    session.makepyfile(HAND_OVER)
    ran = session.runpytest_subprocess(*PLUGIN, "-n2", "--backprop-report=page")
    ran.assert_outcomes(passed=3)
    found = json.loads((session.path / "page" / "check.json").read_text())
    assert {one["what"] for one in found} == {"target 1", "target 2", "target 3"}
    assert {one["parts"][0]["worst"]["given"] for one in found} == {"nan"}


def test_bad_options_are_a_usage_error(session: pytest.Pytester) -> None:
    ran = session.runpytest_subprocess(*PLUGIN, "--backprop-problems=0")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["*--backprop-problems=0: expected at least 1*"])


@pytest.mark.parametrize("option", ["f", ".", "f/deeper", ""])
def test_a_folder_that_cannot_be_the_report_is_a_usage_error(
    session: pytest.Pytester, option: str
) -> None:
    session.makefile("", f="mine")
    session.makepyfile("def test_one(): raise SystemExit('ran')")
    ran = session.runpytest(*PLUGIN, f"--backprop-report={option}")
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines([f"ERROR: --backprop-report={option}: *"])
    assert len([line for line in ran.stderr.lines if line.strip()]) == 1
    assert "Traceback" not in ran.stdout.str()


def test_a_report_that_cannot_be_written_is_told_in_a_line(session: pytest.Pytester) -> None:
    session.makepyfile("def test_one(): open('page', 'w').close()")
    ran = session.runpytest(*PLUGIN, "--backprop-report=page")
    assert ran.ret == pytest.ExitCode.TESTS_FAILED
    ran.stdout.fnmatch_lines(["no gradient report: page: a file is in the way*", "*1 passed*"])
    assert "Traceback" not in ran.stdout.str() + ran.stderr.str()


SETTINGS = """
import pytest, slopes
from manual_backprop.operation import InvalidInput

@pytest.mark.backprop(problem=3)
def test_keyword(check_gradient):
    pass

@pytest.mark.backprop(5)
def test_positional(check_gradient):
    pass

@pytest.mark.backprop(problems=0)
def test_marked_zero(check_gradient):
    with pytest.raises(InvalidInput, match="problems=0"):
        check_gradient(slopes.sigmoid)

def test_called_zero(check_gradient):
    with pytest.raises(InvalidInput, match="problems=0"):
        check_gradient(slopes.sigmoid, problems=0)

@pytest.mark.backprop(seed=7, problems=1)
def test_seed(check_gradient):
    assert check_gradient(slopes.sigmoid).seed == SEED
"""


@pytest.mark.parametrize(("options", "seed"), [((), 7), (("--backprop-seed=0",), 0)])
def test_settings_are_heeded_or_refused(
    session: pytest.Pytester, options: tuple[str, ...], seed: int
) -> None:
    session.makepyfile(SETTINGS.replace("SEED", str(seed)))
    ran = session.runpytest(*PLUGIN, *options)
    ran.assert_outcomes(passed=3, errors=2)
    message = "expected keywords among problems, seed, like, allow_unchecked, strict"
    ran.stdout.fnmatch_lines(
        [
            f"@pytest.mark.backprop(problem=3): {message}",
            f"@pytest.mark.backprop(5): {message}",
        ]
    )


def test_an_object_has_no_command(session: pytest.Pytester) -> None:
    session.makepyfile(
        "import layers\n"
        "def test_wrong(check_gradient):\n"
        "    check_gradient((layers.affine_forward, layers.affine_backward), problems=1)\n"
    )
    ran = session.runpytest(*PLUGIN)
    ran.assert_outcomes(failed=1)
    assert "again:" not in ran.stdout.str()


def test_loading_it_loads_no_framework() -> None:
    code = (
        "import sys, manual_backprop_pytest; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'jax', 'numpy', 'reference', 'reports')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd()).returncode == 0


UNCHECKED = """
import numpy as np, pytest

def double(x):
    return 2 * x

def double_backward(dout, x):
    return 2 * dout

class Half:
    def forward(self, x):
        return x / 2

    def backward(self, dout, nowhere):
        return dout @ nowhere.weights

def test_strictly(check_gradient):
    check_gradient({"double": double, "double_backward": double_backward, "Half": Half})

@pytest.mark.backprop(allow_unchecked=True)
def test_allowed(check_gradient):
    result = check_gradient({"double": double, "double_backward": double_backward, "Half": Half})
    assert [p.verdict for p in result.parts] == ["right", "unchecked"]
"""


def test_what_was_not_checked_fails_unless_it_is_allowed(session: pytest.Pytester) -> None:
    session.makepyfile(UNCHECKED)
    ran = session.runpytest(*PLUGIN)
    ran.assert_outcomes(passed=1, failed=1)
    ran.stdout.fnmatch_lines(["*Half.backward: NOT CHECKED*", "*gradient is right; 1 not checked*"])


def test_a_message_is_never_longer_than_its_screen() -> None:
    part = Part(
        "what", "wrong", wrong=9, problems=9, remarks=tuple(f"number {n}" for n in range(60))
    )
    assert len(message(Result("t", 0, (part,))).splitlines()) <= 25


@pytest.mark.parametrize("name", ["reference.py", "reports/__init__.py", "manual_backprop.py"])
def test_a_project_with_a_module_of_our_name_keeps_it(tmp_path: Path, name: str) -> None:
    """As `python -m pytest` runs it: the project's folder is searched first."""
    taken = name.partition("/")[0].removesuffix(".py")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("theirs = True")
    (tmp_path / "slopes.py").write_text(SLOPE)
    (tmp_path / "test_theirs.py").write_text(
        f"import {taken}, slopes\n"
        f"def test_theirs():\n    assert {taken}.theirs\n"
        "def test_ours(check_gradient):\n    check_gradient(slopes.sigmoid)\n"
    )
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    command = [sys.executable, "-m", "pytest", "-p", entry["pytest11"]["backprop"]]
    # Only this plugin, by its entry point: what is installed here may be an older one.
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    ran = subprocess.run(
        [*command, "--rootdir", str(tmp_path), "test_theirs.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    message = f"check_gradient: the name {taken!r} is {(tmp_path / name).resolve()}, which is not"
    assert message in ran.stdout
    refused = subprocess.run(
        [*command, "--backprop-report=page"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--backprop-report=page: the name {taken!r} is" in refused.stderr
