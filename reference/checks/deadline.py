"""Stops somebody's code after a time, where the system can: a loop that never ends is left."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class TooSlow(BaseException):
    """The time is over. No `except Exception` of the target stops it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Run a block for so long at most, then raise TooSlow in it.

    Only the main thread of a POSIX process has such a timer. Where there is none, or somebody
    else's is running, the block runs on; the process is watched from outside.
    """
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return

    def ring(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.05))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
