"""A run on a Dask cluster: a real scheduler, two workers, one of them killed in the middle."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan
from reference.running.cluster import DaskPool
from reference.running.workers import LocalPool, finish

PLAN = Plan(problems=60, oracles=("manual", "complex_step"), arbiter_share=0.02)
BLOCKS = [(start, start + 4) for start in range(0, 60, 4)]
"""Small blocks, so that the kill falls among them."""

pytestmark = pytest.mark.filterwarnings("default")  # what Dask deprecates is Dask's business


class Cluster:
    """A scheduler and its workers, as processes on loopback."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.log = (folder / "cluster.log").open("w+")
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self._start("scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
        self.address = self._address()
        for _ in range(workers):
            self._start("worker", self.address, "--nworkers", "1", "--nthreads", "1", "--no-nanny")

    def _start(self, what: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        if what == "worker":
            command += ["--no-dashboard", "--local-directory", str(self.folder)]
        process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, text=True, cwd=self.folder
        )
        self.processes.append(process)

    def _address(self) -> str:
        for _ in range(300):
            text = Path(self.log.name).read_text(encoding="utf-8")
            if found := re.search(r"tcp://127\.0\.0\.1:\d+", text):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no scheduler: {text}")

    def kill_a_worker(self) -> None:
        """Kill -9 the last worker."""
        os.kill(self.processes[-1].pid, signal.SIGKILL)

    def close(self) -> None:
        """End what still runs."""
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.log.close()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    running = Cluster(tmp_path, 2)
    yield running
    running.close()


def in_order(results: list[BlockResult]) -> list[BlockResult]:
    return sorted(results, key=lambda result: result.start)


def test_a_cluster_that_loses_a_worker_gives_the_local_results(cluster: Cluster) -> None:
    with DaskPool(cluster.address) as pool:
        environment, _ = pool.setting(PLAN.oracles)
        assert environment["numpy"]
        distributed: list[BlockResult] = []
        for result in finish(PLAN, BLOCKS, pool.submit):
            distributed.append(result)
            if len(distributed) == 4:
                threading.Thread(target=cluster.kill_a_worker).start()
    assert cluster.processes[-1].wait(10) == -signal.SIGKILL
    with LocalPool(1) as pool_here:
        local = list(finish(PLAN, BLOCKS, pool_here.submit))
    assert in_order(distributed) == in_order(local)


def test_a_scheduler_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.running.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(InvalidInput, match=r"scheduler='tcp://127\.0\.0\.1:1': cannot connect"):
        DaskPool("tcp://127.0.0.1:1")
    with pytest.raises(InvalidInput, match="scheduler='nowhere'"):
        DaskPool("nowhere")
