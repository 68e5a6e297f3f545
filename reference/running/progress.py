"""The progress of a long command: a bar on a terminal, and a line now and then elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 20.0
"""Between two lines in a pipe, as a log of a CI has them."""


@contextmanager
def progress_bar(what: str = "networks") -> Iterator[Callable[[int, int], None]]:
    """Give a function to be called with what is done and what there is in all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with progress_lines(what) as tell:
            yield lambda done, total: tell(f"{done:,} of {total:,} {what}")
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress_lines(what: str) -> Iterator[Callable[[str], None]]:
    """Give a function to be called with where the command is; that is printed every 20 seconds.

    The lines go to standard error and say how long it has taken. A command that is done sooner
    prints none.
    """
    console, began, place = Console(stderr=True, highlight=False), time.monotonic(), [what]
    ended = threading.Event()

    def print_lines() -> None:
        while not ended.wait(SECONDS):
            console.print(f"{place[0]} ({time.monotonic() - began:.0f} s)", markup=False)

    printing = threading.Thread(target=print_lines, daemon=True)
    printing.start()
    try:
        yield lambda text: place.__setitem__(0, text)
    finally:
        ended.set()
        printing.join()
