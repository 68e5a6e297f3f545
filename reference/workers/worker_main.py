"""What runs in a worker process: it serves one function, request after request.

The pipes to the parent become descriptors that the function cannot see; what it prints is
discarded, and it can read nothing. Our modules are imported before a user's folder is searched.
"""

import importlib
import inspect
import os
import queue
import signal
import sys
import threading
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
from reference.workers.process_tree import supervise
from reference.workers.timeouts import memory_held

SLOW = frozenset(
    {
        *("torch", "jax", "tensorflow", "keras", "mxnet", "cupy", "theano", "tinygrad", "mlx"),
        *("transformers", "sklearn", "pandas", "matplotlib", "numba", "sympy"),
    }
)
"""Packages whose first import takes seconds. The time limits are longer meanwhile."""


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
        import select

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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "quiet")
