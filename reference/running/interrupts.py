"""Ctrl-C at a bad moment: it is delayed or ignored."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c_waits() -> Iterator[list[int]]:
    """Ignore Ctrl-C during what takes a moment and has to be finished; list those that came."""
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Raise Ctrl-C after what must be done whole or not at all."""
    with ctrl_c_waits() as heard:
        yield
    if heard:
        signal.raise_signal(signal.SIGINT)
