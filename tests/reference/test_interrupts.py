"""What may happen to a run from outside: Ctrl-C, kill -9, a second writer, a closed folder."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE, wait_until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "reference", "report"]
PROBLEMS = 8192  # some seconds of work: what happens to it has to happen in time
PAGES = ("records.jsonl", "summary.json", "index.html", "summary.md", "badge.svg")
ONE_BLOCK = 20_000
"""Bytes that the store has when a block is in it; without one it has 12 KiB."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "report"
    subprocess.run(
        [*COMMAND, *plan(out), "--workers", "1"], check=True, capture_output=True, cwd=ROOT
    )
    return out


def plan(out: Path, problems: int = PROBLEMS) -> list[str]:
    narrow = ["--activation", "tanh", "--loss", "mse", "--regime", "ordinary"]
    narrow += ["--dtype", "float64", "--oracle", "manual", "--oracle", "torch"]
    return [
        "--problems",
        str(problems),
        "--networks-only",
        *narrow,
        "--out",
        str(out),
    ]


@pytest.fixture
def running(tmp_path: Path) -> Iterator["Running"]:
    run = Running(tmp_path / "report")
    yield run
    run.kill()


HEARS_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""A shell's background jobs ignore Ctrl-C, and so would what they start."""


class Running:
    """A run in the background, in its own process group, with at least one block finished."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [sys.executable, "-c", HEARS_CTRL_C, *COMMAND, *plan(out), "--workers", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        store = out / "campaign.sqlite"
        assert wait_until(
            lambda: (
                self.process.poll() is not None
                or (store.is_file() and store.stat().st_size >= ONE_BLOCK)
            )
        )
        assert self.process.poll() is None, self.process.communicate()[1]

    def kill(self) -> None:
        """Kill -9 the run and its workers."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def resumed(out: Path) -> dict[str, bytes]:
    done = subprocess.run(
        [*COMMAND, "--resume", "--workers", "1", "--out", str(out)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return content(out)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in PAGES}


def test_ctrl_c_leaves_a_page_and_the_command_that_goes_on(
    running: Running, undisturbed: Path
) -> None:
    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    _, errors = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 130, errors
    assert "Traceback" not in errors
    command = re.search(r"To continue: manual-backprop report (.*)", errors)
    assert command and shlex.split(command[1]) == ["--resume", "--out", str(running.out)]
    page = (running.out / "index.html").read_text(encoding="utf-8")
    assert re.search(r"stopped with [\d,]+ of 8,192 to do", page)
    assert resumed(running.out) == content(undisturbed)


def test_a_run_killed_and_resumed_ends_with_the_same_bytes(
    running: Running, undisturbed: Path
) -> None:
    running.kill()
    assert resumed(running.out) == content(undisturbed)


def test_a_second_run_on_the_folder_is_refused_and_the_first_goes_on(
    running: Running, undisturbed: Path
) -> None:
    os.killpg(running.process.pid, signal.SIGSTOP)  # it must not end before the second begins
    second = subprocess.run(
        [*COMMAND, *plan(running.out), "--fresh"], capture_output=True, text=True, cwd=ROOT
    )
    os.killpg(running.process.pid, signal.SIGCONT)
    assert second.returncode == 2
    assert "another run is writing this folder" in second.stderr
    assert second.stderr.count("\n") == 1
    _, errors = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 0, errors
    assert content(running.out) == content(undisturbed)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way", encoding="utf-8")
    for out in (file, file / "below", Path("/proc/nowhere")):
        done = subprocess.run([*COMMAND, *plan(out)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
    assert file.read_text(encoding="utf-8") == "in the way"
