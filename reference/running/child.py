"""What runs in a worker process: requests come in by its input, marks and results go out.

Before an oracle is asked, a mark says which and about what, so that whatever then happens to this
process (a hang, a segfault, an exit) the parent knows where. Nothing is pickled, and what an
oracle prints or reads never meets the wire.
"""

import ctypes
import gc
import os
import queue
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO, TypeVar

import msgspec

from manual_backprop.network import Problem
from manual_backprop.spec import InvalidInput
from reference.campaign import Plan, Work, run, statuses
from reference.oracles import Answer, Oracle, load, readable
from reference.oracles.environment import environment
from reference.running.sections import section
from reports.records import encode

IDLE_SECONDS = 600.0
"""A worker that nobody asks for so long ends: on a cluster nobody else would end it."""

GARBAGE = 10**6
"""New containers after which a block is interrupted for a collection: far more than it makes."""

_LENGTH = struct.Struct(">Q")
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_T = TypeVar("_T")


class Block(msgspec.Struct, frozen=True, tag=True):
    """Do this work on a block; `absent` oracles crash here, for the reason given.

    One by one, each problem is a part of its own, sent as soon as it is done.
    """

    plan: Plan
    work: Work
    absent: dict[str, str] = {}
    one_by_one: bool = False


class Environment(msgspec.Struct, frozen=True, tag=True):
    """Say what the numbers are computed with, and which of the oracles can answer."""

    oracles: tuple[str, ...]


class Section(msgspec.Struct, frozen=True, tag=True):
    """Make a section of the report."""

    name: str


Request = Block | Environment | Section


class Mark(msgspec.Struct, frozen=True, tag=True):
    """Which oracle is asked now ("" for none), and what this process does for the first time."""

    oracle: str = ""
    position: int = -1
    first: str = ""


class Part(msgspec.Struct, frozen=True, tag=True):
    """A result, as bytes of msgpack: a block's, a problem's, a setting, a section."""

    content: bytes


class Done(msgspec.Struct, frozen=True, tag=True):
    """The end of what was asked, and the bytes of memory that this process holds."""

    memory: int


class Failure(msgspec.Struct, frozen=True, tag=True):
    """An error of our own or of the input; this process lives on."""

    kind: str
    message: str


Reply = Mark | Part | Done | Failure
Tell = Callable[[Reply], None]


class Watched:
    """An oracle that says so before it is asked."""

    def __init__(self, oracle: Oracle, name: str, tell: Tell, used: set[str]) -> None:
        self._oracle, self._told, self._tell, self._used = oracle, name, tell, used
        self.name = oracle.name
        self.position = -1

    def unavailable(self) -> str | None:
        """Say whether it can be asked: this may import a framework."""
        return self._marked(lambda: self._oracle.unavailable(), f"import {self._told}")

    def answer(self, problem: Problem) -> Answer:
        """Answer one problem."""
        return self._marked(lambda: self._oracle.answer(problem), self._told)

    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        """Answer a block of problems."""
        return self._marked(lambda: self._oracle.answers(problems), self._told)

    def _marked(self, ask: Callable[[], _T], what: str) -> _T:
        self._tell(Mark(self._told, self.position, "" if what in self._used else what))
        try:
            found = ask()
        except SystemExit:  # what leaves so is not back: the mark has to stand
            raise
        except BaseException as error:
            self._back(what)
            if isinstance(error, Exception):
                raise
            # As Rust's panics are: one oracle's failure, whatever it calls itself.
            raise RuntimeError(readable(error)) from None
        self._back(what)
        return found

    def _back(self, what: str) -> None:
        self._used.add(what)
        self._tell(Mark("", self.position))


class Crashed:
    """Stands for an oracle that brought its process down on this problem."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def unavailable(self) -> None:
        """Say that it can be asked."""
        return None

    def answer(self, problem: Problem) -> Answer:
        """Answer that it crashed."""
        return Answer(self.name, status="crashed", reason=self.reason)

    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        """Answer that it crashed, for each problem."""
        return [self.answer(problem) for problem in problems]


class Server:
    """Answers requests, one after another, with what it has loaded."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._used: set[str] = set()
        self._loaded: dict[tuple[str, ...], Mapping[str, Oracle]] = {}
        self._settled = False

    def serve(self, request: Request) -> None:
        """Answer one request: its parts, then that it is done; or why it failed."""
        self._tell(Mark())
        try:
            for part in self._parts(request):
                self._tell(Part(part))
        except InvalidInput as error:
            self._tell(Failure("InvalidInput", str(error)))
        except Exception as error:
            self._tell(Failure(type(error).__name__, str(error)))
        self._tell(Done(memory_held()))

    def _parts(self, request: Request) -> Iterable[bytes]:
        match request:
            case Environment():
                found = environment()
                asked = {
                    name: Watched(oracle, name, self._tell, self._used)
                    for name, oracle in self._oracles(request.oracles).items()
                }
                yield encoded((found, statuses(asked, found)))
            case Section():
                yield encoded([encode(record) for record in section(request.name)])
            case Block():
                yield from self._block(request)

    def _block(self, block: Block) -> Iterable[bytes]:
        oracles: dict[str, Oracle] = {}
        watched: list[Watched] = []
        for name, oracle in self._oracles(block.plan.oracles).items():
            if name in block.absent:
                oracles[name] = Crashed(oracle.name, block.absent[name])
            else:
                watched.append(Watched(oracle, name, self._tell, self._used))
                oracles[name] = watched[-1]
        if not block.one_by_one:
            yield encoded(run(block.plan, block.work, oracles))
            self._settle()
            return
        for position in range(block.work.size):
            self._tell(Mark("", position))
            for one in watched:
                one.position = position
            yield encoded(run(block.plan, block.work.part(position, position + 1), oracles))

    def _settle(self) -> None:
        """Collect garbage here, between two pieces of work, and leave the frameworks out of it.

        Nothing in a block is a cycle, and looking for some as containers pile up takes 1.5% of its
        time; a pass over all that torch and jax are takes half a second.
        """
        gc.collect()
        if not self._settled:
            gc.freeze()
            gc.set_threshold(GARBAGE)
            self._settled = True

    def _oracles(self, names: tuple[str, ...]) -> Mapping[str, Oracle]:
        if names not in self._loaded:
            self._loaded[names] = load(names)
        return self._loaded[names]


def encoded(value: object) -> bytes:
    """Return a result as it travels and as the store keeps it."""
    return msgspec.msgpack.encode(value)


def write(file: BinaryIO, message: Request | Reply) -> None:
    """Write one message: its length, then msgpack."""
    content = encoded(message)
    file.write(_LENGTH.pack(len(content)) + content)
    file.flush()


def read(file: BinaryIO) -> bytes | None:
    """Read one message's bytes; None where the other side has ended, in the middle or not."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = file.read(length)
    return content if len(content) == length else None


def memory_held() -> int:
    """Return the bytes of memory that this process holds now; at its peak, if that is all known."""
    try:
        with open("/proc/self/statm", "rb") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pass
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except ImportError:
        return 0


def main() -> None:
    """Serve requests on the first two file descriptors, which the oracles do not get to see."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    _die_with_the_parent()
    _limit_memory(int(sys.argv[1]))
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    server = Server(lambda reply: write(replies, reply))
    while True:
        try:
            content = waiting.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            return
        server.serve(msgspec.msgpack.decode(content, type=Request))


def _listen(requests: BinaryIO, waiting: "queue.SimpleQueue[bytes]") -> None:
    """Hand on what comes in; when the parent is gone, so is this process, whatever it is doing."""
    while (content := read(requests)) is not None:
        waiting.put(content)
    os._exit(0)


def _die_with_the_parent() -> None:
    """Have Linux end this process when its parent's ends, even while an oracle holds Python."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(limit: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, ValueError, OSError):  # not every system can limit; then it does not
        return


if __name__ == "__main__":
    main()
