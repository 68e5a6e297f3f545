"""Hands blocks to worker processes, at most a few at a time, and yields what they come to."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan, Work, with_proofs
from reference.docket import Docket
from reference.running.campaign_worker import CampaignWorker
from reference.running.interrupts import ctrl_c_waits
from reference.running.tasks import EnvironmentReport
from reference.workers import Pace, Pool
from reference.workers.worker import MEMORY
from reports.records import Record

AHEAD = 16
"""Blocks begun at once: few keep an engine busy, and what Ctrl-C loses of them is done again."""

LOST_AT_MOST = 3
"""How often a cluster may lose all the machines that a block was given to."""

Submit = Callable[[Plan, Work], "Future[BlockResult]"]


def finish(
    plan: Plan,
    blocks: list[tuple[int, int]],
    submit: Submit,
    ahead: int = AHEAD,
    done: Iterable[BlockResult] = (),
) -> Iterator[BlockResult]:
    """Yield every block's result, as they finish; `submit` is any concurrent.futures engine.

    A block is screened, waits until all before it are, and then has those of its disputes proven
    that the docket chooses. `done` are the blocks that an earlier run finished, in order.
    """
    docket, earlier = Docket(plan.seed, plan.per_kind), iter(done)
    before = next(earlier, None)
    queue, turns = iter(blocks), deque(start for start, _ in blocks)
    screened: dict[int, BlockResult] = {}
    engine = Engine(plan, submit)
    while turns or engine.waiting:
        for block in islice(queue, max(0, ahead - len(engine.waiting) - len(screened))):
            engine.begin(Work(*block))
        for of_block, result in engine.finished():
            if of_block is None:
                screened[result.start] = result
            else:
                yield with_proofs(of_block, result)
        while turns and turns[0] in screened:
            ready = screened.pop(turns.popleft())
            while before is not None and before.start < ready.start:
                docket.choose(before.disputes)
                before = next(earlier, None)
            chosen = docket.choose(ready.disputes)
            if chosen:
                engine.begin(Work(ready.start, ready.stop, chosen), ready)
            else:
                yield ready


class Engine:
    """The work that was handed over, with the block that its proofs belong to."""

    def __init__(self, plan: Plan, submit: Submit) -> None:
        self._plan, self._submit = plan, submit
        self.waiting: dict[Future[BlockResult], tuple[Work, BlockResult | None]] = {}
        self._lost: Counter[Work] = Counter()

    def begin(self, work: Work, of_block: BlockResult | None = None) -> None:
        """Hand a piece of work over."""
        self.waiting[self._submit(self._plan, work)] = work, of_block

    def finished(self) -> Iterator[tuple[BlockResult | None, BlockResult]]:
        """Wait for some work to finish and yield it; what machines were lost with begins again."""
        done, _ = wait(self.waiting, return_when=FIRST_COMPLETED)
        for future in done:
            work, of_block = self.waiting.pop(future)
            if future.cancelled():  # by nobody here: the scheduler is gone
                raise InvalidInput(
                    "the cluster's scheduler was lost; the finished blocks are kept, "
                    "--resume goes on"
                )
            if not machines_lost(future):
                yield of_block, future.result()
                continue
            self._lost[work] += 1
            if self._lost[work] > LOST_AT_MOST:
                raise InvalidInput(
                    "the cluster lost its workers again and again at the block "
                    f"{work.start} to {work.stop}; the finished blocks are kept, --resume goes on"
                )
            self.begin(work, of_block)


def machines_lost(future: "Future[BlockResult]") -> bool:
    """Say whether Dask gave a task up because the workers that had it were lost."""
    return type(future.exception()).__name__ == "KilledWorker"  # Dask need not be installed


class LocalPool:
    """Worker processes of this machine, as a context; leaving it by an error stops them at once."""

    def __init__(self, workers: int, memory: int = MEMORY) -> None:
        self.ahead = max(AHEAD, 3 * workers)
        pace = Pace()
        self._pool = Pool(workers, lambda: CampaignWorker(memory, pace))

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
