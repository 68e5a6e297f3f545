"""What happens to a run from outside: no room, no rights, a second writer, the clock, Ctrl-C."""

import json
import os
import random
import re
import resource
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from stress_kills import (
    COMMAND,
    HANG,
    ROOT,
    Count,
    Lost,
    Problems,
    content,
    message_of,
    must_be_same,
    must_end_well,
    must_refuse,
    report_of,
    resume_of,
    run,
    say,
    writes_pages,
)

from reference.campaign import Plan
from reference.running.store import NAME, Store
from reports.folder import claim_folder

SECONDS_TO_END, SHARE_TO_END = 2.0, 0.25
"""What Ctrl-C may take, the page of what is done included: seconds, or a share of a whole run where
the machine is so busy that this is more."""

JUMPS = """
import random, time
_now, _chance = time.time, random.Random(0)
time.time = lambda: _now() + _chance.uniform(-2e9, 2e9)
time.time_ns = lambda: int(time.time() * 1e9)
"""

HANGS_ON_ONE = """
import time
from reference.oracles.manual import Manual

class Slow(Manual):
    def answers(self, problems):
        return [self.answer(problem) for problem in problems]
    def answer(self, problem):
        if float(problem.x.ravel()[0]) == {value!r}:
            time.sleep(1e6)
        return super().answer(problem)
"""


@contextmanager
def disk(size: str) -> Iterator[Path]:
    """Mount a small disk in memory; a system that forbids it fails, it does not skip."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def may_mount() -> bool:
    """Say whether this system lets us mount."""
    try:
        with disk("64k"):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


DISKS = ["8k", "48k", "96k", "160k", "400k"]
"""Full at the start, among the blocks, and at each of the pages."""


def full_disk(problems: Problems = 2048, sizes: list[str] = DISKS) -> None:
    """Fill disks of several sizes: one clear line, the finished blocks kept, --resume works."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        must_end_well(report_of(problems, undisturbed))
        if not may_mount():
            _small_files(Path(folder), problems, undisturbed)
            return
        for size in sizes:
            with disk(size) as here:
                out = here / "report"
                before = run(report_of(problems, out))
                if before.returncode == 0:
                    raise Lost(f"{size} was enough: nothing is shown")
                line = message_of(before.stderr)
                if before.returncode != 2 or "\n" in line:
                    raise Lost(f"{size}: exit {before.returncode}: {line}")
                say(f"{size}: {line.replace(str(here), '')}")
                if "file" not in line and "full" not in line and "space" not in line:
                    raise Lost(f"{size}: the line does not say why")
                subprocess.run(["mount", "-o", "remount,size=256m", str(here)], check=True)
                _goes_on(out, problems, undisturbed)
    say("With room enough each went on and ended byte for byte as the undisturbed run.")


def _goes_on(out: Path, problems: int, undisturbed: Path) -> None:
    """Resume, or begin where nothing had begun; compare."""
    again = run(resume_of(out))
    if again.returncode == 2 and "nothing to resume" in again.stderr:
        again = run(report_of(problems, out))
    if again.returncode:
        raise Lost(f"it does not go on: {again.stderr}")
    must_be_same(out, undisturbed)


def _small_files(folder: Path, problems: int, undisturbed: Path) -> None:
    """Where no disk can be made small, let no file grow: the system refuses to write as well."""
    for size in (8_000, 60_000):
        out = folder / f"small-{size}"
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
        done = run(report_of(problems, out), preexec_fn=limit)
        if done.returncode != 2 or "\n" in message_of(done.stderr):
            raise Lost(f"files of {size} bytes at most: exit {done.returncode}: {done.stderr}")
        say(f"files of {size} bytes at most: {message_of(done.stderr)}")
        _goes_on(out, problems, undisturbed)


def read_only(problems: Problems = 2048) -> None:
    """Begin and resume where nothing can be written: one clear line, and nothing lost."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        must_end_well(report_of(problems, undisturbed))
        if not may_mount():
            _closed_folder(Path(folder) / "closed", problems, undisturbed)
            return
        with disk("64m") as here:
            out = here / "report"
            _stopped_run(out, problems)
            subprocess.run(["mount", "-o", "remount,ro", str(here)], check=True)
            before = content(out)
            for arguments in (resume_of(out), report_of(problems, here / "new")):
                line = must_refuse(arguments, "")
                say(line.replace(str(here), ""))
                if not re.search("read-?only", line, re.IGNORECASE):
                    raise Lost(f"the line does not say why: {line}")
            if content(out) != before:
                raise Lost("a read-only folder was changed")
            subprocess.run(["mount", "-o", "remount,rw", str(here)], check=True)
            _goes_on(out, problems, undisturbed)
    say("When it could be written again it went on and ended as the undisturbed run.")


def _closed_folder(out: Path, problems: int, undisturbed: Path) -> None:
    """The same by the folder's rights, where nothing can be mounted; root heeds no rights."""
    if os.geteuid() == 0:
        raise Lost("this system lets root mount nothing: read-only cannot be shown")
    _stopped_run(out, problems)
    out.chmod(0o500)
    say(must_refuse(resume_of(out), ""))
    out.chmod(0o700)
    _goes_on(out, problems, undisturbed)


def _stopped_run(out: Path, problems: int) -> None:
    """Leave a run behind that was killed with some blocks finished."""
    with running(report_of(problems, out)) as process:
        _until(process, lambda: _size(out) > 20_000)
        os.killpg(process.pid, signal.SIGKILL)


def two_writers(count: Count = 5, problems: Problems = 2048) -> None:
    """Start runs on one folder: one continues to its end, the others are refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        must_end_well(report_of(problems, undisturbed))
        for turn in range(count):
            out = Path(folder) / f"report-{turn}"
            # At once, each with --fresh.
            several = [_start(report_of(problems, out, "--fresh")) for _ in range(3)]
            ends = [(p.communicate(timeout=HANG)[1], p.returncode) for p in several]
            good = [errors for errors, code in ends if code == 0]
            for errors, code in ends:
                if code and (code != 2 or "another run" not in errors or errors.count("\n") != 1):
                    raise Lost(f"exit {code}: {errors}")
            if not good:
                raise Lost("none of the runs came to its end")
            must_be_same(out, undisturbed)
            say(f"turn {turn + 1}: of 3 runs begun at once {len(good)} ended whole")
        held = Path(folder) / "held"
        claim_folder(held)
        writer = Store(held)  # a run that has begun and does not end while others try
        writer.begin(Plan(problems=problems), {})
        for others in (report_of(problems, held, "--fresh"), resume_of(held)):
            must_refuse(others, "another run is writing this folder")
        writer.close()
        say("A run in the middle of another one is refused, with --fresh and with --resume.")


def clock(problems: Problems = 2048) -> None:
    """Let the clock jump by up to 63 years in every process of a run: the bytes are the same."""
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, jumping = Path(folder) / "undisturbed", Path(folder) / "jumping"
        must_end_well(report_of(problems, undisturbed))
        (Path(folder) / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
        path = os.pathsep.join((folder, str(ROOT)))
        done = run(report_of(problems, jumping), env={**os.environ, "PYTHONPATH": path})
        if done.returncode or "CRASHED" in done.stdout:
            raise Lost(f"exit {done.returncode}: {done.stderr or done.stdout}")
        must_be_same(jumping, undisturbed)
    say("With a clock that jumps by years in every process: the same bytes, nothing cut.")


def interrupts(count: Count = 12, problems: Problems = 2048, seed: int = 0) -> None:
    """Ctrl-C while workers start, blocks are worked on and pages written; then resume."""
    chance = random.Random(seed)
    slowest: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        must_end_well(report_of(problems, undisturbed))
        began = time.monotonic()
        must_end_well(report_of(problems, undisturbed, "--fresh"))
        length = time.monotonic() - began
        most = max(SECONDS_TO_END, SHARE_TO_END * length)
        for turn in range(count):
            out = Path(folder) / f"report-{turn}"
            with running(report_of(problems, out)) as process:
                if turn % 4 == 3:
                    phase = "while pages are written"
                    _until(process, lambda out=out: writes_pages(out))
                else:
                    # Until then it is Python's own: it loads modules and has no page to write.
                    least = 20_000 if turn % 4 == 2 else 1
                    _until(process, lambda out=out, n=least: _size(out) >= n)
                    _wait(process, chance.uniform(0.0, 0.5 * length))
                    phase = "with blocks" if _size(out) > 20_000 else "before the first block"
                if process.poll() is not None:
                    continue
                # As a terminal does it: to all of the group, and by a hand that presses twice.
                os.killpg(process.pid, signal.SIGINT)
                pressed = time.monotonic()
                time.sleep(0.05)
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
                _, errors = process.communicate(timeout=HANG)
                seconds = time.monotonic() - pressed
            slowest[phase] = max(seconds, slowest.get(phase, 0.0))
            say(f"Ctrl-C {phase}: ended after {seconds:.2f} s with {process.returncode}")
            if process.returncode == 0:
                must_be_same(out, undisturbed)  # it came too late
                continue
            # The second Ctrl-C may meet Python on its way out: to a shell both ends are 130.
            if process.returncode not in (130, -signal.SIGINT) or "Traceback" in errors:
                raise Lost(f"exit {process.returncode}: {errors}")
            if seconds > most:
                raise Lost(f"{phase}: {seconds:.1f} s, expected at most {most:.1f}")
            command = re.search(r"To continue: manual-backprop (.*)", errors)
            if not command:
                raise Lost(f"no command to go on with: {errors}")
            if phase != "before the first block" and not (out / "index.html").is_file():
                raise Lost(f"{phase}: no page of what is done")
            must_end_well(shlex.split(command[1]))
            must_be_same(out, undisturbed)
    for phase, seconds in slowest.items():
        say(f"{phase}: {seconds:.2f} s at most")


def hangs() -> None:
    """Plant an oracle that hangs on one problem of a thousand, with the limits of every day."""
    from reference.campaign import BLOCK, Plan
    from reference.problems import draw

    problems = 3072
    # The first ordinary problem of the fifth block: its first number is met nowhere else.
    selection = Plan(regimes=("ordinary", "lattice")).selection()
    drawn = (draw(0, selection.index(position)) for position in range(4 * BLOCK, problems))
    one = next(one for one in drawn if one.cell.regime == "ordinary")
    first = float(one.problem.x.ravel()[0])
    with tempfile.TemporaryDirectory() as folder:
        source = HANGS_ON_ONE.format(value=first)
        (Path(folder) / "hanging.py").write_text(source, encoding="utf-8")
        seconds = []
        for oracle in ("reference.oracles.manual:Manual", "hanging:Slow"):
            out = Path(folder) / oracle.partition(":")[2]
            arguments = report_of(problems, out, "--oracle", oracle, "--workers", "1")
            began = time.monotonic()
            path = os.pathsep.join((folder, str(ROOT)))
            done = run(arguments, env={**os.environ, "PYTHONPATH": path})
            seconds.append(time.monotonic() - began)
            verdicts = json.loads((out / "summary.json").read_text())["verdicts"]
            crashed = {verdict: n for verdict, n in verdicts.items() if "CRASHED" in verdict}
            expected = {f"CRASHED({oracle})": 1} if oracle.startswith("hanging") else {}
            if crashed != expected or "Traceback" in done.stderr:
                raise Lost(f"exit {done.returncode}, {crashed}: {done.stderr}")
    say(f"without a hang {seconds[0]:.0f} s, with one {seconds[1]:.0f} s: "
        f"it costs {seconds[1] - seconds[0]:.0f} s")  # fmt: skip


@contextmanager
def running(arguments: list[str]) -> "Iterator[subprocess.Popen[str]]":
    """Start a command in a process group of its own; end what is left of it."""
    process = _start(arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _start(arguments: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        # What a shell starts in the background ignores Ctrl-C, and so would what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _until(process: "subprocess.Popen[str]", seen: Callable[[], bool]) -> None:
    """Wait until something is seen or the process has ended."""
    began = time.monotonic()
    while process.poll() is None and not seen():
        time.sleep(0.001)
        if time.monotonic() - began > HANG:
            raise Lost(f"not seen within {HANG} s")


def _wait(process: "subprocess.Popen[str]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _size(out: Path) -> int:
    """Return the size of the store; with a block in it, it has 20,000 bytes and more."""
    try:
        return (out / NAME).stat().st_size
    except OSError:
        return 0
