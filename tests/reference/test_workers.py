"""What brings a worker down costs its own problem, is named, and changes nothing else."""

import os
from pathlib import Path

import hostile_oracles
import msgspec
import pytest

from reference.campaign import BlockResult, Plan
from reference.problems import cell
from reference.running import workers
from reference.running.workers import LocalPool, finish

PLAN = Plan(
    problems=4,
    activations=("tanh",),
    losses=("mse", "hinge", "l1", "huber"),
    regimes=("ordinary",),
    dtypes=("float64",),
    arbiter_share=0.0,
)
"""Four problems, one of them poisoned."""


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes import the hostile oracles."""
    tests = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{tests}{os.pathsep}{path}" if path else tests)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")


def run(oracle: str) -> BlockResult:
    plan = msgspec.structs.replace(PLAN, oracles=("manual", oracle))
    with LocalPool(1, memory=1 << 30) as pool:
        (result,) = finish(plan, plan.blocks(), pool.submit)
    return result


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "RuntimeError: planted"),
        ("Hangs", "no answer within the time limit"),
        ("Segfaults", "SIGSEGV"),
        ("Exits", "exited with 7"),
        ("ExhaustsMemory", "MemoryError"),
    ],
)
def test_a_hostile_oracle_is_named_and_survived(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LEAST_SECONDS", 2.0)
    monkeypatch.setattr(workers, "SECONDS_PER_BLOCK", 2.0)
    oracle = f"{hostile_oracles.__name__}:{name}"
    result = run(oracle)
    selection = PLAN.selection()
    assert [o.index for o in result.outcomes] == [selection.index(i) for i in range(4)]
    poisoned = {o.index for o in result.outcomes if cell(o.index).loss == hostile_oracles.POISON}
    assert len(poisoned) == 1
    named = {o.index: o.verdict for o in result.outcomes if o.verdict != "AGREE"}
    assert named == dict.fromkeys(poisoned, f"CRASHED({oracle})")
    assert all(reason in finding.sentence for finding in result.findings)
