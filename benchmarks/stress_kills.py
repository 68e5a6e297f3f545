"""Kill -9 at random points of a run, workers and parent, then resume: the bytes are the same."""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import psutil
import typer

from reference.running.store import NAME
from reports.folder import WRITING

COMMAND = [sys.executable, "-m", "reference"]
ROOT = Path(__file__).parent.parent
HANG = 300.0
HOT = bytes.fromhex("d9d505f920a163d7")
"""What a journal of SQLite begins with while its transaction is not finished."""

PROGRESS = re.compile(r"[\d,]+ of [\d,]+ networks \(\d+ s\)|networks \(\d+ s\)")

Count = Annotated[int, typer.Option(help="How many times.")]
Problems = Annotated[int, typer.Option(help="The networks of a run.")]
say = typer.echo


class Lost(Exception):
    """Something was lost or hung, or the message was bad."""


def report_of(problems: int, out: Path, *more: str) -> list[str]:
    """Return a run that compiles nothing, so that many fit in; both dtypes."""
    words = ["report", "--networks-only", "--problems", str(problems), "--out", str(out)]
    words += ["--regime", "ordinary", "--regime", "lattice"]
    return [*words, "--oracle", "manual", "--oracle", "torch", *more]


def resume_of(out: Path) -> list[str]:
    """Return the command that continues the run."""
    return ["report", "--resume", "--out", str(out)]


def run(arguments: Sequence[str], **more: object) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with more of what `subprocess.run` takes."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=HANG, cwd=ROOT, **more
    )


def message_of(stderr: str) -> str:
    """Return the messages without the lines of progress, which come every 20 seconds."""
    lines = stderr.strip().splitlines()
    return "\n".join(line for line in lines if not PROGRESS.fullmatch(line))


def must_end_well(arguments: Sequence[str]) -> None:
    """Run a command that has to end with 0."""
    done = run(arguments)
    if done.returncode:
        raise Lost(f"exit {done.returncode} of {' '.join(arguments)}: {done.stderr}")


def must_refuse(arguments: Sequence[str], saying: str) -> str:
    """Run a command that has to end with 2 and one line; return the line."""
    done = run(arguments)
    line = message_of(done.stderr)
    if done.returncode != 2 or "\n" in line or saying not in line:
        raise Lost(f"exit {done.returncode}, expected 2 and one line with {saying!r}: {line}")
    return line


def content(folder: Path) -> dict[str, bytes]:
    """Return all of a report but the seconds it took."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "timing.json"}


def must_be_same(out: Path, undisturbed: Path) -> None:
    """Compare two reports byte for byte, and see that nothing else is left in the folder."""
    here, there = content(out), content(undisturbed)
    if here != there:
        names = {name for name in {*here, *there} if here.get(name) != there.get(name)}
        raise Lost(f"the report differs in {sorted(names)}")


def kills(count: Count = 50, problems: Problems = 2048, seed: int = 0) -> None:
    """Kill -9 the parent, a worker or all of it; every run must end byte-identical."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Path(folder) / "undisturbed"
        must_end_well(report_of(problems, Path(folder) / "warming"))
        began = time.monotonic()
        must_end_well(report_of(problems, undisturbed))
        length = time.monotonic() - began
        say(f"a warm run of {problems} networks takes {length:.1f} s")
        killed = runs = 0
        phases: Counter[str] = Counter()
        while killed < count:
            out = Path(folder) / f"killed-{runs}"
            for _ in range(min(chance.randrange(1, 5), count - killed)):
                arguments = resume_of(out) if _begun(out) else report_of(problems, out)
                aim, who = _aim(chance, length)
                hit = _kill(arguments, out, aim, who, chance)
                if hit is None:
                    break  # it had ended before
                killed += 1
                name = "a resumed run" if "--resume" in arguments else "a new run"
                phases[hit[1]] += 1
                say(f"kill {killed}: {who} after {hit[0]:.2f} s of {name}: {hit[1]}")
                if who == "a worker":
                    break  # the run has gone on to its end
            if _begun(out):
                must_end_well(resume_of(out))
            elif not (out / "index.html").is_file():
                must_end_well(report_of(problems, out))
            must_be_same(out, undisturbed)
            runs += 1
        for phase, times in phases.most_common():
            say(f"{times:3d} kills hit: {phase}")
        say(f"{killed} kills in {runs} runs; every one ended byte for byte as the undisturbed run")


def _begun(out: Path) -> bool:
    """Say whether there is anything to resume: the store has its plan."""
    if not (out / NAME).is_file():
        return False
    done = _query(out, "SELECT count(*) FROM plan")
    return bool(done)


def _aim(chance: random.Random, length: float) -> tuple[Callable[[Path], bool] | float, str]:
    """Draw when to kill: a moment, or while something is seen to be going on; and whom."""
    who = chance.choices(("everything", "the parent", "a worker"), (3, 1, 1))[0]
    moment = chance.uniform(0, 1.1 * length)
    if who == "a worker":
        return moment, who
    what = chance.choices(("moment", "transaction", "pages"), (6, 2, 2))[0]
    if what == "transaction":
        return _hot, who
    return (writes_pages if what == "pages" else moment), who


def _kill(
    arguments: Sequence[str],
    out: Path,
    aim: Callable[[Path], bool] | float,
    who: str,
    chance: random.Random,
) -> tuple[float, str] | None:
    """Start a run and kill; return when and what was hit, None where the run ended before."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    began = time.monotonic()
    while process.poll() is None:
        now = time.monotonic() - began
        if aim(out) if callable(aim) else now >= aim:
            break
        time.sleep(0.0002 if callable(aim) else 0.002)
        if now > HANG:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost(f"no end within {HANG} s: {' '.join(arguments)}")
    workers = _children(process)
    when = time.monotonic() - began
    if process.poll() is not None:
        if process.returncode:
            raise Lost(f"exit {process.returncode}: {process.communicate()[1]!r}")
        process.communicate()
        return None
    if who == "a worker" and workers:
        chance.choice(workers).kill()
        phase = f"a worker, {_phase(out, alive=True)}"
        _, errors = process.communicate(timeout=HANG)
        if process.returncode:
            raise Lost(f"a killed worker ended the run with {process.returncode}: {errors!r}")
        return when, phase
    if who == "the parent":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    if alive:
        raise Lost(f"workers outlive their parent by 10 s: {alive}")
    return when, _phase(out)


def _children(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(process.pid).children()
        return children
    except psutil.Error:
        return []


def _hot(out: Path) -> bool:
    """Say whether a transaction is going on."""
    try:
        with (out / f"{NAME}-journal").open("rb") as journal:
            return journal.read(8) == HOT
    except OSError:
        return False


def writes_pages(out: Path) -> bool:
    """Say whether pages are being written; only the folder's marker is, when a run begins."""
    return any(out.glob(f"{WRITING}*/records.jsonl"))


def _phase(out: Path, alive: bool = False) -> str:
    """Say from what is left what was going on."""
    if not (out / NAME).is_file():
        return "the end" if (out / "index.html").is_file() else "start-up, no store yet"
    if writes_pages(out):
        return "the writing of the pages"
    if _hot(out):
        return "the middle of a transaction"
    if alive:  # its store cannot be read
        return "while blocks are worked on"
    if not _query(out, "SELECT count(*) FROM plan"):
        return "start-up, no plan yet"
    blocks = _query(out, "SELECT count(*) FROM blocks")
    return "blocks being worked on" if blocks else "workers starting, no block yet"


def _query(out: Path, query: str) -> int:
    """Ask a copy of the store, so that the journal is left for the run to roll back."""
    with tempfile.TemporaryDirectory() as folder:
        for file in out.glob(f"{NAME}*"):
            shutil.copy(file, folder)
        try:
            with closing(sqlite3.connect(Path(folder) / NAME)) as base:
                found: int = base.execute(query).fetchone()[0]
                return found
        except sqlite3.OperationalError:  # no such table: killed before the first transaction
            return 0
