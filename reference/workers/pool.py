"""A few workers side by side, each used by one thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from reference.workers.worker import Stopped


class Closable(Protocol):
    """What a pool holds: a `Worker`, or what wraps one."""

    def close(self) -> None:
        """End its process at once, and for good."""


_W = TypeVar("_W", bound=Closable)
_T = TypeVar("_T")


class Pool(Generic[_W]):
    """Workers as a context; leaving it by an error stops them at once.

    `make` makes a worker; it is called at most `size` times, when one is needed.
    """

    def __init__(self, size: int, make: Callable[[], _W]) -> None:
        self._make = make
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._here = threading.local()
        self._beginning = threading.Lock()
        self._closed = False
        self.workers: list[_W] = []

    def submit(self, ask: Callable[[_W], _T]) -> "Future[_T]":
        """Call `ask` with a free worker, in a thread; the future has what it returns."""
        return self._threads.submit(lambda: ask(self._worker()))

    def stop(self) -> None:
        """End all workers at once; what was submitted and has not begun is dropped."""
        self._close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def finish(self) -> None:
        """Wait for what was submitted, then end all workers."""
        self._threads.shutdown()
        self._close()

    def _worker(self) -> _W:
        """Return the worker of this thread."""
        if not hasattr(self._here, "worker"):
            with self._beginning:
                if self._closed:  # between Ctrl-C and its end: nobody would stop this one
                    raise Stopped
                self._here.worker = self._make()
                self.workers.append(self._here.worker)
        worker: _W = self._here.worker
        return worker

    def _close(self) -> None:
        with self._beginning:
            self._closed = True
        for worker in self.workers:
            worker.close()
