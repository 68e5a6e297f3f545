"""Reliability on trial: what may happen to a run happens here, many times, and nothing may be lost.

    python benchmarks/stress.py kills --count 50      kill -9 at random points, then resume
    python benchmarks/stress.py fuzz --count 10000    broken records, databases, option values
    python benchmarks/stress.py full-disk             a small tmpfs fills up in the middle
    python benchmarks/stress.py two-writers           two runs on one folder

Each prints what it did and ends with exit 1 when something was lost, hung or left a traceback.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)
COMMAND = [sys.executable, "-m", "reference"]
ROOT = Path(__file__).parent.parent
PAGES = ("records.jsonl", "index.html", "summary.md", "badge.svg")
HANG = 300.0


def run(arguments: Sequence[str], timeout: float = HANG) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout, cwd=ROOT
    )


def content(folder: Path) -> dict[str, bytes]:
    """Return what must be the same, byte for byte, however the run came to its end."""
    return {name: (folder / name).read_bytes() for name in PAGES}


def fail(message: str) -> None:
    """End with the reason."""
    typer.echo(f"FAILED: {message}")
    raise typer.Exit(1)


@app.command()
def kills(count: int = 50, problems: int = 6000, seed: int = 0) -> None:
    """Kill -9 the whole run at random points; every resumed run must end byte-identical."""
    clock = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        plan = ["report", "--run-only", "--problems", str(problems), "--seed", str(seed)]
        began = time.monotonic()
        undisturbed = Path(folder) / "undisturbed"
        done = run([*plan, "--out", str(undisturbed)])
        if done.returncode:
            fail(done.stderr)
        length = time.monotonic() - began
        killed = finished = 0
        while killed < count:
            out = Path(folder) / "killed"
            shutil.rmtree(out, ignore_errors=True)
            arguments = [*plan, "--out", str(out)]
            while killed < count and kill_after(arguments, clock.uniform(0, length)):
                killed += 1
                if (out / "campaign.sqlite").is_file():
                    arguments = ["report", "--run-only", "--resume", "--out", str(out)]
            end = run(arguments if not (out / "campaign.sqlite").is_file() else
                      ["report", "--run-only", "--resume", "--out", str(out)])  # fmt: skip
            if end.returncode and "nothing to resume" not in end.stderr:
                fail(f"after {killed} kills: {end.stderr}")
            if content(out) != content(undisturbed):
                fail(f"after {killed} kills the report differs")
            finished += 1
            typer.echo(f"{killed} kills, {finished} resumed runs, all byte-identical")


def kill_after(arguments: Sequence[str], seconds: float) -> bool:
    """Start a run and kill it and its workers after that time; False where it ended by itself."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


@app.command()
def two_writers(problems: int = 4000) -> None:
    """Start two runs on one folder: the second is refused in one line, the first is whole."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report"
        plan = ["report", "--run-only", "--problems", str(problems), "--out", str(out)]
        first = subprocess.Popen(
            [*COMMAND, *plan], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        while not (out / "campaign.sqlite").is_file() and first.poll() is None:
            time.sleep(0.05)
        time.sleep(0.5)
        second = run([*plan, "--fresh"])
        _, errors = first.communicate(timeout=HANG)
        if second.returncode != 2 or "another run" not in second.stderr:
            fail(f"the second run was not refused: {second.stderr or second.stdout}")
        if first.returncode:
            fail(f"the first run ended with {first.returncode}: {errors}")
        typer.echo(f"The second run: {second.stderr.strip()}")


@app.command()
def full_disk(problems: int = 20000) -> None:
    """Fill a small tmpfs in the middle of a run: one clear line, and the finished blocks kept."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
        try:
            out = Path(folder) / "report"
            done = run(["report", "--run-only", "--problems", str(problems), "--out", str(out)])
            if done.returncode != 2 or done.stderr.count("\n") != 1:
                fail(f"exit {done.returncode}: {done.stderr}")
            typer.echo(done.stderr.strip())
            subprocess.run(["mount", "-o", "remount,size=256m", folder], check=True)
            again = run(["report", "--run-only", "--resume", "--out", str(out)])
            if again.returncode:
                fail(f"it does not go on with room enough: {again.stderr}")
            typer.echo("With room enough, --resume went on to the end.")
        finally:
            subprocess.run(["umount", folder], check=True)


@app.command()
def fuzz(
    count: Annotated[int, typer.Option(help="Broken files and option values in all.")] = 10000,
    seed: int = 0,
) -> None:
    """Feed broken records, databases and options: a clear error or a page, never a traceback."""
    from stress_fuzz import ALL, Escaped

    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for kind, share in ALL.items():
            try:
                tried, refused = kind(Path(folder), max(1, round(count * share)), chance)
            except Escaped as escaped:
                fail(f"{kind.__name__}: {escaped}")
            typer.echo(f"{kind.__name__}: {tried} tried, {refused} refused clearly, none got away")


if __name__ == "__main__":
    app()
