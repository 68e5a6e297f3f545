"""A worker process: what it is sent and sends, what it may not see, and that it ends as a tree."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from patience import PATIENCE, wait_until
from workertasks import Said, Task

import reference
from reference.workers import Died, Finished, Hung, Limits, Raised, Stopped, Worker, timeouts
from reference.workers.messages import End

TESTS = Path(__file__).parents[1]
ROOT = Path(reference.__file__).parents[1]


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers import what they serve."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}relative{os.pathsep}{ROOT}")


@pytest.fixture
def worker() -> Iterator[Worker]:
    running = Worker("workertasks:serve")
    yield running
    running.close()


def ask(worker: Worker, task: Task, **limits: float) -> tuple[list[Said], End]:
    """Return the events and the end."""
    *events, end = worker.run(task, Said, **limits)  # type: ignore[arg-type]
    assert isinstance(end, End)
    return [event for event in events if isinstance(event, Said)], end


def test_arrays_go_and_come_with_their_type(worker: Worker) -> None:
    for array in (np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2), np.float32), np.array(True)):
        (replies,), end = ask(worker, Task("array", array))
        assert isinstance(end, Finished) and end.memory > 1 << 20
        assert replies.array is not None and replies.array.shape == array.shape
        np.testing.assert_array_equal(replies.array, array * 2)
    with pytest.raises(TypeError, match="ndarray cannot be sent"):
        ask(worker, Task("array", np.array([object()])))


def test_it_works_in_an_empty_folder_of_its_own(worker: Worker) -> None:
    replies, _ = ask(worker, Task("where"))
    folder, path, held = (one.text for one in replies)
    assert folder != os.getcwd() and held == "[]"
    assert path == os.environ["PYTHONPATH"], "what the process begins is not as it was"
    worker.end()
    assert not Path(folder).exists()


def test_the_protocol_is_out_of_reach(worker: Worker) -> None:
    _, end = ask(worker, Task("chatter"))
    assert isinstance(end, Finished)
    _, end = ask(worker, Task("chatter"))  # now without any of the three
    assert isinstance(end, Raised) and end.kind == "OSError"


def test_an_exception_is_sent_and_the_process_lives_on(worker: Worker) -> None:
    replies, end = ask(worker, Task("raise"))
    assert [one.text for one in replies] == ["before"]
    assert isinstance(end, Raised)
    assert (end.kind, end.message) == ("ValueError", "\\ud800 of an emoji")
    before = worker.pid
    assert isinstance(ask(worker, Task("where"))[1], Finished)
    assert worker.pid == before


@pytest.mark.parametrize(
    ("do", "reason"),
    [("segfault", "killed by SIGSEGV"), ("exit", "exited with 7"), ("garble", "not a message")],
)
def test_a_death_is_named_and_the_next_run_begins_anew(
    worker: Worker, do: str, reason: str
) -> None:
    _, end = ask(worker, Task(do))
    assert isinstance(end, Died) and reason in end.reason
    assert worker.pid is None
    assert isinstance(ask(worker, Task("where"))[1], Finished)


def test_what_is_no_event_of_the_kind_ends_the_process(worker: Worker) -> None:
    _, end = ask(worker, Task("give"))
    assert isinstance(end, Died) and "it sent something that is not a message" in end.reason


def test_memory_is_limited() -> None:
    worker = Worker("workertasks:serve", memory=1 << 30)
    _, end = ask(worker, Task("exhaust"))
    assert isinstance(end, Raised) and end.kind == "MemoryError"
    worker.close()


def test_what_emits_faster_than_it_is_read_waits(worker: Worker) -> None:
    numbers = []
    for event in worker.run(Task("flood"), Said, cpu_seconds=PATIENCE):
        if isinstance(event, Said):
            numbers.append(event.number)
            if event.number == 1000:
                time.sleep(0.5)
                assert worker._process is not None
                assert worker._process._received.qsize() <= 64
    assert numbers == list(range(20_000))


def test_processor_time_and_the_clock_are_limited(worker: Worker) -> None:
    _, end = ask(worker, Task("spin"), cpu_seconds=1.0)
    assert isinstance(end, Hung) and end.cpu_seconds is not None and end.cpu_seconds > 1.0
    assert "of processor time" in end.reason
    replies, end = ask(worker, Task("sleep"), cpu_seconds=1.0, wall_seconds=1.0)
    assert isinstance(end, Hung) and end.wall_seconds > 1.0
    assert end.reason == f"no answer after {end.wall_seconds:.0f} s"
    assert worker.pid is None and gone(replies[0].number)


def test_a_process_without_a_processor_does_not_hang(worker: Worker) -> None:
    """It is stopped for longer than its limit of processor time, and then goes on."""
    ask(worker, Task("where"))
    assert worker._process is not None
    stopped = worker._process.worker
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    going_on = threading.Timer(3.0, os.kill, [stopped, signal.SIGCONT])
    going_on.start()
    _, end = ask(worker, Task("flood"), cpu_seconds=1.0)
    going_on.join()
    assert isinstance(end, Finished)


def test_limits_may_follow_the_events(worker: Worker) -> None:
    seen: list[Said | None] = []

    def limits(last: Said | None) -> Limits:
        seen.append(last)
        return Limits(None, PATIENCE if last is None else 1.0)

    *_, end = worker.run(Task("sleep"), Said, limits=limits)
    assert isinstance(end, Hung)
    assert isinstance(seen[-1], Said)


def test_the_first_import_of_a_framework_has_its_own_patience(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "import time\ntime.sleep(2.5)\n"
    (tmp_path / "theano.py").write_text(slow)
    (tmp_path / "plain.py").write_text(slow)
    monkeypatch.syspath_prepend(tmp_path)
    replies, end = ask(worker, Task("load", text="theano"), wall_seconds=1.0)
    assert isinstance(end, Finished) and replies[0].text == "loaded"
    assert worker.times.patient("import theano") >= timeouts.MIN_FIRST
    assert isinstance(ask(worker, Task("load", text="plain"), wall_seconds=1.0)[1], Hung)


SHADOWS = ("json.py", "struct.py", "numpy.py", "reference.py", "msgspec.py", "reports/__init__.py")


def test_files_in_the_working_folder_shadow_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SHADOWS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{TESTS}")
    worker = Worker("workertasks:serve")
    replies, end = ask(worker, Task("modules"))
    assert isinstance(end, Finished), end
    assert len(replies) == 5 and not any(str(tmp_path) in one.text for one in replies)
    worker.close()


PARENT = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored below nohup
from workertasks import Said, Task
from reference.workers import Worker
for event in Worker("workertasks:serve").run(Task({do!r}, text="stay"), Said):
    print(event.number, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("do", ["fork", "hold"])
def test_the_tree_ends_whatever_ends_its_parent(
    do: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEGUN_BY", mark := f"test {os.getpid()} {time.monotonic_ns()}")
    code = PARENT.format(do=do)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline()
        assert len(marked(mark)) >= (3 if do == "hold" else 8)
        parent.send_signal(number)
    assert none_left(mark)


@pytest.mark.parametrize("text", ["", "stay"])
def test_what_it_began_ends_with_it(
    text: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEGUN_BY", mark := f"test {os.getpid()} {time.monotonic_ns()}")
    for event in worker.run(Task("fork", text=text), Said):
        assert isinstance(event, Said | Finished)
        if text:
            break  # who stops listening ends it
    worker.end()
    assert none_left(mark)


def test_a_supervisor_that_is_killed_takes_its_tree_along(worker: Worker) -> None:
    run = worker.run(Task("hold"), Said)
    replies = next(run)
    assert isinstance(replies, Said) and worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    *_, end = run
    assert isinstance(end, Died) and end.signal == "SIGKILL"
    assert gone(replies.number)


def test_a_child_that_returns_does_not_answer(worker: Worker) -> None:
    for _ in range(3):
        assert isinstance(ask(worker, Task("return_twice"))[1], Finished)
    assert ask(worker, Task("array", np.ones(1)))[0][0].array == 2.0


def test_an_entry_that_is_not_there_is_said() -> None:
    for entry, kind in (("nowhere:f", "ModuleNotFoundError"), ("workertasks:f", "AttributeError")):
        worker = Worker(entry)
        _, end = ask(worker, Task("where"))
        assert isinstance(end, Raised) and end.kind == kind
        assert worker.pid is None
        worker.close()


def test_a_closed_worker_is_not_asked(worker: Worker) -> None:
    worker.close()
    with pytest.raises(Stopped):
        ask(worker, Task("where"))


def marked(mark: str) -> list[int]:
    """The processes with this mark in their environment that are not the test's own."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def none_left(mark: str) -> bool:
    return wait_until(lambda: not marked(mark))


def gone(pid: int) -> bool:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    return wait_until(ended)
