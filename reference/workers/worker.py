"""One worker process as its parent sees it: start, send, receive, end the whole tree."""

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, TypeVar, cast

import msgspec

from reference.workers import messages
from reference.workers.confinement import Confinement
from reference.workers.messages import (
    Died,
    End,
    Event,
    Finished,
    FromWorker,
    Hung,
    Loaded,
    Loading,
    Raised,
    Request,
    Start,
    Started,
)
from reference.workers.timeouts import (
    START,
    TICK,
    Limits,
    MeasuredTimes,
    Silence,
    processor_seconds,
)

MEMORY = 8 << 30
"""Bytes of private memory after which an allocation in a worker fails; torch and jax need 1 GB."""

MAX_REQUESTS = 1000
"""A process is renewed after so many requests, so that a slow leak cannot grow."""

MAX_CONFINED = 16 << 20
"""Bytes of one message of a confined process: it may claim what it likes."""

MAX_UNREAD = 64
"""Events that are kept unread; with more, what emits them waits."""

SECONDS_TO_END = 5.0
"""What a supervisor may take to end its tree before it is ended itself."""

ONE_THREAD: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"), "1")
)
"""An environment with one thread a worker (NPROC is XLA's): small matrices gain nothing from more,
and no result depends on it."""

CLEAN: Mapping[str, str] = MappingProxyType(
    {
        **{name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
        **{"PATH": os.defpath, "HOME": ".", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
        "PYTHONDONTWRITEBYTECODE": "1",
    }
)
"""The environment of a confined process: no key, no token, no path of ours."""

NO_MESSAGE = b"\xff"
"""A message that cannot be decoded, for a message that cannot be read."""

_ROOT = str(Path(__file__).resolve().parents[2])
_T = TypeVar("_T")


class Stopped(Exception):
    """The worker was closed while it was asked."""


class Worker:
    """Serves one function in a separate process, started when it is needed.

    One thread may use it at a time; any may close it.
    """

    def __init__(
        self,
        entry: str,
        *,
        memory: int = MEMORY,
        times: MeasuredTimes | None = None,
        folder: str | Path | None = None,
        environment: Mapping[str, str] = ONE_THREAD,
        quiet: bool = True,
        confinement: Confinement | None = None,
    ) -> None:
        """Start no process yet.

        `entry` is "package.module:function", called in the process with the request, decoded as
        the type that its first parameter is annotated with, and with `emit`. `memory` is in bytes.
        `times` is shared by the workers of a machine. `folder` is what the process works in: a
        temporary folder, deleted with it, unless one is given. `environment` is added to ours.
        What the process prints is discarded if `quiet`, else it goes to standard error.
        `confinement` also sets limits and closes network and files, as far as the system can, and
        passes on nothing of our environment.
        """
        self.entry, self.memory, self.times = entry, memory, times or MeasuredTimes()
        self._folder, self._environment, self._quiet = folder, dict(environment), quiet
        self._confinement = confinement
        self.silent = 0.0
        """Seconds of the clock before the last event, as the limits count them."""
        self._asked = self._held = 0
        self._process: _Process | None = None
        self._stopped = False
        self._beginning = threading.Lock()

    @property
    def pid(self) -> int | None:
        """The number of the process that was started, the tree's first, while it lives."""
        return self._process.pid if self._process and self._process.alive() else None

    @property
    def fresh(self) -> bool:
        """Whether the next request is the first of its process."""
        return self._process is None or self._asked == 0 or not self._process.alive()

    def run(
        self,
        request: object,
        kind: type[_T],
        *,
        cpu_seconds: float | None = None,
        wall_seconds: float | None = None,
        limits: Callable[[_T | None], Limits] | None = None,
    ) -> Iterator[_T | End]:
        """Call the function with a request; yield the events it emits, decoded as `kind`.

        The last item is an `End`: Finished, Raised, Hung or Died. After Hung and Died the next run
        begins a new process. `cpu_seconds` and `wall_seconds` limit the silence before each event
        (see `Limits`); `limits` gives them instead, from the last event (None before the first).
        The start of a process and the first import of a framework have limits of their own.
        Closing the iterator before its end kills the process. Raises Stopped if it is closed.
        """
        process = self._ready()
        self._asked += 1
        process.send(Request(messages.encode(request)))
        given = limits or (lambda last: Limits(cpu_seconds, wall_seconds))
        ended = False
        try:
            for item in self._items(process, kind, given):
                ended = isinstance(item, End)
                if isinstance(item, Hung | Died):
                    self.end()
                if self._stopped:
                    raise Stopped
                yield item
        finally:
            if not ended:
                self.end()

    def end(self) -> None:
        """End the process and everything that it started; the next run starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def close(self) -> None:
        """End the process at once, and for good."""
        with self._beginning:
            self._stopped = True
            self.end()

    def _items(
        self, process: "_Process", kind: type[_T], limits: Callable[[_T | None], Limits]
    ) -> Iterator[_T | End]:
        last: _T | None = None
        silence, loading = Silence(process.worker), set[str]()
        while True:
            content = process.receive(TICK)
            silence.look()
            if content == b"":
                hung = self._hung(process, silence, limits(last), loading)
                if hung is not None:
                    yield hung
                    return
                continue
            self.silent = silence.wall
            if content is None:
                yield process.died()
                return
            try:
                item = self._note(process, content, silence, loading, kind)
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                yield Died(text=f"it sent something that is not a message: {error}")
                return
            if isinstance(item, Finished | Raised):
                self._held = item.memory
                if process.worker is None:  # it has not begun and never will
                    self.end()
            if item is not None:
                yield item
                if isinstance(item, End):
                    return
                last = item
            silence.restart()

    def _note(
        self,
        process: "_Process",
        content: bytes,
        silence: Silence,
        loading: set[str],
        kind: type[_T],
    ) -> _T | End | None:
        """Take note of a message; return it where the caller is to have it."""
        message: FromWorker = msgspec.msgpack.decode(content, type=FromWorker)
        match message:
            case Event():
                return messages.decode(message.content, kind)
            case Started():
                process.worker = silence.pid = message.pid
                self.times.start(silence.wall, processor_seconds(message.pid))
            case Loading():
                loading.add(message.name)
            case Loaded():
                loading.discard(message.name)
                self.times.first(f"import {message.name}", silence.wall)
            case Finished() | Raised():
                return message
        return None

    def _hung(
        self, process: "_Process", silence: Silence, limits: Limits, loading: set[str]
    ) -> Hung | None:
        """Return how long it was silent, where that is too long."""
        cpu_seconds, wall_seconds = limits
        first = START if process.worker is None else next(iter(loading), "")
        if first:
            patience = self.times.patient(START if first == START else f"import {first}")
            wall_seconds = max(patience, wall_seconds or 0.0)
            cpu_seconds = None if cpu_seconds is None else max(patience, cpu_seconds)
        slower = 1.0 if silence.corrected else self.times.slowdown
        computed = cpu_seconds is not None and (silence.cpu or 0.0) > cpu_seconds
        waited = wall_seconds is not None and silence.wall > wall_seconds * slower
        return Hung(silence.cpu, silence.wall) if computed or waited else None

    def _ready(self) -> "_Process":
        """Return a living process: the same, or a new one where that has grown old or large."""
        old = self._asked >= MAX_REQUESTS or self._held > self.memory // 2
        with self._beginning:
            if self._stopped:
                raise Stopped
            if self._process is not None and (old or not self._process.alive()):
                self.end()
            if self._process is None:
                self._asked = self._held = 0
                self._process = self._begun()
            return self._process

    def _begun(self) -> "_Process":
        """Start a process and send it the function to serve."""
        if self._confinement is not None:
            environment = {**CLEAN, **self._environment}
            process = _Process(self._folder, environment, self._quiet, MAX_CONFINED)
            path = list(self._confinement.readable)
            process.send(Start(self.entry, self.memory, path, None, self._confinement))
            return process
        process = _Process(self._folder, {**os.environ, **self._environment}, self._quiet)
        path = [os.path.abspath(place) for place in sys.path]
        known = os.environ.get("PYTHONPATH")
        process.send(Start(self.entry, self.memory, path, known))
        return process


class _Process:
    """A process tree, with a thread that listens to it."""

    def __init__(
        self,
        folder: str | Path | None,
        environment: Mapping[str, str],
        quiet: bool,
        max_bytes: int = messages.MAX_BYTES,
    ) -> None:
        self.worker: int | None = None
        self._max_bytes = max_bytes
        self._temporary = "" if folder else tempfile.mkdtemp(prefix="manual-backprop-")
        self._sent: queue.SimpleQueue[Start | Request | None] = queue.SimpleQueue()
        self._received: queue.Queue[bytes | None] = queue.Queue(MAX_UNREAD)
        self._ended = threading.Event()
        module = "reference.workers.worker_main"
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module, self._temporary, "quiet" if quiet else "verbose"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            env={**environment, "PYTHONPATH": _search_path()},
            cwd=folder,
            start_new_session=True,  # Ctrl-C does not reach it
        )
        self.pid = self._popen.pid
        for work in (self._listen, self._write):
            threading.Thread(target=work, daemon=True).start()

    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def send(self, message: Start | Request) -> None:
        """Send a message, without waiting for a process that does not read."""
        self._sent.put(message)

    def receive(self, seconds: float) -> bytes | None:
        """Return what came: b"" where nothing did in time, None where nothing will come."""
        try:
            return self._received.get(timeout=seconds)
        except queue.Empty:
            # What it began may hold its end of the pipe open.
            return b"" if self.alive() or not self._received.empty() else None

    def died(self) -> Died:
        """Return how a process that has closed its pipe ended."""
        with suppress(subprocess.TimeoutExpired):  # it may still be writing
            self._popen.wait(2 * SECONDS_TO_END)
        code = self._popen.poll()
        self.end()
        if code is None:
            return Died(text="closed its pipe and ran on")
        if code >= 0:
            return Died(exit_code=code)
        try:
            return Died(signal=signal.Signals(-code).name)
        except ValueError:
            return Died(signal=f"signal {-code}")

    def end(self) -> None:
        """End the tree."""
        self._ended.set()
        self._popen.terminate()  # the supervisor ends its tree
        try:
            self._popen.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            for group in {self.pid, self.worker or self.pid}:
                if hasattr(os, "killpg"):
                    with suppress(OSError):  # nobody of it is left
                        os.killpg(group, signal.SIGKILL)
            self._popen.kill()
            self._popen.wait()
        self._sent.put(None)  # closes the pipe
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _write(self) -> None:
        """Write what is sent; that the process has died or is closed, its replies say."""
        with suppress(OSError, ValueError), cast(BinaryIO, self._popen.stdin) as pipe:
            while (message := self._sent.get()) is not None:
                messages.write(pipe, message)

    def _listen(self) -> None:
        """Hand on what the process sends, and that it sends no more."""
        with cast(BinaryIO, self._popen.stdout) as pipe:
            try:
                while (content := messages.read(pipe, self._max_bytes)) is not None:
                    self._hand_on(content)
            except ValueError:
                self._hand_on(NO_MESSAGE)
            except OSError:
                pass
        self._hand_on(None)

    def _hand_on(self, content: bytes | None) -> None:
        while not self._ended.is_set():
            with suppress(queue.Full):
                self._received.put(content, timeout=TICK)
                return


def _search_path() -> str:
    """Return where a worker finds our modules and what they need: nothing of a user's folder.

    Absolute entries of PYTHONPATH stay, but for the working folder; the rest comes later.
    """
    here = os.getcwd()
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [place for place in given if os.path.isabs(place) and os.path.abspath(place) != here]
    return os.pathsep.join([_ROOT, *(place for place in kept if place != _ROOT)])
