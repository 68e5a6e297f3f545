"""The command line: one clear line and exit 2 for bad input, quick help, machine-readable lists."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from reference.cli import main
from reference.listing import operations, operations_text

ROOT = Path(__file__).parents[2]
FOLDER = Path(tempfile.mkdtemp())
"""Where the commands run: a report that names no folder is written into the working one."""


@pytest.fixture(scope="module", autouse=True)
def _folder() -> Iterator[None]:
    FOLDER.mkdir(exist_ok=True)  # other modules may run in between
    yield
    shutil.rmtree(FOLDER)


def run(
    *arguments: str, env: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-m", "reference", *arguments],
        capture_output=True, text=True, cwd=FOLDER,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )  # fmt: skip


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run a command in this process, and return its exit code: a process takes a second."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(sys, "argv", ["manual-backprop", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nonsense",), "nonsense"),
        (("report", "--problems", "0"), "problems=0"),
        (("report", "--problems", "many"), "--problems"),
        (("report", "--seed", "-1"), "seed=-1"),
        (("report", "--activation", "rleu"), "'rleu' is unknown"),
        (("report", "--loss", "<script>"), "'<script>' is unknown"),
        (("report", "--regime", "x\ny"), "is unknown"),
        (("report", "--dtype", "float8"), "'float8' is unknown"),
        (("report", "--workers", "0"), "workers=0"),
        (("report", "--resume", "--out", "/nonexistent/folder"), "nothing to resume"),
        (("report", "--out", "/proc/report"), "/proc/report"),
        (("show", "seventeen"), "SEED:INDEX"),
        (("show", "0:3", "--order", "3"), "order=3: expected 1 (gradients) or 2"),
        (("show", "0:99999999999999999999999"), "2**64"),
        (("train", "--seed", "-1"), "seed=-1: expected an integer from 0"),
        (("trial", "--seed", "-1"), "seed=-1: expected an integer from 0"),
        (("train", "--picture", "a.gif"), "picture='a.gif': expected a name that ends in .svg"),
        (("train", "--picture", "none/a.svg"), "there is no folder 'none'"),
        (("explain", "002", "--html", "notes.py"), "expected a name that ends in .html"),
        (("explain", "002", "--html", "none/a.html"), "there is no folder 'none'"),
        (("explain", "002", "--html", "/proc/a.html"), "/proc/a.html: "),
        (("grade",), "expected an assignment"),
        (("grade", "a.toml", "--init", "b.toml"), "grade --init ASSIGNMENT.toml --solution"),
        (("grade", "--init", "b.toml"), "grade --init ASSIGNMENT.toml --solution"),
        (("bench", "--picture", "a.txt"), "picture='a.txt': expected a name that ends in .svg"),
        (("report", "--resume", "--fresh"), "expected one"),
        (("report", "--oracle", "manual", "--oracle", "os:path"), "oracle='os:path' cannot"),
        (("report", "--oracle", "manual", "--oracle", "builtins:list"), "no method unavailable"),
        (("report", "--problems", "9" * 12), "expected 1 to 1,000,000,000"),
        (("show", "0:" + "9" * 5000), "SEED:INDEX"),
        (("explain", "2-3000000000-1"), "expected widths of at most 64"),
        (("train", "moons", "--steps", "9" * 14), "expected 1 to 1,000,000"),
        (("check", ":x"), "expected FILE.py, FILE.ipynb, a folder or module:name"),
        (("check", ""), "expected FILE.py, FILE.ipynb, a folder or module:name"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = run_here(monkeypatch, *arguments)
    text = capsys.readouterr().err
    assert code == 2, text
    assert text.count("\n") == 1
    assert expected in text
    assert "Traceback" not in text


def test_refused_input_leaves_no_folder_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(FOLDER.iterdir())
    for arguments in (("--oracle", "os:path"), ("--loss", "none"), ("--scheduler", "nowhere")):
        given = ("report", "--oracle", "manual", *arguments, "--out", "new")
        assert run_here(monkeypatch, *given) == 2
    assert sorted(FOLDER.iterdir()) == before


def test_a_folder_that_is_no_report_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("articles", "trial"):
        assert run_here(monkeypatch, command, "--add-to", str(tmp_path)) == 2
        assert "not a report" in capsys.readouterr().err


def test_a_pipe_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "a.html")
    assert run_here(monkeypatch, "explain", "002", "--html", str(tmp_path / "a.html")) == 2
    assert "not a regular file" in capsys.readouterr().err


def test_the_working_folder_shadows_nothing_of_ours(tmp_path: Path) -> None:
    for name in ("json.py", "reports.py", "numpy.py", "manual_backprop.py", "typer.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, "-m", "reference", "ops", "--json"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


def test_an_error_of_our_own_is_not_a_wrong_gradient() -> None:
    """As of a dependency that is too old: with exit 1 it would accuse somebody's gradient."""
    code = (
        "import sys, reference.listing\n"
        "def operations(): raise AttributeError('a method of a later version')\n"
        "reference.listing.operations = operations\n"
        "sys.argv = ['manual-backprop', 'ops', '--json']\n"
        "from reference.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 70
    assert "AttributeError: a method of a later version" in done.stderr
    assert "This says nothing about a gradient." in done.stderr


def test_a_terminal_without_unicode_gets_every_line(tmp_path: Path) -> None:
    file = tmp_path / "target.py"
    file.write_text("import numpy as np\ndef tanh(x):\n    return np.tanh(x)\n"
                    "def tanh_prime(x):\n    return 1 - np.tanh(x)\n")  # fmt: skip
    done = run("check", str(file), env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 1, done.stderr
    assert "\\xb1" in done.stdout  # ±


@pytest.mark.parametrize(
    ("redirected", "status", "text"),
    [
        ("ops > /dev/full", 2, "could not be written: No space left on device"),
        ("ops >&-", 0, ""),
        ("ops --nonsense 2>&-", 2, ""),
        ("explain 002 | true; exit ${PIPESTATUS[0]}", 141, ""),  # 1 would accuse a gradient
    ],
)
def test_a_stream_that_cannot_be_written_is_no_traceback(
    redirected: str, status: int, text: str
) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -P -m reference {redirected}"],
        capture_output=True, text=True, cwd=FOLDER, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert text in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_python_without_asserts_and_docstrings_judges_as_ever(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "target.py"
    file.write_text("def cube(x):\n    return x**3\ndef cube_prime(x):\n    return x**2\n")
    done = subprocess.run(
        [sys.executable, "-P", flag, "-m", "reference", "check", str(file)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1 and "WRONG in" in done.stdout, done.stderr


def test_no_arguments_are_a_call_for_help() -> None:
    bare, asked = run(), run("--help")
    assert bare.returncode == asked.returncode == 0
    assert bare.stdout == asked.stdout and "COMMAND" in bare.stdout
    assert bare.stderr == ""


@pytest.mark.parametrize(
    "arguments", [("explain", "002", "--html", "a.html"), ("train", "--picture", "a.svg"),
                  ("bench", "--picture", "a.svg")]
)  # fmt: skip
def test_a_file_of_somebody_else_is_not_overwritten(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / arguments[-1]
    file.write_bytes(b"an afternoon's work")
    assert run_here(monkeypatch, *arguments[:-1], str(file)) == 2
    assert capsys.readouterr().err.endswith("exists and was not written by manual-backprop\n")
    assert file.read_bytes() == b"an afternoon's work"


def test_a_page_of_ours_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert run_here(monkeypatch, "explain", "002", "--html", str(tmp_path / "a.html")) == 0


def test_every_operation_is_listed_with_counterparts_and_a_definition() -> None:
    rows = operations()
    assert json.loads(run("ops", "--json").stdout) == json.loads(msgspec.json.encode(rows))
    by_kind = {kind: [r for r in rows if r.kind == kind] for kind in ("activation", "loss")}
    assert {r.name for r in by_kind["activation"]} == set(ACTIVATIONS)
    assert {r.name for r in by_kind["loss"]} == set(LOSSES)
    assert len(by_kind["activation"]) >= 24
    assert len(by_kind["loss"]) >= 14
    assert {r.name: r.options for r in rows}["rms_norm"] == {"eps": 2**-16}
    text = operations_text()
    assert re.search(r"^layer +layer_norm .* x, weight, bias; eps=2\^-16$", text, re.M)
    assert re.search(r"^layer +dense .* x, weight, bias=None$", text, re.M)
    assert re.search(r"^loss +gaussian_nll .* y, t, var; eps=1e-06$", text, re.M)
    assert re.search(r"^activation +elu .* x; alpha=1$", text, re.M)
    for row in rows:
        assert row.definition and row.arguments
        for name in (*row.arguments, *row.parameters, *row.options):
            assert re.search(rf"^{row.kind} +{row.name} .*\b{name}\b", text, re.M)
        for framework, one in (("torch", row.torch), ("jax", row.jax)):
            assert one.composed or re.match(rf"{framework}\.", one.name)


def test_the_command_is_installed_and_listed_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    help_text = run("--help").stdout
    commands = re.findall(r"^  ([a-z]+) {2,}", help_text.partition("Commands:")[2], re.M)
    assert len(commands) == 14
    assert re.findall(r"^\| `([a-z]+)", readme, re.M) == commands, "in the same order"
    assert "..." not in help_text.partition("Commands:")[2], "each sentence fits into its line"


def test_a_flag_is_not_shown_as_if_it_took_a_value() -> None:
    for command in ("check", "report", "trial"):
        assert "bool" not in run(command, "--help").stdout.lower()


@pytest.mark.parametrize("command", ["trial", "articles"])
def test_an_option_that_was_renamed_names_the_new_one(command: str, tmp_path: Path) -> None:
    done = run(command, "--report", str(tmp_path))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.endswith("this option is called --add-to\n")


def test_composed_is_explained_before_the_table() -> None:
    shown = run("ops").stdout
    assert shown.startswith("composed: the framework has no such function, ")
    assert "composition" not in shown


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    found = run("--version")
    assert found.returncode == 0
    assert found.stdout.strip() == f"manual-backprop {version('manual-backprop')}"


def test_a_short_h_helps_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ((), ("report",), ("check",)):
        assert run_here(monkeypatch, *command, "-h") == 0
        short = capsys.readouterr().out
        assert run_here(monkeypatch, *command, "--help") == 0
        assert short == capsys.readouterr().out != ""
