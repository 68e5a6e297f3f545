"""Runs blocks on an existing Dask cluster: `report --scheduler tcp://HOST:PORT`.

When a worker dies, Dask moves its block to another one. The results are the local ones, because a
block depends only on the plan and on the software that computes it. So the workers need this
package and the frameworks in one version, on processors of one kind. The workers that are there
when a run starts are asked, and one that differs is refused.

On its Dask worker a block runs in a separate process (`CampaignWorker`), as it does locally. An
oracle that hangs or dies is stopped and recorded there, and the Dask worker goes on.
"""

import threading
from concurrent.futures import Future
from functools import cache
from typing import Any

import msgspec

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan, Work
from reference.oracles import readable
from reference.oracles.environment import difference
from reference.running.tasks import EnvironmentReport
from reference.running.workers import AHEAD, CampaignWorker
from reference.workers import MeasuredTimes
from reports.records import Record

SECONDS_TO_CONNECT = 10

SECONDS_TO_BEGIN = 300
"""Seconds in which the first worker must connect, and all must report their environment."""


class DaskPool:
    """The workers of a cluster, with the interface of `workers.LocalPool`."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise InvalidInput(
                f"scheduler={address!r} needs Dask; install it in the clone: "
                "python -m pip install -c constraints.txt -e '.[distributed]'"
            ) from None
        try:
            self._client: Any = Client(address, timeout=SECONDS_TO_CONNECT)
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InvalidInput(f"scheduler={address!r}: cannot connect: {reason}") from None
        self._address = address
        self._executor = self._client.get_executor(pure=False)

    def __enter__(self) -> "DaskPool":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._executor.shutdown(wait=error is None)
        self._client.close()

    @property
    def ahead(self) -> int:
        """Return how many blocks keep every thread of the cluster busy."""
        threads: int = sum(self._client.nthreads().values())
        return max(AHEAD, 3 * threads)

    def environment(self, oracles: tuple[str, ...]) -> EnvironmentReport:
        """Ask every worker what the numbers are computed with: a report holds one environment."""
        try:
            self._client.wait_for_workers(1, timeout=SECONDS_TO_BEGIN)
        except TimeoutError:
            raise InvalidInput(
                f"scheduler={self._address!r}: no worker connected within {SECONDS_TO_BEGIN} s"
            ) from None
        asked = {  # if one is lost meanwhile, another one answers
            at: self._client.submit(
                _environment, oracles, workers=[at], allow_other_workers=True, pure=False
            )
            for at in sorted(self._client.nthreads())
        }
        reports: dict[str, EnvironmentReport] = {}
        for at, future in asked.items():
            try:
                reports[at] = future.result(timeout=SECONDS_TO_BEGIN)
            except InvalidInput:
                raise
            except Exception as error:  # a package that is missing there, a worker that is lost
                raise InvalidInput(
                    f"scheduler={self._address!r}: the worker at {at} cannot begin "
                    f"({readable(error)}); it needs this package in this version"
                ) from None
        (one, first), *others = reports.items()
        for other, found in others:
            if apart := difference(first[0], found[0]):
                name, here, there = apart
                raise InvalidInput(
                    f"the cluster's workers differ in {name}: {here} at {one}, {there} at {other}; "
                    "expected one environment"
                )
        return first

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report on the cluster."""
        future: Future[list[Record]] = self._executor.submit(_section, name)
        return future

    def submit(self, plan: Plan, work: Work) -> "Future[BlockResult]":
        """Do a piece of work on the cluster."""
        future: Future[BlockResult] = self._executor.submit(
            _work, msgspec.json.encode(plan), msgspec.json.encode(work)
        )
        return future


_here = threading.local()


@cache
def _times() -> MeasuredTimes:
    return MeasuredTimes()


def _worker() -> CampaignWorker:
    """Return the process that belongs to this thread of a Dask worker."""
    if not hasattr(_here, "worker"):
        _here.worker = CampaignWorker(times=_times())
    worker: CampaignWorker = _here.worker
    return worker


def _environment(oracles: tuple[str, ...]) -> EnvironmentReport:
    return _worker().environment(oracles)


def _section(name: str) -> list[Record]:
    return _worker().section(name)


def _work(plan: bytes, work: bytes) -> BlockResult:
    decoded = msgspec.json.decode(plan, type=Plan), msgspec.json.decode(work, type=Work)
    return _worker().block(*decoded)
