"""Stops a user's code after a time, where the system can: it leaves an endless loop."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SLEEP = 20.0
"""Seconds of the clock, for what waits and uses no processor; shorter than `checker.SLEEP`."""


_AGAIN = 0.05
"""Seconds until the timer rings again where an exception would be ignored."""


class TooSlow(BaseException):
    """The time is over. No `except Exception` of the target stops it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Run a block for so long at most, in processor time, then raise TooSlow in it.

    Only the main thread of a POSIX process has such a timer. Where there is none, or another
    one is running, the block is not stopped; the parent process has a limit of its own.
    """
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    timers = {}
    if usable:
        timers = {  # a busy machine takes no processor time, and a sleeping block none either
            signal.SIGPROF: (signal.ITIMER_PROF, max(seconds, 0.05)),
            signal.SIGALRM: (signal.ITIMER_REAL, max(seconds, SLEEP)),
        }
    if not timers or any(any(signal.getitimer(which)) for which, _ in timers.values()):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        if _drops_exceptions(frame):
            signal.setitimer(timers[signal.Signals(number)][0], _AGAIN)
            return
        raise TooSlow

    before = {number: signal.signal(number, ring) for number in timers}
    for which, limit in timers.values():
        signal.setitimer(which, limit)
    try:
        yield
    finally:
        for which, _ in timers.values():
            signal.setitimer(which, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _drops_exceptions(frame: FrameType | None) -> bool:
    """Return whether Python would print an exception of this place and go on.

    It does so in a destructor, and in what a weak reference or the garbage collector calls.
    """
    while frame is not None:
        code = frame.f_code
        weak = code.co_name in ("remove", "_remove") and "weakref" in code.co_filename
        if weak or code.co_name == "__del__" or "gc_callback" in code.co_name:
            return True
        frame = frame.f_back
    return False
