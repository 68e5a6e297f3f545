"""Runs blocks in worker processes. What dies takes its own block with it, never the run.

A block whose worker dies, hangs or runs out of memory is halved until one problem is left; then
each oracle is asked alone, and the one that fails is named CRASHED, with the reason.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cache
from itertools import islice
from multiprocessing import get_context

import msgspec
from pebble import ProcessExpired, ProcessPool

from manual_backprop.network import Problem
from reference.campaign import BLOCK, BlockResult, Plan, merge_results, run_block, statuses
from reference.oracles import Answer, Oracle, load
from reference.oracles.environment import environment
from reference.running.sections import section
from reports.records import OracleStatus, Record

SECONDS_PER_BLOCK = 300.0
"""A block that takes longer hangs: some thirty times what one takes, compilation included."""

MEMORY_PER_WORKER = 8 << 30
"""Bytes of private memory after which an allocation in a worker fails; torch and jax need 1 GB."""

BLOCKS_PER_WORKER = 200
"""A worker is renewed after this many blocks, so that a slow leak cannot grow."""

LEAST_SECONDS = 60.0
"""What even one problem is allowed: a fresh worker imports the frameworks and compiles first."""

AHEAD = 64
"""Blocks handed to the engine at once."""

Setting = tuple[dict[str, str], list[OracleStatus]]
"""The environment, and which oracles can answer."""

Submit = Callable[[Plan, int, int, Mapping[str, str]], "Future[BlockResult]"]


def finish(plan: Plan, blocks: list[tuple[int, int]], submit: Submit) -> Iterator[BlockResult]:
    """Yield every block's result, as they finish; `submit` is any concurrent.futures engine."""
    queue = iter(blocks)
    waiting: dict[Future[BlockResult], tuple[int, int]] = {}
    while True:
        # A short queue keeps the engine busy; a long one would keep memory.
        for block in islice(queue, AHEAD - len(waiting)):
            waiting[submit(plan, *block, {})] = block
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            start, stop = waiting.pop(future)
            reason = failure(future)
            yield future.result() if reason is None else _bisect(plan, start, stop, reason, submit)


class LocalPool:
    """Worker processes of this machine, as a context; leaving it by an error stops them at once."""

    def __init__(self, workers: int, memory: int = MEMORY_PER_WORKER) -> None:
        limit_threads()
        self._pool = ProcessPool(
            max_workers=workers,
            max_tasks=BLOCKS_PER_WORKER,
            initializer=_begin_worker,
            initargs=[memory],
            context=get_context("spawn"),
        )

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._pool.close()
        else:
            self._pool.stop()
        self._pool.join()

    def setting(self, oracles: tuple[str, ...]) -> Setting:
        """Ask a worker what the numbers are computed with; this process loads no framework."""
        setting: Setting = self._pool.schedule(setting_here, args=[oracles]).result()
        return setting

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report in a worker."""
        future: Future[list[Record]] = self._pool.schedule(section, args=[name])
        return future

    def submit(
        self, plan: Plan, start: int, stop: int, absent: Mapping[str, str]
    ) -> "Future[BlockResult]":
        """Run a block in a worker."""
        allowed = max(SECONDS_PER_BLOCK * (stop - start) / BLOCK, LEAST_SECONDS)
        arguments = [msgspec.json.encode(plan), start, stop, dict(absent)]
        future: Future[BlockResult] = self._pool.schedule(
            in_worker, args=arguments, timeout=allowed
        )
        return future


def limit_threads() -> None:
    """One thread a worker: small matrices gain nothing from more, and no result depends on it."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"


def setting_here(oracles: tuple[str, ...]) -> Setting:
    """Return this process's environment and the state of the named oracles."""
    found = environment()
    return found, statuses(_oracles(oracles), found)


def in_worker(plan: bytes, start: int, stop: int, absent: Mapping[str, str]) -> BlockResult:
    """Run one block; the oracles named in `absent` are known to crash here, for that reason."""
    decoded = msgspec.json.decode(plan, type=Plan)
    oracles = dict(_oracles(decoded.oracles))
    oracles |= {name: Crashed(name, reason) for name, reason in absent.items()}
    return run_block(decoded, start, stop, oracles)


def failure(future: "Future[BlockResult]") -> str | None:
    """Return why a worker failed, None where it did not; an error of our own is raised."""
    error = future.exception()
    match error:
        case None:
            return None
        case ProcessExpired():
            return _death(error.exitcode)
        case TimeoutError():
            return "no answer within the time limit"
        case MemoryError():
            return "out of memory"
        case _ if type(error).__name__ == "KilledWorker":  # Dask's, which need not be installed
            return "killed its workers"
        case _:
            raise error


def _bisect(plan: Plan, start: int, stop: int, reason: str, submit: Submit) -> BlockResult:
    if stop - start == 1:
        return _culprit(plan, start, reason, submit)
    middle = (start + stop) // 2
    halves = []
    for low, high in ((start, middle), (middle, stop)):
        future = submit(plan, low, high, {})
        why = failure(future)
        halves.append(future.result() if why is None else _bisect(plan, low, high, why, submit))
    return merge_results(halves)


def _culprit(plan: Plan, position: int, reason: str, submit: Submit) -> BlockResult:
    """Ask again with one oracle after another left out; those without which it works did it."""
    absent: dict[str, str] = {}
    for name in reversed(plan.oracles):  # the frameworks first: ours is the least likely
        why = failure(submit(plan, position, position + 1, {**absent, name: reason}))
        if why is None:
            absent[name] = reason
            break
    else:  # more than one fails: leave all but the subject out
        absent = {name: reason for name in plan.oracles if name != "manual"}
    future = submit(plan, position, position + 1, absent)
    if failure(future) is None:
        return future.result()
    return submit(plan, position, position + 1, dict.fromkeys(plan.oracles, reason)).result()


class Crashed:
    """Stands for an oracle that brought its worker down on this problem."""

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


@cache
def _oracles(names: tuple[str, ...]) -> Mapping[str, Oracle]:
    return load(names)


def _begin_worker(memory: int) -> None:
    # Ctrl-C is the parent's to answer: it stops the workers and writes the page.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    except (ImportError, ValueError, OSError):  # not every system can limit; then it does not
        return


def _death(exit_code: int) -> str:
    if exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exited with {exit_code}"
