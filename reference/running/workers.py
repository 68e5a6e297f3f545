"""Hands blocks to worker processes, at most a few at a time, and yields what they come to."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan
from reference.running.isolation import MEMORY, Setting, Worker
from reference.running.pace import Pace
from reports.records import Record

AHEAD = 64
"""Blocks handed to the engine at once: a short queue keeps it busy, a long one keeps memory."""

LOST_AT_MOST = 3
"""How often a cluster may lose all the machines that a block was given to."""

Submit = Callable[[Plan, int, int], "Future[BlockResult]"]


def finish(
    plan: Plan, blocks: list[tuple[int, int]], submit: Submit, ahead: int = AHEAD
) -> Iterator[BlockResult]:
    """Yield every block's result, as they finish; `submit` is any concurrent.futures engine."""
    queue = iter(blocks)
    waiting: dict[Future[BlockResult], tuple[int, int]] = {}
    lost: dict[int, int] = {}
    while True:
        for block in islice(queue, max(0, ahead - len(waiting))):
            waiting[submit(plan, *block)] = block
        if not waiting:
            return
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            start, stop = waiting.pop(future)
            if not machines_lost(future):
                yield future.result()
                continue
            lost[start] = lost.get(start, 0) + 1
            if lost[start] > LOST_AT_MOST:
                raise InvalidInput(
                    f"the cluster lost its workers again and again at the block {start} to {stop}; "
                    "the finished blocks are kept, --resume goes on"
                )
            waiting[submit(plan, start, stop)] = (start, stop)


def machines_lost(future: "Future[BlockResult]") -> bool:
    """Say whether Dask gave a task up because the workers that had it were lost."""
    return type(future.exception()).__name__ == "KilledWorker"  # Dask need not be installed


class LocalPool:
    """Worker processes of this machine, as a context; leaving it by an error stops them at once."""

    ahead = AHEAD

    def __init__(self, workers: int, memory: int = MEMORY) -> None:
        self._pace = Pace()
        self._memory = memory
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._here = threading.local()
        self.workers: list[Worker] = []

    def __enter__(self) -> "LocalPool":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._close()
        self._threads.shutdown()
        self._close()

    def setting(self, oracles: tuple[str, ...]) -> Setting:
        """Ask a worker what the numbers are computed with; this process loads no framework."""
        return self._threads.submit(lambda: self._worker().setting(oracles)).result()

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report in a worker."""
        return self._threads.submit(lambda: self._worker().section(name))

    def submit(self, plan: Plan, start: int, stop: int) -> "Future[BlockResult]":
        """Run a block in a worker."""
        return self._threads.submit(lambda: self._worker().block(plan, start, stop))

    def _worker(self) -> Worker:
        """Return the worker of this thread."""
        if not hasattr(self._here, "worker"):
            self._here.worker = Worker(self._memory, self._pace)
            self.workers.append(self._here.worker)
        worker: Worker = self._here.worker
        return worker

    def _close(self) -> None:
        for worker in list(self.workers):
            worker.close()
