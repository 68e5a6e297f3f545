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
from functools import wraps
from pathlib import Path
from typing import Annotated

import stress_events
import stress_kills
import typer
from stress_fuzz import ALL, Escaped, fuzz_names
from stress_kills import Count, Lost

app = typer.Typer(no_args_is_help=True, add_completion=False)


def command(case: Callable[..., None]) -> Callable[..., None]:
    """Make a case a command, which ends with 1 and the reason where something was lost."""

    @wraps(case)
    def run_case(**options: object) -> None:
        try:
            case(**options)
        except (Lost, Escaped) as lost:
            typer.echo(f"FAILED: {lost}")
            raise typer.Exit(1) from None

    return app.command()(run_case)


kills = command(stress_kills.kills)
full_disk = command(stress_events.full_disk)
read_only = command(stress_events.read_only)
two_writers = command(stress_events.two_writers)
clock = command(stress_events.clock)
interrupts = command(stress_events.interrupts)
hangs = command(stress_events.hangs)


@command
def fuzz(
    count: Annotated[int, typer.Option(help="Broken files and option values in all.")] = 10000,
    seed: int = 0,
) -> None:
    """Feed broken records, databases and options: a clear error or a page, never a traceback."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for kind, share in ALL.items():
            place = Path(folder) / kind.__name__
            place.mkdir()
            tried, refused = kind(place, max(1, round(count * share)), chance)
            typer.echo(f"{kind.__name__}: {tried} tried, {refused} refused, none got away")


@command
def names(count: Count = 60, seed: int = 0) -> None:
    """Put hostile names into every field of every record, through every page and file."""
    with tempfile.TemporaryDirectory() as folder:
        fuzz_names(Path(folder), count, random.Random(seed))
    typer.echo(f"{count} sets of pages with hostile names: nothing came through, nothing beside")


@app.command()
def short() -> None:
    """Run all of it, shorter."""
    kills(count=3, problems=512)
    fuzz(count=400)
    names(count=4)
    full_disk(problems=512, sizes=["8k", "96k"])
    read_only(problems=512)
    two_writers(count=1, problems=512)
    clock(problems=512)
    interrupts(count=1, problems=512)


if __name__ == "__main__":
    app()
