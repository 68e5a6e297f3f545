"""Oracles that do what frameworks do at their worst, on the problems of one loss."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

from manual_backprop.network import Problem
from reference.oracles import Answer
from reference.oracles.manual import Manual

POISON = "hinge"
"""The loss whose problems bring each of these oracles down."""


class _Hostile(Manual):
    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        return [self.answer(problem) for problem in problems]

    def answer(self, problem: Problem) -> Answer:
        if problem.network.loss == POISON:
            self.misbehave()
        return super().answer(problem)

    def misbehave(self) -> None:
        raise NotImplementedError


class Raises(_Hostile):
    def misbehave(self) -> None:
        raise RuntimeError("planted")


class Hangs(_Hostile):
    def misbehave(self) -> None:
        time.sleep(3600)


class Spins(_Hostile):
    """Hangs in C, holding the interpreter: no other thread of the process ever runs again."""

    def misbehave(self) -> None:
        ctypes.PyDLL(None).sleep(3600)


class Segfaults(_Hostile):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class Exits(_Hostile):
    def misbehave(self) -> None:
        os._exit(7)


class LeavesQuietly(_Hostile):
    def misbehave(self) -> None:
        os._exit(0)


class CallsExit(_Hostile):
    def misbehave(self) -> None:
        sys.exit("enough")


class IsKilled(_Hostile):
    def misbehave(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class ExhaustsMemory(_Hostile):
    def misbehave(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 28))


class Chatters(_Hostile):
    """Prints where the answers go, and reads what is asked: neither may meet the wire."""

    def misbehave(self) -> None:
        print("loss: 0.25", flush=True)
        os.write(1, b"\x00" * 100)
        assert sys.stdin.read() == ""
