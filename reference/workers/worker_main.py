"""What runs in a worker process: it serves one function, request after request.

The pipes to the parent become descriptors that the function cannot see; what it prints is
discarded, and it can read nothing. Our modules are imported before a user's folder is searched.

On POSIX systems a worker is two processes, which end as one, however the parent ends and whatever
the function does. The supervisor forks the worker, waits, and kills the worker and everything that
the worker started when one of these happens:

- the worker ends;
- the parent closes the pipe, or is gone: the system closes the pipe then, even after a kill -9;
- the supervisor gets a signal to end.

On Linux orphans of the tree become the supervisor's own children, so that it finds also those that
left the process group; and the worker gets a signal if the supervisor itself is killed.
"""

import ctypes
import importlib
import inspect
import os
import queue
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, BinaryIO, get_type_hints

import msgspec

from reference.workers import confinement, messages
from reference.workers.messages import (
    Event,
    Finished,
    Loaded,
    Loading,
    Raised,
    Request,
    Start,
    Started,
    ToWorker,
)
from reference.workers.timeouts import memory_held

SLOW = frozenset(
    {
        *("torch", "jax", "tensorflow", "keras", "mxnet", "cupy", "theano", "tinygrad", "mlx"),
        *("transformers", "sklearn", "pandas", "matplotlib", "numba", "sympy"),
    }
)
"""Packages whose first import takes seconds. The time limits are longer meanwhile."""

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_SET_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER

_ENDS = ("SIGTERM", "SIGHUP", "SIGINT")

_PASSES = 1000
"""How often the supervisor looks for processes that were started while it killed the others."""

IDLE_SECONDS = 600.0
"""A worker ends after this time without a request: on a cluster nothing else would end it."""

ADDRESS_SPACE = 8 << 30
"""Bytes that frameworks map and do not use, beyond the limit of what is used."""

MAX_TEXT = 2000
"""Characters of an exception's text."""

Emit = Callable[[object], None]
"""Sends an event to the parent at once: a record or plain data."""


def main(folder: str, quiet: bool) -> None:
    """Serve requests until the parent is gone; `folder` is a temporary one to work in, or ""."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null if quiet else 2, 1)
    if quiet:
        os.dup2(null, 2)
    os.close(null)
    if folder:
        os.chdir(folder)
    if hasattr(os, "fork"):
        supervise(requests.fileno(), replies.fileno(), folder)
    # Ctrl-C is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming = _incoming(requests)
    start = next(incoming)
    assert isinstance(start, Start)
    _Server(start, replies).serve(incoming)


class _Server:
    """Calls the function and sends what it emits."""

    def __init__(self, start: Start, replies: BinaryIO) -> None:
        self._start, self._replies = start, replies
        self._sending, self._process = threading.Lock(), os.getpid()

    def serve(self, incoming: Iterator[ToWorker]) -> None:
        """Load the function, then answer each request."""
        try:
            function, kind = self._loaded()
        except Exception as error:
            self._send(Raised(type(error).__name__, _text(error)))
            return
        self._send(Started(os.getpid()))
        for message in incoming:
            assert isinstance(message, Request)
            self._send(self._answer(function, kind, message.content))

    def _loaded(self) -> tuple[Callable[[Any, Emit], None], Any]:
        """Import the function and everything of ours; only then search other folders."""
        if self._start.confinement is not None:
            confinement.separate()
        module, _, name = self._start.entry.partition(":")
        function = getattr(importlib.import_module(module), name)
        request = next(iter(inspect.signature(function).parameters))
        kind = get_type_hints(function).get(request, Any)
        sys.path += [place for place in self._start.path if place not in sys.path]
        os.environ.pop("PYTHONPATH", None)
        if self._start.pythonpath is not None:
            os.environ["PYTHONPATH"] = self._start.pythonpath
        announcer = Announcer(
            lambda name: self._send(Loading(name)), lambda name: self._send(Loaded(name))
        )
        sys.meta_path.insert(0, announcer)
        _limit_memory(self._start.memory)
        if self._start.confinement is not None:
            confinement.close(self._start.confinement)
        return function, kind

    def _answer(
        self, function: Callable[[Any, Emit], None], kind: Any, content: bytes
    ) -> Finished | Raised:
        try:
            function(messages.decode(content, kind), self._emit)
        except Exception as error:
            return Raised(type(error).__name__, _text(error), memory_held())
        return Finished(memory_held())

    def _emit(self, event: object) -> None:
        self._send(Event(messages.encode(event)))

    def _send(self, message: messages.FromWorker) -> None:
        if os.getpid() != self._process:  # the function forked, and this is its child
            os._exit(0)
        with self._sending:
            messages.write(self._replies, message)


def _incoming(requests: BinaryIO) -> Iterator[ToWorker]:
    """Yield what comes in, until the parent is gone or nothing has come for a long time."""
    waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    if hasattr(os, "fork"):
        # The supervisor watches the pipe. A thread here would be one more for what forks.
        poll = select.poll()
        poll.register(requests.fileno(), select.POLLIN)
        while poll.poll(IDLE_SECONDS * 1000):
            content = messages.read(requests)
            if content is None:
                return
            yield msgspec.msgpack.decode(content, type=ToWorker)
        return
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    with suppress(queue.Empty):
        while (content := waiting.get(timeout=IDLE_SECONDS)) is not None:
            yield msgspec.msgpack.decode(content, type=ToWorker)


def _listen(requests: BinaryIO, waiting: "queue.SimpleQueue[bytes | None]") -> None:
    """Hand on what comes in; when the parent is gone, so is this process, whatever it is doing."""
    while (content := messages.read(requests)) is not None:
        waiting.put(content)
    os._exit(0)


def _text(error: BaseException) -> str:
    """Return what an exception says, as text that can be sent."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()


def _limit_memory(limit: int) -> None:
    """Let allocations fail beyond the limit, where the system can; else they do not."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        space = limit + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (space, space))


def supervise(requests: int, replies: int, folder: str) -> None:
    """Fork a worker. Return in the worker; the supervisor waits for its end and never returns.

    `requests` is the pipe that the parent holds open, `replies` the worker's. The temporary
    `folder` is deleted at the end, unless it is "".
    """
    _prctl(_SET_SUBREAPER, 1)
    supervisor = os.getpid()
    wakened, wakes = os.pipe()
    for end in (wakened, wakes):
        os.set_blocking(end, False)
    heard: list[int] = []
    signal.set_wakeup_fd(wakes)
    for name in (*_ENDS, "SIGCHLD"):
        signal.signal(getattr(signal, name), lambda number, frame: heard.append(number))
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        for name in (*_ENDS, "SIGCHLD"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.close(wakened)
        os.close(wakes)
        os.setpgid(0, 0)
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:  # it ended before the signal was asked for
            os._exit(0)
        return
    status = 0
    try:
        os.close(replies)
        status = _wait(worker, requests, wakened, heard)
    finally:
        _end_tree(worker)
        if folder:
            os.chdir(os.path.dirname(folder))
            shutil.rmtree(folder, ignore_errors=True)
        _leave_as(status)


def _wait(worker: int, requests: int, wakened: int, heard: list[int]) -> int:
    """Wait until the worker ends or has to end; return its status, or 0."""
    poll = select.poll()
    poll.register(requests, 0)  # only that the other end was closed is of interest
    poll.register(wakened, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if wakened in ready:
            with suppress(BlockingIOError):
                os.read(wakened, 4096)
        # Everything of the tree that ended is waited for, so that no zombies gather.
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == worker:
                    return status
                if pid == 0:
                    break
        if requests in ready:
            return 0
        for number in heard:
            if number != signal.SIGCHLD:
                return number


def _end_tree(worker: int) -> None:
    for _ in range(_PASSES):
        with suppress(OSError):  # nobody is left in its group
            os.killpg(worker, signal.SIGKILL)
        found = _descendants(os.getpid())
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:  # one that ends may be a zombie while its threads are still ending
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            if not found:
                return
        time.sleep(0.002)


def _descendants(ancestor: int) -> list[int]:
    """Return the processes below this one; none where the system does not list them."""
    parents: dict[int, int] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    with open(f"/proc/{name}/stat", "rb") as file:
                        fields = file.read().rpartition(b")")[2].split()
                    if fields[0] != b"Z":
                        parents[int(name)] = int(fields[1])
    found: list[int] = []
    below = {ancestor}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below and pid not in found}
        found += below
    return found


def _leave_as(status: int) -> None:
    """End this process as the worker ended, so that the parent reads it off."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's core is enough
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Announcer(MetaPathFinder):
    """Tells when the import of a slow package begins and ends."""

    def __init__(self, begin: Callable[[str], None], end: Callable[[str], None]) -> None:
        self._begin, self._end = begin, end

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a slow package by the other finders, and watch it being loaded."""
        if path is not None or name not in SLOW:
            return None
        for finder in [f for f in sys.meta_path if f is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._watch(name, spec)
                return spec
        return None

    def _watch(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return
        load = loader.exec_module

        def marked(module: ModuleType) -> None:
            self._begin(name)
            try:
                load(module)
            finally:
                self._end(name)

        loader.exec_module = marked  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "quiet")
