"""Oracles that do what frameworks do at their worst, on the problems of one loss."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

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
        raise RuntimeError("injected")


class Panics(_Hostile):
    """As an extension in Rust does: what it raises is no Exception."""

    def misbehave(self) -> None:
        class Panic(BaseException):
            pass

        raise Panic("injected")


class CannotSay(_Hostile):
    def misbehave(self) -> None:
        class Silent(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        raise Silent


class HalfACharacter(_Hostile):
    def misbehave(self) -> None:
        raise RuntimeError("\ud800 of an emoji")


class Verbose(_Hostile):
    def misbehave(self) -> None:
        raise RuntimeError("<script>" * 10**6)


class GivesNothing(_Hostile):
    def answer(self, problem: Problem) -> Any:
        return None if problem.network.loss == POISON else super().answer(problem)


class GivesLists(_Hostile):
    def answer(self, problem: Problem) -> Any:
        found = super(_Hostile, self).answer(problem)
        if problem.network.loss != POISON:
            return found
        return replace(found, gradients={k: v.tolist() for k, v in found.gradients.items()})


class GivesObjects(_Hostile):
    def answer(self, problem: Problem) -> Any:
        found = super(_Hostile, self).answer(problem)
        if problem.network.loss != POISON:
            return found
        return replace(found, gradients={k: v.astype(object) for k, v in found.gradients.items()})


class WritesIntoTheProblem(_Hostile):
    """Doubles the weights it was lent: who is asked after it must not notice."""

    def answer(self, problem: Problem) -> Answer:
        if problem.network.loss == POISON:
            for value in problem.parameters.values():
                value *= 2
        return super(_Hostile, self).answer(problem)


class GivesTooFew(Manual):
    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        return super().answers(problems)[:-1]


class GivesAGenerator(Manual):
    def answers(self, problems: Sequence[Problem]) -> Any:
        return (self.answer(problem) for problem in problems)


class CannotTell(Manual):
    def unavailable(self) -> str | None:
        raise RuntimeError("injected")


class HangsWhenAsked(Manual):
    """Hangs before anything is asked of it: as a framework may that waits for its device."""

    def unavailable(self) -> str | None:
        time.sleep(3600)
        return None


class LeavesAChild(_Hostile):
    """Begins a process that would outlive it, and dies."""

    def misbehave(self) -> None:
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(9)


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
    """Prints to stdout and reads from stdin: neither may reach the protocol's pipes."""

    def misbehave(self) -> None:
        print("loss: 0.25", flush=True)
        os.write(1, b"\x00" * 100)
        assert sys.stdin.read() == ""
