"""What workers are asked to do in the tests: what targets and frameworks do at their worst."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt


class Task(msgspec.Struct):
    do: str
    array: npt.NDArray[Any] | None = None
    text: str = ""


class Said(msgspec.Struct):
    text: str = ""
    number: int = 0
    array: npt.NDArray[Any] | None = None


Emit = Callable[[object], None]


def serve(task: Task, emit: Emit) -> None:
    DOING[task.do](task, emit)


def _array(task: Task, emit: Emit) -> None:
    assert task.array is not None and task.array.flags.writeable
    emit(Said(array=np.asarray(task.array * 2)))


def _where(task: Task, emit: Emit) -> None:
    for text in (os.getcwd(), os.environ.get("PYTHONPATH", ""), str(os.listdir())):
        emit(Said(text))


def _modules(task: Task, emit: Emit) -> None:
    import json
    import struct

    import numpy

    import reference
    import reports

    for module in (json, struct, numpy, reference, reports):
        emit(Said(str(module.__file__)))


def _chatter(task: Task, emit: Emit) -> None:
    print("loss: 0.25", flush=True)
    os.write(1, b"\x00" * 100)
    assert sys.stdin.read() == ""
    os.close(0)
    os.close(1)
    os.close(2)


def _raise(task: Task, emit: Emit) -> None:
    emit(Said("before"))
    raise ValueError("\ud800 of an emoji")


def _sleep(task: Task, emit: Emit) -> None:
    emit(Said(number=os.getpid()))
    time.sleep(3600)


def _spin(task: Task, emit: Emit) -> None:
    while True:
        pass


def _hold(task: Task, emit: Emit) -> None:
    emit(Said(number=os.getpid()))
    ctypes.PyDLL(None).sleep(3600)  # in C, with the interpreter held


def _fork(task: Task, emit: Emit) -> None:
    """Begin processes that leave the group, ignore signals or have no parent any more."""
    for number in range(8):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if number % 2:
                os.setsid()
            if number % 4 > 1 and os.fork():
                os._exit(0)
            time.sleep(3600)
    emit(Said("begun"))
    if task.text:
        time.sleep(3600)


def _return_twice(task: Task, emit: Emit) -> None:
    os.fork()


def _flood(task: Task, emit: Emit) -> None:
    for number in range(20_000):
        emit(Said("x" * 100, number))


def _exhaust(task: Task, emit: Emit) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(1 << 28))


def _load(task: Task, emit: Emit) -> None:
    __import__(task.text)
    emit(Said("loaded"))


def _segfault(task: Task, emit: Emit) -> None:
    ctypes.string_at(0)


def _exit(task: Task, emit: Emit) -> None:
    sys.exit(7)


def _garble(task: Task, emit: Emit) -> None:
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, b"\xff" * 64)
        except OSError:
            continue


def _give(task: Task, emit: Emit) -> None:
    emit({"number": "no number"})


DOING = {name[1:]: value for name, value in list(globals().items()) if name[0] == "_" != name[1]}


def try_measures(nothing: None, emit: Emit) -> None:
    """Try from inside a confined worker what its measures forbid; tell which of them held."""
    import resource
    import socket

    from reference.workers import confinement

    def fails(act: Callable[[], object]) -> bool:
        try:
            act()
        except OSError:
            return True
        return False

    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in
              ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC")}  # fmt: skip
    tried = {
        "no network": fails(lambda: socket.create_connection(("127.0.0.1", 9), 1))
        and len(socket.if_nameindex()) <= 1,
        "limits of time, processes, file size and open files": limits
        == {"RLIMIT_CPU": 20, "RLIMIT_FSIZE": 1 << 20, "RLIMIT_NOFILE": 64, "RLIMIT_NPROC": 16},
        "a user of its own": os.geteuid() >= confinement.FIRST_USER,
        "no rights of root": fails(lambda: os.setuid(1))
        and fails(lambda: socket.sethostname(socket.gethostname())),
        "files: only Python's and its own folder": fails(lambda: open("/etc/passwd").close())
        and fails(lambda: os.listdir("/home"))
        and fails(lambda: open("/tmp/outside", "w").close())
        and fails(lambda: os.execv("/bin/true", ["true"])),
    }  # fmt: skip
    emit({"holds": confinement.taken.holds, "lacks": confinement.taken.lacks, "tried": tried})
