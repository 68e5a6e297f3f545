"""The smallest problem and the script of kinds with a way of their own: torch, jax, engines …"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from targetsources import ENGINE, JAX, TORCH

from reference.checks.judging import ProblemCase, ReadingSubject, Subject
from reference.checks.results import CheckRequest, PartFinished
from reference.checks.results.records import Part
from reference.checks.session import serve
from reference.checks.showing import spelling
from reference.checks.showing.smallest import smallest

PAIR = """
import torch


def fc_forward(x, w, b):
    out = x @ w + b
    return out, (x, w, b)


def fc_backward(dout, cache):
    x, w, b = cache
    return dout @ w.t(), x.t() @ dout, dout.sum(0)
"""

GENERAL = """
import numpy as np

shapes = {"x": "N D", "W": "D H"}


def forward(xp, step, x, W):
    h = step("h", xp.tanh(x @ W))
    return (h * h).sum()


def backward(inputs, steps):
    x, W, h = inputs["x"], inputs["W"], steps["h"]
    dh = 2 * h
    dz = dh * (1 - h**2)
    return {"h": dh, "W": x.T @ dz, "x": dz @ W.T}
"""

WRONG = {
    "torch function": (TORCH, "(1 - y * y)", "(1 - y)"),
    "functions on tensors": (PAIR, "x.t() @ dout", "2 * x.t() @ dout"),
    "jax function": (JAX, "(s + x * s * (1 - s))", "s"),
    "engine": (ENGINE, "other.grad += self.data * out.grad", "other.grad += out.grad"),
    "general form": (GENERAL, "dh = 2 * h", "dh = h"),
}


def part_of(folder: Path, source: str) -> Part:
    """Return the one wrong part of a source."""
    file = folder / "target.py"
    file.write_text(source)
    events: list[object] = []
    serve(CheckRequest(str(file), problems=3), events.append)
    (part,) = [e.part for e in events if isinstance(e, PartFinished) and e.part.verdict == "wrong"]
    return part


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_comes_with_a_small_problem_and_a_script(
    tmp_path: Path, name: str
) -> None:
    source, right, wrong = WRONG[name]
    assert right in source
    part = part_of(tmp_path, source.replace(right, wrong, 1))
    assert 0 < len(part.smallest) < 120 and " = " in part.smallest
    assert max(len(n.yours) for n in part.numbers) <= 4
    assert part.script and "np.float64(" not in part.script
    (tmp_path / "repro.py").write_text(part.script)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "repro.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("yours:") == len(part.numbers) == run.stdout.count("right:")


def test_only_numpy_code_is_stopped_by_a_timer() -> None:
    """An exception in the middle of a compilation leaves a framework in an unknown state."""

    class Timed(Subject):
        draws = (0,)

        def smaller(self, seed: int, index: int, wrong: object) -> Iterator[Subject]:
            yield self

        def small_case(self, seed: int, index: int) -> ProblemCase:
            timers.append(signal.getitimer(signal.ITIMER_PROF)[0])
            raise ValueError("it has no small version")

    class TimedReading(Timed, ReadingSubject):
        def __init__(self) -> None:
            self.name = "a reading"

    timers: list[float] = []
    assert smallest(Timed(), 0, 0, ()) is None and timers == [0.0]
    assert smallest(TimedReading(), 0, 0, ()) is None and timers[1] > 0


def test_a_script_that_shows_something_else_is_not_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spelling, "literal", lambda value: "1.5")  # other numbers than the check's
    source, right, wrong = WRONG["general form"]
    part = part_of(tmp_path, source.replace(right, wrong, 1))
    assert part.smallest and not part.script


def test_a_small_problem_in_which_something_else_is_wrong_is_not_taken(tmp_path: Path) -> None:
    source = GENERAL.replace("dh = 2 * h", "dh = 2 * h if len(x) > 2 else 3 * x @ W")
    file = tmp_path / "target.py"
    file.write_text(source)
    events: list[object] = []
    serve(CheckRequest(str(file), problems=3), events.append)
    parts = [e.part for e in events if isinstance(e, PartFinished)]
    assert all(p.verdict == "right" or p.smallest for p in parts)
