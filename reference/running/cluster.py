"""Runs blocks on a Dask cluster that somebody already has: `report --scheduler tcp://HOST:PORT`.

Dask moves a block to another worker when its own dies; the results are the local ones, since a
block depends on nothing but the plan. The workers need this package installed, in one version.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import msgspec

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan
from reference.running.sections import section
from reference.running.workers import Setting, in_worker, setting_here
from reports.records import Record

SECONDS_TO_CONNECT = 10


class DaskPool:
    """The workers of a cluster, with the interface of `workers.LocalPool`."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise InvalidInput(
                f"scheduler={address!r} needs Dask: pip install 'manual-backprop[distributed]'"
            ) from None
        try:
            self._client: Any = Client(address, timeout=SECONDS_TO_CONNECT)
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InvalidInput(f"scheduler={address!r}: cannot connect: {reason}") from None
        self._executor = self._client.get_executor(pure=False)

    def __enter__(self) -> "DaskPool":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._executor.shutdown(wait=error is None)
        self._client.close()

    def setting(self, oracles: tuple[str, ...]) -> Setting:
        """Ask a worker what the numbers are computed with."""
        setting: Setting = self._executor.submit(setting_here, oracles).result()
        return setting

    def section(self, name: str) -> "Future[list[Record]]":
        """Make a section of the report on the cluster."""
        future: Future[list[Record]] = self._executor.submit(section, name)
        return future

    def submit(
        self, plan: Plan, start: int, stop: int, absent: Mapping[str, str]
    ) -> "Future[BlockResult]":
        """Run a block on the cluster."""
        future: Future[BlockResult] = self._executor.submit(
            in_worker, msgspec.json.encode(plan), start, stop, dict(absent)
        )
        return future
