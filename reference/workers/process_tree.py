"""A process tree that ends as one, however its parent ends and whatever its members do.

On POSIX systems a worker is two processes. The supervisor is this small one. It forks the worker,
waits, and kills the worker and everything that the worker started when one of these happens:

- the worker ends;
- the parent closes the pipe, or is gone: the system closes the pipe then, even after a kill -9;
- the supervisor gets a signal to end.

On Linux orphans of the tree become the supervisor's own children, so that it finds also those that
left the process group; and the worker gets a signal if the supervisor itself is killed.
Standard library only: nothing else is loaded before the fork.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h
_SET_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER

_ENDS = ("SIGTERM", "SIGHUP", "SIGINT")

_PASSES = 1000
"""How often the supervisor looks for processes that were started while it killed the others."""


def supervise(requests: int, replies: int, folder: str) -> None:
    """Fork a worker. Return in the worker; the supervisor waits for its end and never returns.

    `requests` is the pipe that the parent holds open, `replies` the worker's. The temporary
    `folder` is deleted at the end, unless it is "".
    """
    _prctl(_SET_SUBREAPER, 1)
    supervisor = os.getpid()
    wakened, wakes = os.pipe()
    for end in (wakened, wakes):
        os.set_blocking(end, False)
    heard: list[int] = []
    signal.set_wakeup_fd(wakes)
    for name in (*_ENDS, "SIGCHLD"):
        signal.signal(getattr(signal, name), lambda number, frame: heard.append(number))
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        for name in (*_ENDS, "SIGCHLD"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.close(wakened)
        os.close(wakes)
        os.setpgid(0, 0)
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:  # it ended before the signal was asked for
            os._exit(0)
        return
    status = 0
    try:
        os.close(replies)
        status = _wait(worker, requests, wakened, heard)
    finally:
        _end_tree(worker)
        if folder:
            os.chdir(os.path.dirname(folder))
            shutil.rmtree(folder, ignore_errors=True)
        _leave_as(status)


def _wait(worker: int, requests: int, wakened: int, heard: list[int]) -> int:
    """Wait until the worker ends or has to end; return its status, or 0."""
    poll = select.poll()
    poll.register(requests, 0)  # only that the other end was closed is of interest
    poll.register(wakened, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if wakened in ready:
            with suppress(BlockingIOError):
                os.read(wakened, 4096)
        # Everything of the tree that ended is waited for, so that no zombies gather.
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == worker:
                    return status
                if pid == 0:
                    break
        if requests in ready:
            return 0
        for number in heard:
            if number != signal.SIGCHLD:
                return number


def _end_tree(worker: int) -> None:
    for _ in range(_PASSES):
        with suppress(OSError):  # nobody is left in its group
            os.killpg(worker, signal.SIGKILL)
        found = _descendants(os.getpid())
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:  # one that ends may be a zombie while its threads are still ending
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            if not found:
                return
        time.sleep(0.002)


def _descendants(ancestor: int) -> list[int]:
    """Return the processes below this one; none where the system does not list them."""
    parents: dict[int, int] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    with open(f"/proc/{name}/stat", "rb") as file:
                        fields = file.read().rpartition(b")")[2].split()
                    if fields[0] != b"Z":
                        parents[int(name)] = int(fields[1])
    found: list[int] = []
    below = {ancestor}
    while below:
        below = {pid for pid, parent in parents.items() if parent in below and pid not in found}
        found += below
    return found


def _leave_as(status: int) -> None:
    """End this process as the worker ended, so that the parent reads it off."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker's core is enough
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
