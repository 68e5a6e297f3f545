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

from manual_backprop.spec import InvalidInput
from reference.campaign import BlockResult, Plan, Work
from reference.problems import cell
from reference.running import isolation, pace
from reference.running.isolation import Worker
from reference.running.workers import LocalPool, finish

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
    """Make a hang cost seconds: these oracles compile nothing."""
    monkeypatch.setattr(pace, "LEAST_FIRST", 2.0)
    monkeypatch.setattr(pace, "LEAST", 1.0)
    monkeypatch.setattr(pace, "TIMES_FIRST", 20.0)
    monkeypatch.setattr(pace, "TIMES_START", 1.0)


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
        ("Raises", "RuntimeError: planted"),
        ("Panics", "RuntimeError: Panic: planted"),
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
    monkeypatch.setattr(
        pace, "LEAST_FIRST", 3.0
    )  # what comes before takes a while when all is busy
    worker = Worker()
    try:
        with pytest.raises(InvalidInput, match=r"loading oracle='hostile_oracles:HangsWhenAsked'"):
            worker.setting(("manual", f"{hostile_oracles.__name__}:HangsWhenAsked"))
    finally:
        worker.close()


def test_what_a_dead_oracle_began_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEGUN_BY", mark := f"test {os.getpid()} {time.monotonic_ns()}")
    worker = Worker()
    plan = msgspec.structs.replace(
        PLAN, oracles=("manual", f"{hostile_oracles.__name__}:LeavesAChild")
    )
    try:
        worker.block(plan, Work(0, 4))
    finally:
        worker.close()
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
    worker = Worker()
    plan = Plan(problems=40, oracles=("manual", "torch"))
    undisturbed = encoded(worker.block(plan, Work(0, 40)))

    def kill(pid: int) -> None:
        time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)

    before = worker.pid
    assert before is not None
    killer = threading.Thread(target=kill, args=[before])
    killer.start()
    assert encoded(worker.block(plan, Work(0, 40))) == undisturbed
    killer.join()
    # Where it was killed between two blocks:
    assert encoded(worker.block(plan, Work(0, 40))) == undisturbed
    assert worker.pid != before
    worker.close()


def test_a_problem_at_a_time_gives_what_the_block_gives() -> None:
    worker = Worker()
    plan = Plan(problems=40, oracles=("manual", "torch", "jax"))
    block = worker.block(plan, Work(0, 40))
    assert {outcome.verdict for outcome in block.outcomes} > {"AGREE"}
    assert encoded(worker._one_by_one(plan, Work(0, 40))) == encoded(block)
    worker.close()


def test_a_worker_is_renewed_after_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "ASKED_AT_MOST", 2)
    worker, pids = Worker(), []
    plan = msgspec.structs.replace(PLAN, oracles=("manual",))
    for _ in range(4):
        worker.block(plan, Work(0, 1))
        pids.append(worker.pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]
    worker.close()
    assert worker.pid is None


def test_a_worker_that_holds_too_much_memory_is_renewed() -> None:
    worker = Worker(memory=1 << 30)
    plan = msgspec.structs.replace(PLAN, oracles=("manual",))
    worker.block(plan, Work(0, 1))
    first = worker.pid
    worker.block(plan, Work(0, 1))
    assert worker.pid == first
    worker._held = (1 << 29) + 1  # what its last reply might have said
    worker.block(plan, Work(0, 1))
    assert worker.pid != first
    assert 1 << 24 < worker._held < 1 << 29
    worker.close()


def test_a_process_ends_when_its_parent_is_gone() -> None:
    worker = Worker()
    worker.setting(("manual",))
    process = worker._process
    assert process and process.stdin
    process.stdin.close()  # as the system does with what a killed process held
    assert process.wait(10) == 0
    worker.close()


def test_an_error_of_our_own_is_raised_and_not_recorded() -> None:
    worker = Worker()
    with pytest.raises(InvalidInput, match=r"oracle='nowhere:Nothing' cannot be loaded"):
        worker.setting(("nowhere:Nothing",))
    with pytest.raises(RuntimeError, match="KeyError in a worker: 'no such section'"):
        worker.section("no such section")
    worker.close()


def test_a_worker_that_holds_python_ends_with_its_parent() -> None:
    """It hangs in C and hears nothing: the system has to end it."""
    oracles = ("manual", f"{hostile_oracles.__name__}:Spins")
    plan = msgspec.json.encode(msgspec.structs.replace(PLAN, oracles=oracles))
    code = (
        "import msgspec\n"
        "from reference.campaign import Plan, Work\n"
        "from reference.running.isolation import Worker\n"
        "worker = Worker()\n"
        "worker.setting(('manual',))\n"
        "print(worker.pid, flush=True)\n"
        f"worker.block(msgspec.json.decode({plan!r}, type=Plan), Work(0, 4))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(1.0)  # it is in C by now
        parent.kill()
    until = time.monotonic() + 10
    while running(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(pid)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_pool_that_closes_begins_no_worker() -> None:
    """Between Ctrl-C and its end a thread may still want one: nobody would stop it."""
    pool = LocalPool(2)
    assert pool.ahead >= 6
    pool._close()
    with pytest.raises(isolation.Stopped):
        pool.submit(PLAN, Work(0, 4)).result(10)
    assert LocalPool(40).ahead >= 80
