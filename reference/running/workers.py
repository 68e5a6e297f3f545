"""Gives blocks to worker processes, a few at a time, and yields their results."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan, Work
from reference.running.campaign_worker import CampaignWorker
from reference.running.interrupts import ctrl_c_waits
from reference.running.tasks import EnvironmentReport
from reference.workers import MeasuredTimes, Pool
from reference.workers.worker import MEMORY
from reports.records import Record

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
        self.ahead = max(AHEAD, 3 * workers)
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
        """Ask a worker what the numbers are computed with; this process loads no framework."""
        return self._pool.submit(lambda worker: worker.environment(oracles)).result()

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report in a worker."""
        return self._pool.submit(lambda worker: worker.section(name))

    def submit(self, plan: Plan, work: Work) -> "Future[BlockResult]":
        """Do a piece of work in a worker."""
        return self._pool.submit(lambda worker: worker.block(plan, work))
