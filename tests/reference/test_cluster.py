"""A run on a Dask cluster: a real scheduler, two workers, one of them killed in the middle."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import hostile_oracles
import pytest
from patience import PATIENCE, wait_until

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan, Work
from reference.running.cluster import DaskPool
from reference.running.tasks import EnvironmentReport
from reference.running.workers import LocalPool, finish

PLAN = Plan(problems=60, oracles=("manual", "complex_step"))
BLOCKS = [Work(start, start + 4) for start in range(0, 60, 4)]
"""Small blocks, so that the kill falls among them."""

pytestmark = pytest.mark.filterwarnings("default")  # what Dask deprecates is Dask's business


class Cluster:
    """A scheduler and its workers, as processes on loopback."""

    def __init__(self, folder: Path, workers: int, *arguments: str) -> None:
        self.log = (folder / "cluster.log").open("w+")
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self._start("scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
        self.address = self._address()
        for _ in range(workers):
            self._start("worker", self.address, "--nworkers", "1", "--nthreads", "1", *arguments)

    def _start(self, what: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        if what == "worker":
            command += ["--no-dashboard", "--local-directory", str(self.folder)]
        process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, text=True, cwd=self.folder
        )
        self.processes.append(process)

    def _address(self) -> str:
        def found() -> "re.Match[str] | None":
            return re.search(r"tcp://127\.0\.0\.1:\d+", Path(self.log.name).read_text("utf-8"))

        assert wait_until(found), "no scheduler"
        address = found()
        assert address is not None
        return address[0]

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
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of the cluster import this package and the hostile oracles."""
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'tests'}")


@pytest.fixture
def cluster(tmp_path: Path, reachable: None) -> Iterator[Cluster]:
    running = Cluster(tmp_path, 2, "--no-nanny")
    yield running
    running.close()


@pytest.fixture
def impatient(tmp_path: Path, reachable: None) -> Iterator[Cluster]:
    """A cluster as Dask begins it, with a nanny, that takes a second's silence for a hang."""
    preload = tmp_path / "impatient.py"
    limits = {"MIN_FIRST": 0.5, "MIN_SILENCE": 0.5, "TIMES_FIRST": 20.0, "TIMES_START": 1.0}
    lines = [f"timeouts.{name} = {value}" for name, value in limits.items()]
    preload.write_text(
        "\n".join(["from reference.workers import timeouts", *lines]), encoding="utf-8"
    )
    running = Cluster(tmp_path, 1, "--preload", str(preload))
    yield running
    running.close()


def in_order(results: list[BlockResult]) -> list[BlockResult]:
    return sorted(results, key=lambda result: result.start)


def test_a_cluster_that_loses_a_worker_gives_the_local_results(cluster: Cluster) -> None:
    with DaskPool(cluster.address) as pool:
        environment, _ = pool.environment(PLAN.oracles)
        assert environment["numpy"]
        distributed: list[BlockResult] = []
        for result in finish(PLAN, BLOCKS, pool.submit):
            distributed.append(result)
            if len(distributed) == 4:
                threading.Thread(target=cluster.kill_a_worker).start()
    assert cluster.processes[-1].wait(PATIENCE) == -signal.SIGKILL
    with LocalPool(1) as pool_here:
        local = list(finish(PLAN, BLOCKS, pool_here.submit))
    assert in_order(distributed) == in_order(local)


def test_an_oracle_that_hangs_on_a_cluster_is_cut_and_recorded_as_it_is_here(
    impatient: Cluster,
) -> None:
    oracle = f"{hostile_oracles.__name__}:Hangs"
    plan = Plan(
        problems=4,
        activations=("tanh",),
        losses=("mse", hostile_oracles.POISON, "l1", "huber"),
        regimes=("ordinary",),
        dtypes=("float64",),
        oracles=("manual", oracle),
    )
    with DaskPool(impatient.address) as pool:
        (result,) = finish(plan, plan.work(), pool.submit, pool.ahead)
    verdicts = sorted(outcome.verdict for outcome in result.outcomes)
    assert verdicts == ["AGREE", "AGREE", "AGREE", f"CRASHED({oracle})"]
    (finding,) = result.findings
    assert "no answer within the time limit" in finding.sentence
    assert "Restarting worker" not in Path(impatient.log.name).read_text(encoding="utf-8")


def test_a_scheduler_that_is_not_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference.running.cluster.SECONDS_TO_CONNECT", 1)
    with pytest.raises(InvalidInput, match=r"scheduler='tcp://127\.0\.0\.1:1': cannot connect"):
        DaskPool("tcp://127.0.0.1:1")
    with pytest.raises(InvalidInput, match="scheduler='nowhere'"):
        DaskPool("nowhere")


def test_a_cluster_of_two_environments_is_refused() -> None:
    class Client:
        """Two workers, one of which has another NumPy."""

        def wait_for_workers(self, count: int, timeout: float) -> None:
            assert count == 1

        def nthreads(self) -> dict[str, int]:
            return {"tcp://one": 1, "tcp://two": 1}

        def submit(self, *_: object, workers: list[str], **__: object) -> Future[EnvironmentReport]:
            future: Future[EnvironmentReport] = Future()
            version = {"tcp://one": "2.4.6", "tcp://two": other}[workers[0]]
            future.set_result(({"numpy": version}, []))
            return future

    pool = DaskPool.__new__(DaskPool)
    pool._client, other = Client(), "2.4.6"
    assert pool.environment(("manual",)) == ({"numpy": "2.4.6"}, [])
    other = "2.3.0"
    with pytest.raises(InvalidInput, match=r"differ in numpy: 2\.4\.6 at tcp://one, 2\.3\.0 at"):
        pool.environment(("manual",))
