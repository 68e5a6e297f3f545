"""Tests reliability: what may happen to a run happens here, many times, and nothing may be lost.

    python benchmarks/stress.py kills --count 50      kill -9 at random points, then resume
    python benchmarks/stress.py fuzz --count 10000    broken records, databases, option values
    python benchmarks/stress.py names                 hostile names through every page and file
    python benchmarks/stress.py full-disk             a small disk fills up: at the start, later
    python benchmarks/stress.py read-only             a folder that cannot be written to
    python benchmarks/stress.py two-writers           two runs on one folder
    python benchmarks/stress.py clock                 the clock jumps by years in every process
    python benchmarks/stress.py interrupts            Ctrl-C, at any point, ends within 2 seconds
    python benchmarks/stress.py hangs                 what a hang costs at the limits of every day
    python benchmarks/stress.py short                 all of it, shorter: what CI runs

Each prints what it did and ends with exit 1 when something was lost, hung or left a traceback.
"""

import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import stress_events
import stress_kills
import typer
from stress_fuzz import ALL, Escaped, fuzz_names
from stress_kills import Lost

app = typer.Typer(no_args_is_help=True, add_completion=False)
Count = Annotated[int, typer.Option(help="How many times.")]
Problems = Annotated[int, typer.Option(help="The networks of a run.")]


def run_case(case: Callable[[], object]) -> None:
    """Run a case; end with 1 and the reason where something was lost."""
    try:
        case()
    except (Lost, Escaped) as lost:
        typer.echo(f"FAILED: {lost}")
        raise typer.Exit(1) from None


@app.command()
def kills(count: Count = 50, problems: Problems = 2048, seed: int = 0) -> None:
    """Kill -9 the parent, a worker or all of it; every run must end byte-identical."""
    run_case(lambda: stress_kills.kills(count, problems, seed, typer.echo))


@app.command()
def fuzz(
    count: Annotated[int, typer.Option(help="Broken files and option values in all.")] = 10000,
    seed: int = 0,
) -> None:
    """Feed broken records, databases and options: a clear error or a page, never a traceback."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for kind, share in ALL.items():

            def case(kind: Callable[..., tuple[int, int]] = kind, share: float = share) -> None:
                place = Path(folder) / kind.__name__
                place.mkdir()
                tried, refused = kind(place, max(1, round(count * share)), chance)
                typer.echo(f"{kind.__name__}: {tried} tried, {refused} refused, none got away")

            run_case(case)


@app.command()
def names(count: Count = 60, seed: int = 0) -> None:
    """Put hostile names into every field of every record, through every page and file."""
    with tempfile.TemporaryDirectory() as folder:
        run_case(partial(fuzz_names, Path(folder), count, random.Random(seed)))
    typer.echo(f"{count} sets of pages with hostile names: nothing came through, nothing beside")


@app.command()
def full_disk(problems: Problems = 2048) -> None:
    """Fill disks of several sizes: one clear line, the finished blocks kept, --resume works."""
    run_case(lambda: stress_events.full_disk(problems, typer.echo))


@app.command()
def read_only(problems: Problems = 2048) -> None:
    """Begin and resume where nothing can be written: one clear line, and nothing lost."""
    run_case(lambda: stress_events.read_only(problems, typer.echo))


@app.command()
def two_writers(count: Count = 5, problems: Problems = 2048) -> None:
    """Start runs on one folder: one continues to its end, the others are refused in one line."""
    run_case(lambda: stress_events.two_writers(count, problems, typer.echo))


@app.command()
def clock(problems: Problems = 2048) -> None:
    """Let the clock jump by years in every process of a run: the bytes are the same."""
    run_case(lambda: stress_events.clock(problems, typer.echo))


@app.command()
def interrupts(count: Count = 12, problems: Problems = 2048, seed: int = 0) -> None:
    """Ctrl-C while workers start, blocks are worked on and pages written; then resume."""
    run_case(lambda: stress_events.interrupts(count, problems, seed, typer.echo))


@app.command()
def hangs() -> None:
    """Plant an oracle that hangs on one problem of a thousand, with the limits of every day."""
    run_case(lambda: stress_events.hangs(typer.echo))


@app.command()
def short() -> None:
    """Run all of it, shorter."""
    kills(count=3, problems=512)
    fuzz(count=400)
    names(count=4)
    run_case(lambda: stress_events.full_disk(512, typer.echo, sizes=("8k", "96k")))
    read_only(problems=512)
    two_writers(count=1, problems=512)
    clock(problems=512)
    interrupts(count=1, problems=512)


if __name__ == "__main__":
    app()
