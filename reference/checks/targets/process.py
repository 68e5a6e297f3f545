"""Runs a target apart from us, and survives whatever it does."""

import select
import signal
import subprocess
import sys
import time
from typing import IO, Any, Protocol

import numpy.typing as npt

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray, InvalidInput
from reference.checks.targets import wire
from reference.checks.targets.host import Host

Arrays = dict[str, npt.NDArray[Any]]

SECONDS = 10.0
"""What a target may take for one problem of a few numbers."""

OPENING = 30.0
"""What it may take to load: a busy machine imports torch in ten."""


class Runner(Protocol):
    """What runs a target: facts (raised, printed, mutated, hung, died) and the arrays it gave."""

    parts: list[dict[str, Any]]

    def run(self, index: int, problem: Problem, cotangent: FloatArray) -> tuple[Any, Arrays]:
        """Run one recognised part on one problem."""

    def draw(self, index: int, seed: int, at: int) -> tuple[Any, Arrays]:
        """Draw the inputs of a general form."""

    def run_general(
        self, index: int, inputs: Arrays, seed: int, frameworks: list[str]
    ) -> tuple[Any, Arrays]:
        """Run a general form on given inputs."""

    def close(self) -> None:
        """Let go of the target."""


class InProcess:
    """Runs objects that are at hand already, here. It cannot survive a hang or a fault."""

    def __init__(self, names: dict[str, Any], like: str | None, what: str) -> None:
        self.host = Host(names, like, what)
        self.parts = [f.spell() for f in self.host.found]

    def run(self, index: int, problem: Problem, cotangent: FloatArray) -> tuple[Any, Arrays]:
        """Run one recognised part on a copy of one problem."""
        network, arrays = wire.spell_problem(problem)
        copied = wire.read_problem(network, {k: v.copy() for k, v in arrays.items()})
        return self.host.run(index, copied, cotangent.copy())

    def draw(self, index: int, seed: int, at: int) -> tuple[Any, Arrays]:
        """Draw the inputs of a general form."""
        return self.host.draw(index, seed, at)

    def run_general(
        self, index: int, inputs: Arrays, seed: int, frameworks: list[str]
    ) -> tuple[Any, Arrays]:
        """Run a general form on copies of given inputs."""
        copied = {k: v.copy() for k, v in inputs.items()}
        return self.host.run_general(index, copied, seed, frameworks)

    def close(self) -> None:
        """Nothing to let go of."""


class Apart:
    """Runs a file or a module in a process of its own, started anew after it died or hung."""

    def __init__(self, target: str, like: str | None, seconds: float = SECONDS) -> None:
        self.target, self.like, self.seconds = target, like, seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.parts: list[dict[str, Any]] = []
        self._start()

    def wait_open(self) -> None:
        """Wait until the target is loaded and recognised."""
        facts, _ = self._answer(OPENING)
        if "invalid" in facts:
            raise InvalidInput(facts["invalid"])
        if "found" not in facts:
            said = next((f"{k}: {facts[k]}" for k in ("raised", "exited", "hung", "died")
                         if k in facts), "nothing came back")  # fmt: skip
            raise InvalidInput(f"TARGET={self.target!r} could not be loaded; {said}")
        self.parts = facts["found"]

    def run(self, index: int, problem: Problem, cotangent: FloatArray) -> tuple[Any, Arrays]:
        """Run one recognised part on one problem."""
        network, arrays = wire.spell_problem(problem)
        message = {"do": "run", "index": index, "network": network}
        return self._ask(message, {**arrays, "cotangent": cotangent})

    def draw(self, index: int, seed: int, at: int) -> tuple[Any, Arrays]:
        """Draw the inputs of a general form."""
        return self._ask({"do": "draw", "index": index, "seed": seed, "at": at}, {})

    def run_general(
        self, index: int, inputs: Arrays, seed: int, frameworks: list[str]
    ) -> tuple[Any, Arrays]:
        """Run a general form on given inputs; the first time it may import the frameworks."""
        message = {"do": "run_general", "index": index, "seed": seed, "frameworks": frameworks}
        return self._ask(message, inputs, max(OPENING, self.seconds))

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()
            self.process = None

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reference.checks.targets.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._send({"do": "open", "target": self.target, "like": self.like}, {})

    def _ask(
        self, message: dict[str, Any], arrays: Arrays, seconds: float | None = None
    ) -> tuple[dict[str, Any], Arrays]:
        if self.process is None:
            self._start()
            facts, _ = self._answer(OPENING)
            if "found" not in facts:
                return facts, {}
        if not self._send(message, arrays):
            return self._dead(), {}
        return self._answer(seconds or self.seconds)

    def _send(self, message: dict[str, Any], arrays: Arrays) -> bool:
        try:
            wire.write(self._stream("stdin"), message, arrays)  # type: ignore[arg-type]
        except BrokenPipeError:
            return False
        return True

    def _stream(self, name: str) -> IO[bytes]:
        stream: IO[bytes] = getattr(self.process, name)
        return stream

    def _answer(self, seconds: float) -> tuple[dict[str, Any], Arrays]:
        began = time.monotonic()
        ready, _, _ = select.select([self._stream("stdout")], [], [], seconds)
        if not ready:
            self.close()
            return {"hung": f"no answer after {time.monotonic() - began:.0f} s"}, {}
        try:
            return wire.read(self._stream("stdout"))  # type: ignore[arg-type]
        except EOFError:
            return self._dead(), {}

    def _dead(self) -> dict[str, Any]:
        assert self.process is not None
        code = self.process.wait()
        self.close()
        if code < 0:
            return {"died": f"killed by {signal.Signals(-code).name}"}
        return {"died": f"its process ended with exit code {code}"}
