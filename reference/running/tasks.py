"""What a worker process does for a campaign: blocks, the environment, sections of the report.

Before an oracle is asked, a mark tells the parent which one and about what. So the parent knows
where the process was when it hangs or dies.
"""

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

import msgspec

from reference.campaign import Plan, Work, run, statuses
from reference.oracles import Answer, Oracle, load, readable, stepwise, takes_graphs
from reference.oracles.environment import environment
from reference.problems import AnyProblem
from reference.running.sections import section
from reports.records import OracleStatus, encode

ENTRY = "reference.running.tasks:serve"
"""The function below, as a worker gets its name."""

GARBAGE = 10**6
"""New containers after which a block is interrupted for a collection: far more than it makes."""

_T = TypeVar("_T")

EnvironmentReport = tuple[dict[str, str], list[OracleStatus]]
"""The environment, and which oracles can answer."""


class BlockTask(msgspec.Struct, frozen=True, tag=True):
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


Task = BlockTask | Environment | Section


class Mark(msgspec.Struct, frozen=True, tag=True):
    """Which oracle is asked now ("" for none), and what this process does for the first time."""

    oracle: str = ""
    position: int = -1
    first: str = ""


class ResultPart(msgspec.Struct, frozen=True, tag=True):
    """A result, as bytes of msgpack: a block's, a problem's, an environment, a section."""

    content: bytes


TaskEvent = Mark | ResultPart
TASK_EVENT = cast("type[TaskEvent]", TaskEvent)
Emit = Callable[[TaskEvent], None]


class MarkedOracle:
    """An oracle that says so before it is asked."""

    def __init__(self, oracle: Oracle, name: str, emit: Emit, used: set[str]) -> None:
        self._full_name, self._emit, self._used = name, emit, used
        self.inner = oracle
        self.name = oracle.name
        self.graphs = takes_graphs(oracle)
        self.position = -1

    def unavailable(self) -> str | None:
        """Say whether it can be asked: this may import a framework."""
        return self._marked(lambda: self.inner.unavailable(), f"import {self._full_name}")

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer one problem."""
        return self._marked(lambda: self.inner.answer(problem), self._full_name)

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block of problems."""
        return self._marked(lambda: self.inner.answers(problems), self._full_name)

    def stepwise(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer graphs again, as `oracles.stepwise` does."""
        return self._marked(lambda: stepwise(self.inner, problems), self._full_name)

    def _marked(self, ask: Callable[[], _T], what: str) -> _T:
        self._emit(Mark(self._full_name, self.position, "" if what in self._used else what))
        try:
            found = ask()
        except SystemExit:  # it ends the process: the mark has to stand
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
        self._emit(Mark("", self.position))


class CrashedOracle(Oracle):
    """Stands for an oracle that brought its process down on this problem."""

    graphs = True

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer that it crashed."""
        return Answer(self.name, status="crashed", reason=self.reason)


class TaskServer:
    """Does tasks, one after another, with what it has loaded."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._loaded: dict[tuple[str, ...], Mapping[str, Oracle]] = {}
        self._settled = False

    def parts(self, task: Task, emit: Emit) -> Iterable[bytes]:
        """Yield the parts of a task's result, encoded."""
        match task:
            case Environment():
                asked = {
                    name: MarkedOracle(oracle, name, emit, self._used)
                    for name, oracle in self._oracles(task.oracles).items()
                }
                found = environment()  # later, because it loads the frameworks
                yield encoded((found, statuses(asked, found)))
            case Section():
                yield encoded([encode(record) for record in section(task.name)])
            case BlockTask():
                yield from self._block(task, emit)

    def _block(self, block: BlockTask, emit: Emit) -> Iterable[bytes]:
        oracles: dict[str, Oracle] = {}
        marked: list[MarkedOracle] = []
        for name, oracle in self._oracles(block.plan.oracles).items():
            if name in block.absent:
                oracles[name] = CrashedOracle(oracle.name, block.absent[name])
            else:
                marked.append(MarkedOracle(oracle, name, emit, self._used))
                oracles[name] = marked[-1]
        if not block.one_by_one:
            yield encoded(run(block.plan, block.work, oracles))
            self._settle()
            return
        for position in range(block.work.size):
            emit(Mark("", position))
            for one in marked:
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


_server = TaskServer()


def serve(task: Task, emit: Emit) -> None:
    """Do one task: emit its marks and parts."""
    emit(Mark())
    for part in _server.parts(task, emit):
        emit(ResultPart(part))


def encoded(value: object) -> bytes:
    """Return a result as it travels and as the store keeps it."""
    return msgspec.msgpack.encode(value)
