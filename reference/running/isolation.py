"""A worker: a process of its own that may hang or die, and the recovery when it does.

A block whose process dies or falls silent is done again one problem at a time, in a new process.
The problem at which that one fails is asked once more on its own, patiently; if it fails again, the
oracle that was being asked is recorded as CRASHED on it, and everything else goes on.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

import msgspec

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan, Work, merge_results
from reference.running.child import (
    Block,
    Done,
    Environment,
    Failure,
    Mark,
    Part,
    Reply,
    Request,
    Section,
    read,
    write,
)
from reference.running.pace import START, Pace
from reports.records import OracleStatus, Record, decode

MEMORY = 8 << 30
"""Bytes of private memory after which an allocation in a worker fails; torch and jax need 1 GB."""

ASKED_AT_MOST = 1000
"""A process is renewed after so many requests, so that a slow leak cannot grow."""

SECTION_SECONDS = 3600.0
"""A section of the report has no marks; what takes longer hangs."""

TICK = 0.5
"""Seconds between two looks at the clock. A machine that slept in between counts as one look."""

HANGS = "no answer within the time limit"

Setting = tuple[dict[str, str], list[OracleStatus]]
"""The environment, and which oracles can answer."""


class Failed(Exception):
    """A process died or hung: why, while asking which oracle ("" where none), and where."""

    def __init__(self, reason: str, oracle: str = "", position: int = -1) -> None:
        super().__init__(reason, oracle, position)
        self.reason, self.oracle, self.position = reason, oracle, position


class Stopped(Exception):
    """The run is being ended."""


class Worker:
    """One process at a time, begun when it is needed; used by one thread at a time."""

    def __init__(self, memory: int = MEMORY, pace: Pace | None = None) -> None:
        self.pace = pace or Pace()
        self._limit = memory
        self._asked = self._held = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stopped = False
        self._beginning = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Return the process's number while it lives."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def setting(self, oracles: tuple[str, ...]) -> Setting:
        """Ask what the numbers are computed with; this process loads no framework."""
        (content,) = self._twice(Environment(oracles))
        setting: Setting = msgspec.msgpack.decode(content, type=Setting)
        return setting

    def section(self, name: str) -> list[Record]:
        """Make a section of the report."""
        (content,) = self._twice(Section(name))
        return [decode(line) for line in msgspec.msgpack.decode(content, type=list[bytes])]

    def block(self, plan: Plan, work: Work) -> BlockResult:
        """Do a piece of work, whatever becomes of the process."""
        for _ in range(2):
            try:
                return _only(self._results(Block(plan, work)))
            except Failed as failed:
                if failed.reason not in KILLED:
                    break  # a kill may have come from outside, and then nothing is wrong here
        return self._one_by_one(plan, work)

    def close(self) -> None:
        """End the process at once, and for good."""
        with self._beginning:
            self._stopped = True
            self._end()

    def _one_by_one(self, plan: Plan, work: Work) -> BlockResult:
        parts: list[BlockResult] = []
        while len(parts) < work.size:
            rest = work.part(len(parts), work.size)
            try:  # what came before a failure stays in the list
                parts += self._results(Block(plan, rest, one_by_one=True))
            except Failed:
                parts.append(self._alone(plan, work.part(len(parts), len(parts) + 1)))
        return merge_results(parts)

    def _alone(self, plan: Plan, work: Work) -> BlockResult:
        """Ask about one problem with more and more of the oracles that fail on it left out."""
        absent: dict[str, str] = {}
        while True:
            request = Block(plan, work, dict(absent), one_by_one=True)
            try:
                return _only(self._results(request, patient=True))
            except Failed as failed:
                if not failed.oracle or failed.oracle in absent:
                    reason = f"{failed.reason}, in no oracle"
                    break
                absent[failed.oracle] = failed.reason
        absent = dict.fromkeys(plan.oracles, reason) | absent
        try:
            return _only(self._results(Block(plan, work, absent), patient=True))
        except Failed as failed:
            index = work.proofs[0] if work.proofs else plan.selection().index(work.start)
            where = f"{plan.seed}:{index}"
            raise InvalidInput(f"{where} cannot be drawn or judged: {failed.reason}") from None

    def _results(self, block: Block, patient: bool = False) -> Iterator[BlockResult]:
        for content in self._ask(block, patient):
            yield msgspec.msgpack.decode(content, type=BlockResult)

    def _twice(self, request: Environment | Section) -> list[bytes]:
        with suppress(Failed):
            return list(self._ask(request))
        try:
            return list(self._ask(request))
        except Failed as failed:
            what = "the environment" if isinstance(request, Environment) else request.name
            if failed.oracle:
                what = f"loading oracle={failed.oracle!r}"
            raise InvalidInput(f"a worker failed twice at {what}: {failed.reason}") from None

    def _ask(self, request: Request, patient: bool = False) -> Iterator[bytes]:
        """Yield the parts of the answer; `Failed` where the process dies or falls silent."""
        process = self._ready()
        self._asked += 1
        problems = 1
        if isinstance(request, Block) and not request.one_by_one:
            problems = request.work.size
        mark = Mark(first=START if self._asked == 1 else "")
        longest = silent = 0.0
        failure: Failure | None = None
        with suppress(OSError, ValueError):  # it has died, or is closed: so its replies say
            write(_pipe(process.stdin), request)
        while True:
            before = time.monotonic()
            try:
                content = self._replies.get(timeout=TICK)
            except queue.Empty:
                silent += min(time.monotonic() - before, 2 * TICK)
                if process.poll() is not None and self._replies.empty():
                    self._replies.put(None)  # something it began holds its end of the pipe open
                if silent > self._allowed(request, problems, mark, patient):
                    self._end()
                    raise self._failed(HANGS, mark) from None
                continue
            silent += min(time.monotonic() - before, 2 * TICK)
            if content is None:
                raise self._failed(self._ended(process), mark)
            if mark.first:
                self.pace.first(mark.first, silent)
            else:
                longest = max(longest, silent)
            silent = 0.0
            match msgspec.msgpack.decode(content, type=Reply):
                case Mark() as mark:
                    pass
                case Part() as part:
                    yield part.content
                case Failure() as failure:
                    pass
                case Done() as done:
                    self._held = done.memory
                    break
        if failure is not None:
            self._raise(failure, mark, request)
        if isinstance(request, Block) and not request.one_by_one:
            self.pace.block(problems, longest)

    def _allowed(self, request: Request, problems: int, mark: Mark, patient: bool) -> float:
        if isinstance(request, Section) and mark.first != START:
            return SECTION_SECONDS
        if isinstance(request, Environment):
            return self.pace.allowed(problems, mark.first or mark.oracle or "environment")
        if patient:
            return self.pace.patient(mark.first or mark.oracle)
        return self.pace.allowed(problems, mark.first)

    def _failed(self, reason: str, mark: Mark) -> Exception:
        if self._stopped:
            return Stopped()
        return Failed(reason, mark.oracle, mark.position)

    def _raise(self, failure: Failure, mark: Mark, request: Request) -> None:
        if failure.kind == "InvalidInput":
            raise InvalidInput(failure.message)
        self._end()
        if failure.kind == "MemoryError":
            raise self._failed("out of memory", mark)
        # Neither the input's nor an oracle's: ours. It is to be seen, not to be recorded.
        raise RuntimeError(f"{failure.kind} in a worker: {failure.message}")

    def _ready(self) -> "subprocess.Popen[bytes]":
        """Return a living process: the same, or a new one where that has grown old or large."""
        old = self._asked >= ASKED_AT_MOST or self._held > self._limit // 2
        with self._beginning:
            if self._stopped:
                raise Stopped
            if self._process is not None and (old or self._process.poll() is not None):
                self._end()
            if self._process is None:
                self._process = self._begin()
            return self._process

    def _begin(self) -> "subprocess.Popen[bytes]":
        self._asked = self._held = 0
        self._replies = queue.SimpleQueue()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "reference.running.child", str(self._limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of_workers(),
            process_group=0,  # Ctrl-C does not reach it, and what it begins can be ended with it
        )
        listening = threading.Thread(
            target=_listen, args=(_pipe(process.stdout), self._replies), daemon=True
        )
        listening.start()
        return process

    def _ended(self, process: "subprocess.Popen[bytes]") -> str:
        """Say how a process that has closed its pipe ended."""
        with suppress(subprocess.TimeoutExpired):  # it may be at its last words
            process.wait(10)
        self._end()
        return death(process.wait())

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if hasattr(os, "killpg"):
            with suppress(OSError):  # nobody of it is left
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        with suppress(OSError):  # what it was being told is lost with it
            _pipe(process.stdin).close()


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C off what takes a moment and has to be finished; a second one is not heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C off what must be done whole or not at all; then it is heard."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        signal.raise_signal(signal.SIGINT)


def environment_of_workers() -> dict[str, str]:
    """One thread a worker: small matrices gain nothing from more, and no result depends on it."""
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # NPROC: XLA
    threads = dict.fromkeys(pools, "1")
    path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    return {**os.environ, **threads, "PYTHONPATH": path}


def death(exit_code: int) -> str:
    """Say how a process ended."""
    if exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exited with {exit_code}"


KILLED = tuple(death(-number) for number in (9, 15))
"""Ends that are more often a person's or the system's doing than an oracle's."""


def _only(results: Iterator[BlockResult]) -> BlockResult:
    (result,) = results
    return result


def _listen(pipe: BinaryIO, replies: "queue.SimpleQueue[bytes | None]") -> None:
    """Hand on what a process says, and that it has ended."""
    with pipe:
        while (content := read(pipe)) is not None:
            replies.put(content)
    replies.put(None)


def _pipe(pipe: object) -> BinaryIO:
    return cast(BinaryIO, pipe)
