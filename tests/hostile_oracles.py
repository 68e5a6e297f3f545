"""Oracles that do what frameworks do at their worst, on the problems of one loss."""

import ctypes
import os
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


class Segfaults(_Hostile):
    def misbehave(self) -> None:
        ctypes.string_at(0)


class Exits(_Hostile):
    def misbehave(self) -> None:
        os._exit(7)


class ExhaustsMemory(_Hostile):
    def misbehave(self) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 28))
