"""Gives blocks to worker processes, a few at a time, and recovers when one hangs or dies.

A block whose process dies or falls silent is done again one problem at a time, in a new process.
The problem at which this fails is asked once more by itself, with more time. If it fails again, the
oracle that was being asked is recorded as CRASHED on it, and the run continues.
"""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from itertools import islice

import msgspec

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan, Work, merge_results
from reference.running.tasks import (
    ENTRY,
    TASK_EVENT,
    BlockTask,
    Environment,
    EnvironmentReport,
    Mark,
    ResultPart,
    Section,
    Task,
)
from reference.workers import Died, Finished, Hung, Limits, MeasuredTimes, Pool, Raised, Worker
from reference.workers.worker import MEMORY
from reports.records import Record, decode

SECTION_SECONDS = 3600.0
"""A section of the report sends no marks; one that takes longer counts as hung."""

HANGS = "no answer within the time limit"

OFTEN_FROM_OUTSIDE = ("SIGKILL", "SIGTERM")
"""Ends that are more often a person's or the system's doing than an oracle's."""


class WorkerFailed(Exception):
    """A process died or hung: why, while asking which oracle ("" where none), and where."""

    def __init__(self, end: Died | Hung | str, mark: Mark) -> None:
        match end:
            case Hung():
                self.reason = HANGS  # without its seconds: two runs of one seed say the same
            case Died():
                self.reason = end.reason
            case _:
                self.reason = end
        self.from_outside = isinstance(end, Died) and end.signal in OFTEN_FROM_OUTSIDE
        self.oracle, self.position = mark.oracle, mark.position
        super().__init__(self.reason, self.oracle, self.position)


class CampaignWorker:
    """One process at a time, started when it is needed; used by one thread at a time."""

    def __init__(self, memory: int = MEMORY, times: MeasuredTimes | None = None) -> None:
        self.times = times or MeasuredTimes()
        # It works where we do, and prints where we do: an oracle may be the user's own.
        self.worker = Worker(ENTRY, memory=memory, times=self.times, folder=".", quiet=False)

    def environment(self, oracles: tuple[str, ...]) -> EnvironmentReport:
        """Ask what the numbers are computed with; this process loads no framework.

        Raises InvalidInput where an oracle cannot be loaded.
        """
        (content,) = self._twice(Environment(oracles))
        found: EnvironmentReport = msgspec.msgpack.decode(content, type=EnvironmentReport)
        return found

    def section(self, name: str) -> list[Record]:
        """Make a section of the report."""
        (content,) = self._twice(Section(name))
        return [decode(line) for line in msgspec.msgpack.decode(content, type=list[bytes])]

    def block(self, plan: Plan, work: Work) -> BlockResult:
        """Do a piece of work, also when the process hangs or dies.

        Raises InvalidInput for a problem at which it fails without any oracle.
        """
        for _ in range(2):
            try:
                return _only(self._results(BlockTask(plan, work)))
            except WorkerFailed as failed:
                if not failed.from_outside:
                    break
        return self._one_by_one(plan, work)

    def close(self) -> None:
        """End the process at once, and for good."""
        self.worker.close()

    def _one_by_one(self, plan: Plan, work: Work) -> BlockResult:
        parts: list[BlockResult] = []
        while len(parts) < work.size:
            rest = work.part(len(parts), work.size)
            try:  # what came before a failure stays in the list
                parts += self._results(BlockTask(plan, rest, one_by_one=True))
            except WorkerFailed:
                parts.append(self._alone(plan, work.part(len(parts), len(parts) + 1)))
        return merge_results(parts)

    def _alone(self, plan: Plan, work: Work) -> BlockResult:
        """Ask about one problem, leaving out one oracle after another that fails on it."""
        absent: dict[str, str] = {}
        while True:
            block = BlockTask(plan, work, dict(absent), one_by_one=True)
            try:
                return _only(self._results(block, patient=True))
            except WorkerFailed as failed:
                if not failed.oracle or failed.oracle in absent:
                    reason = f"{failed.reason}, in no oracle"
                    break
                absent[failed.oracle] = failed.reason
        absent = dict.fromkeys(plan.oracles, reason) | absent
        try:
            return _only(self._results(BlockTask(plan, work, absent), patient=True))
        except WorkerFailed as failed:
            index = (
                work.evidence_for[0] if work.evidence_for else plan.selection().index(work.start)
            )
            where = f"{plan.seed}:{index}"
            raise InvalidInput(f"{where} cannot be drawn or judged: {failed.reason}") from None

    def _results(self, block: BlockTask, patient: bool = False) -> Iterator[BlockResult]:
        for content in self._ask(block, patient):
            yield msgspec.msgpack.decode(content, type=BlockResult)

    def _twice(self, task: Environment | Section) -> list[bytes]:
        with suppress(WorkerFailed):
            return list(self._ask(task))
        try:
            return list(self._ask(task))
        except WorkerFailed as failed:
            what = "the environment" if isinstance(task, Environment) else task.name
            if failed.oracle:
                what = f"loading oracle={failed.oracle!r}"
            raise InvalidInput(f"a worker failed twice at {what}: {failed.reason}") from None

    def _ask(self, task: Task, patient: bool = False) -> Iterator[bytes]:
        """Yield the parts of the answer; `WorkerFailed` where the process dies or falls silent."""
        problems = task.work.size if isinstance(task, BlockTask) and not task.one_by_one else 1
        mark, longest = Mark(), 0.0

        def limits(_: object) -> Limits:
            return Limits(None, self._allowed(task, problems, mark, patient))

        for event in self.worker.run(task, TASK_EVENT, limits=limits):
            if isinstance(event, Died | Hung):
                raise WorkerFailed(event, mark)
            if mark.first:
                self.times.first(mark.first, self.worker.silent)
            else:
                longest = max(longest, self.worker.silent)
            match event:
                case Mark():
                    mark = event
                case ResultPart():
                    yield event.content
                case Raised():
                    self._raise(event, mark)
                case Finished():
                    pass
        if isinstance(task, BlockTask) and not task.one_by_one:
            self.times.block(problems, longest)

    def _allowed(self, task: Task, problems: int, mark: Mark, patient: bool) -> float:
        match task:
            case Section():
                return SECTION_SECONDS
            case Environment():
                return self.times.allowed(problems, mark.first or mark.oracle or "environment")
        if patient:
            return self.times.patient(mark.first or mark.oracle)
        return self.times.allowed(problems, mark.first)

    def _raise(self, raised: Raised, mark: Mark) -> None:
        if raised.kind == "InvalidInput":
            raise InvalidInput(raised.message)
        self.worker.end()
        if raised.kind == "MemoryError":
            raise WorkerFailed("out of memory", mark)
        # Neither the input nor an oracle failed, but our code: raise it, do not record it.
        raise RuntimeError(f"{raised.kind} in a worker: {raised.message}")


def _only(results: Iterator[BlockResult]) -> BlockResult:
    (result,) = results
    return result


# -- Ctrl-C at a bad moment ------------------------------------------------------------------------


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


# -- blocks ----------------------------------------------------------------------------------------

AHEAD = 16
"""Blocks begun at once: few keep an engine busy, and what Ctrl-C loses of them is done again."""

MAX_LOST = 3
"""How often a cluster may lose all the machines that a block was given to."""

Submit = Callable[[Plan, Work], "Future[BlockResult]"]


def finish(
    plan: Plan, work: Iterable[Work], submit: Submit, ahead: int = AHEAD
) -> Iterator[BlockResult]:
    """Yield every result, as the work finishes; `submit` is any concurrent.futures engine.

    Work that was lost with a machine starts again.
    """
    queue, lost = iter(work), Counter[Work]()
    waiting: dict[Future[BlockResult], Work] = {}
    while True:
        for piece in islice(queue, max(0, ahead - len(waiting))):
            waiting[submit(plan, piece)] = piece
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            piece = waiting.pop(future)
            if future.cancelled():  # by nobody here: the scheduler is gone
                raise InvalidInput(
                    "the cluster's scheduler was lost; the finished blocks are kept; "
                    "--resume continues the run"
                )
            if not machines_lost(future):
                yield future.result()
                continue
            lost[piece] += 1
            if lost[piece] > MAX_LOST:
                raise InvalidInput(
                    f"the cluster lost its workers repeatedly at block {piece.start} to "
                    f"{piece.stop}; the finished blocks are kept; --resume continues the run"
                )
            waiting[submit(plan, piece)] = piece


def machines_lost(future: "Future[BlockResult]") -> bool:
    """Say whether Dask gave a task up because the workers that had it were lost."""
    return type(future.exception()).__name__ == "KilledWorker"  # Dask need not be installed


class LocalPool:
    """Worker processes of this machine, as a context; leaving it by an error stops them at once."""

    def __init__(self, workers: int, memory: int = MEMORY) -> None:
        self._workers, self.ahead = workers, max(AHEAD, 3 * workers)
        times = MeasuredTimes()
        self._pool = Pool(workers, lambda: CampaignWorker(memory, times))

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with ctrl_c_waits():
                self._pool.stop()
        self._pool.finish()

    def environment(self, oracles: tuple[str, ...]) -> EnvironmentReport:
        """Ask a worker what the numbers are computed with; this process loads no framework.

        All are asked, so that all load the frameworks at the same time; the first one's answer is
        as good as any.
        """
        asked = [self._pool.submit(lambda worker: worker.environment(oracles))
                 for _ in range(self._workers)]  # fmt: skip
        return asked[0].result()

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report in a worker."""
        return self._pool.submit(lambda worker: worker.section(name))

    def submit(self, plan: Plan, work: Work) -> "Future[BlockResult]":
        """Do a piece of work in a worker."""
        return self._pool.submit(lambda worker: worker.block(plan, work))
