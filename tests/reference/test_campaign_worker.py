"""What brings a worker down costs its own problem, is named, and changes nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import hostile_oracles
import msgspec
import pytest
from patience import PATIENCE, wait_until

from manual_backprop.operation import InvalidInput
from reference.campaign import BlockResult, Plan, Work
from reference.problems import cell
from reference.running.workers import CampaignWorker, LocalPool, finish
from reference.workers import Stopped, timeouts, worker

PLAN = Plan(
    problems=4,
    activations=("tanh",),
    losses=("mse", "hinge", "l1", "huber"),
    regimes=("ordinary",),
    dtypes=("float64",),
)
"""Four problems, one of them poisoned."""


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes import the hostile oracles."""
    tests = str(Path(__file__).parent.parent)
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", f"{tests}{os.pathsep}{path}" if path else tests)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a hang cost a second, or as long as a process takes to start: nothing is compiled."""
    monkeypatch.setattr(timeouts, "MIN_FIRST", 0.5)
    monkeypatch.setattr(timeouts, "MIN_SILENCE", 0.5)
    monkeypatch.setattr(timeouts, "TIMES_FIRST", 20.0)
    monkeypatch.setattr(timeouts, "TIMES_START", 1.0)


def encoded(result: BlockResult) -> bytes:
    return msgspec.msgpack.encode(result)  # as the store keeps it; NaN is NaN


def run(oracle: str) -> BlockResult:
    plan = msgspec.structs.replace(PLAN, oracles=("manual", oracle))
    with LocalPool(1, memory=1 << 30) as pool:
        (result,) = finish(plan, plan.work(), pool.submit)
    return result


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "RuntimeError: injected"),
        ("Panics", "RuntimeError: Panic: injected"),
        ("CannotSay", "Silent"),
        ("HalfACharacter", r"RuntimeError: \ud800 of an emoji"),
        ("Verbose", "<script>" * 9),
        ("GivesNothing", "answer: a NoneType, expected an Answer"),
        ("GivesLists", "a list, expected a NumPy array of numbers"),
        ("GivesObjects", "an array of object, expected a NumPy array of numbers"),
        ("WritesIntoTheProblem", "read-only"),
        ("LeavesAChild", "exited with 9"),
        ("Hangs", "no answer within the time limit"),
        ("Spins", "no answer within the time limit"),
        ("Segfaults", "SIGSEGV"),
        ("Exits", "exited with 7"),
        ("LeavesQuietly", "exited with 0"),
        ("CallsExit", "exited with 1"),
        ("IsKilled", "SIGKILL"),
        ("ExhaustsMemory", "MemoryError"),
    ],
)
def test_a_hostile_oracle_is_named_and_survived(
    name: str, reason: str, request: pytest.FixtureRequest
) -> None:
    if "limit" in reason:
        request.getfixturevalue("impatient")
    oracle = f"{hostile_oracles.__name__}:{name}"
    result = run(oracle)
    selection = PLAN.selection()
    assert [o.index for o in result.outcomes] == [selection.index(i) for i in range(4)]
    poisoned = {o.index for o in result.outcomes if cell(o.index).loss == hostile_oracles.POISON}
    assert len(poisoned) == 1
    named = {o.index: o.verdict for o in result.outcomes if o.verdict != "AGREE"}
    assert named == dict.fromkeys(poisoned, f"CRASHED({oracle})")
    assert result.findings and all(reason in finding.sentence for finding in result.findings)
    assert all(len(finding.sentence) < 2000 for finding in result.findings)


@pytest.mark.parametrize("name", ["GivesTooFew", "GivesAGenerator"])
def test_a_block_that_is_answered_badly_is_asked_one_by_one(name: str) -> None:
    result = run(f"{hostile_oracles.__name__}:{name}")
    assert {o.verdict for o in result.outcomes} == {"AGREE"}


def test_an_oracle_that_cannot_tell_whether_it_can_answer_is_skipped() -> None:
    result = run(f"{hostile_oracles.__name__}:CannotTell")
    assert {o.verdict for o in result.outcomes} == {"AGREE"}, "the others are judged by proof"


def test_an_oracle_that_hangs_before_it_is_asked_is_named(
    impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before it is asked, the worker loads the frameworks: a few times as long as it takes to start.
    monkeypatch.setattr(timeouts, "TIMES_START", 10.0)
    process = CampaignWorker()
    try:
        with pytest.raises(InvalidInput, match=r"loading oracle='hostile_oracles:HangsWhenAsked'"):
            process.environment(("manual", f"{hostile_oracles.__name__}:HangsWhenAsked"))
    finally:
        process.close()


def test_what_a_dead_oracle_began_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEGUN_BY", mark := f"test {os.getpid()} {time.monotonic_ns()}")
    process = CampaignWorker()
    plan = msgspec.structs.replace(
        PLAN, oracles=("manual", f"{hostile_oracles.__name__}:LeavesAChild")
    )
    try:
        process.block(plan, Work(0, 4))
    finally:
        process.close()
    assert not orphans(mark), "a child of the oracle lives on"


def orphans(mark: str) -> list[int]:
    """The processes with this mark in their environment whose parent is gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            marked = mark.encode() in (entry / "environ").read_bytes()
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if marked and parent == 1:
            found.append(int(entry.name))
    return found


def test_what_an_oracle_prints_and_reads_does_not_meet_the_wire() -> None:
    result = run(f"{hostile_oracles.__name__}:Chatters")
    assert {o.verdict for o in result.outcomes} == {"AGREE"}


def test_a_worker_killed_from_outside_changes_nothing() -> None:
    process = CampaignWorker()
    plan = Plan(problems=40, oracles=("manual", "torch"))
    undisturbed = encoded(process.block(plan, Work(0, 40)))

    def kill(pid: int) -> None:
        time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)

    before = process.worker.pid
    assert before is not None
    killer = threading.Thread(target=kill, args=[before])
    killer.start()
    assert encoded(process.block(plan, Work(0, 40))) == undisturbed
    killer.join()
    # Where it was killed between two blocks:
    assert encoded(process.block(plan, Work(0, 40))) == undisturbed
    assert process.worker.pid != before
    process.close()


def test_a_problem_at_a_time_gives_what_the_block_gives() -> None:
    process = CampaignWorker()
    # Of one dtype, because JAX's program of each takes seconds to trace.
    plan = Plan(problems=40, oracles=("manual", "torch", "jax"), dtypes=("float32",))
    block = process.block(plan, Work(0, 40))
    assert {outcome.verdict for outcome in block.outcomes} > {"AGREE"}
    assert encoded(process._one_by_one(plan, Work(0, 40))) == encoded(block)
    process.close()


def test_a_worker_is_renewed_after_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MAX_REQUESTS", 2)
    process, pids = CampaignWorker(), []
    plan = msgspec.structs.replace(PLAN, oracles=("manual",))
    for _ in range(4):
        process.block(plan, Work(0, 1))
        pids.append(process.worker.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]
    process.close()
    assert process.worker.pid is None


def test_a_worker_that_holds_too_much_memory_is_renewed() -> None:
    process = CampaignWorker(memory=1 << 30)
    plan = msgspec.structs.replace(PLAN, oracles=("manual",))
    process.block(plan, Work(0, 1))
    first = process.worker.pid
    process.block(plan, Work(0, 1))
    assert process.worker.pid == first
    process.worker._held = (1 << 29) + 1  # as if its last reply gave this
    process.block(plan, Work(0, 1))
    assert process.worker.pid != first
    assert 1 << 24 < process.worker._held < 1 << 29
    process.close()


def test_a_process_ends_when_its_parent_is_gone() -> None:
    process = CampaignWorker()
    process.environment(("manual",))
    tree = process.worker._process
    assert tree is not None
    tree._sent.put(None)  # closes the pipe, as the system does with what a killed process held
    assert tree._popen.wait(PATIENCE) == 0
    process.close()


def test_an_error_of_our_own_is_raised_and_not_recorded() -> None:
    process = CampaignWorker()
    with pytest.raises(InvalidInput, match=r"oracle='nowhere:Nothing' cannot be loaded"):
        process.environment(("nowhere:Nothing",))
    with pytest.raises(RuntimeError, match="KeyError in a worker: 'no such section'"):
        process.section("no such section")
    process.close()


def test_a_worker_that_holds_python_ends_with_its_parent() -> None:
    """It hangs in C and hears nothing: the system has to end it."""
    oracles = ("manual", f"{hostile_oracles.__name__}:Spins")
    plan = msgspec.json.encode(msgspec.structs.replace(PLAN, oracles=oracles))
    code = (
        "import msgspec\n"
        "from reference.campaign import Plan, Work\n"
        "from reference.running.workers import CampaignWorker\n"
        "process = CampaignWorker()\n"
        "process.environment(('manual',))\n"
        "print(process.worker.pid, flush=True)\n"
        f"process.block(msgspec.json.decode({plan!r}, type=Plan), Work(0, 4))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(1.0)  # it is in C by now
        parent.kill()
    assert wait_until(lambda: not running(pid))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_pool_that_closes_begins_no_worker() -> None:
    """Between Ctrl-C and its end a thread may still want one: nobody would stop it."""
    pool = LocalPool(2)
    assert pool.ahead >= 6
    pool._pool._close()
    with pytest.raises(Stopped):
        pool.submit(PLAN, Work(0, 4)).result(PATIENCE)
    assert LocalPool(40).ahead >= 80
