"""Times `manual-backprop check` as a person meets it: fresh processes on a file of forty lines."""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

RUNS = 5

SOURCE = '''"""A layer, an activation and a loss, with their gradients."""
import numpy as np


def affine_forward(x, w, b):
    out = x @ w + b
    cache = (x, w)
    return out, cache


def affine_backward(dout, cache):
    x, w = cache
    dx = dout @ w.T
    dw = x.T @ dout
    db = dout.sum(axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def softmax_loss(scores, y):
    shifted = scores - scores.max(axis=1, keepdims=True)
    probs = np.exp(shifted)
    probs /= probs.sum(axis=1, keepdims=True)
    n = scores.shape[0]
    loss = -np.log(probs[np.arange(n), y]).mean()
    dscores = probs.copy()
    dscores[np.arange(n), y] -= 1
    dscores /= n
    return loss, dscores
'''
"""Forty lines with what a first course asks for; all of it is right."""

MISTAKE = ("dw = x.T @ dout", "dw = x.T @ dout / len(x)")


KERNEL = """import torch

shapes = {"x": "N D"}


def reference(x):
    return x * torch.sigmoid(x)


class Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return reference(x)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return dy * s * (1 + x * (1 - s))
"""
"""A torch function that is right, asked in every way and dtype."""


class CheckTiming(msgspec.Struct, frozen=True):
    """One file, checked in several fresh processes: medians, and the largest memory."""

    file: Literal["right", "wrong", "kernel"]
    runs: int
    first_seconds: float
    """Until the first line of the answer."""
    seconds: float
    """Until the command ends."""
    cpu_seconds: float
    """Processor time of the command and its worker, user and system."""
    memory_megabytes: float
    """Of the larger of the two processes."""
    torch_seconds: float = 0.0
    """Processor time of a process that only imports torch, where the file does."""


KERNEL_SECONDS = 6.0
"""What is promised of the first line about a torch function, torch's import among it."""

TARGETS = {"first_seconds": 1.5, "seconds": 3.0, "memory_megabytes": 300.0}
"""What is promised on two quiet cores."""


def check_timings(progress: Callable[[str], None]) -> list[CheckTiming]:
    """Return what a check of the right file takes, and of the same with a mistake."""
    found: list[CheckTiming] = []
    cases: tuple[tuple[Literal["right", "wrong", "kernel"], str], ...] = (
        ("right", SOURCE),
        ("wrong", SOURCE.replace(*MISTAKE)),
        ("kernel", KERNEL),
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, source in cases:
            file = Path(folder) / f"{name}.py"
            file.write_text(source, encoding="utf-8")
            _once(file)  # compiled modules and the disk's cache are there, as on any second day
            rows = []
            for number in range(RUNS):
                progress(f"check of a {name} file, run {number + 1} of {RUNS}")
                rows.append(_once(file))
            first, whole, cpu = (statistics.median(r[i] for r in rows) for i in range(3))
            memory = max(r[3] for r in rows)
            torch = _importing_torch() if name == "kernel" else 0.0
            found.append(CheckTiming(name, RUNS, first, whole, cpu, memory, torch))
    return found


def _importing_torch() -> float:
    """Return the processor time of a process that imports torch and ends."""
    spent = []
    for _ in range(RUNS):
        before = _children()[0]
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        spent.append(_children()[0] - before)
    return statistics.median(spent)


def _once(file: Path) -> tuple[float, float, float, float]:
    """Return the seconds to the first line and to the end, processor time, and megabytes."""
    command = [sys.executable, "-m", "reference", "check", str(file)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    before = _children()
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - began
        process.stdout.read()
        process.wait()
    whole = time.perf_counter() - began
    cpu, memory = _children()
    return first, whole, cpu - before[0], memory


def _children() -> tuple[float, float]:
    """Return the processor time of all processes that have ended, and the largest one's memory."""
    if sys.platform == "win32":
        return 0.0, 0.0
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1e6 if platform.system() == "Darwin" else 1e3
    return used.ru_utime + used.ru_stime, used.ru_maxrss / unit


def render(rows: Sequence[CheckTiming]) -> str:
    """Return the timings beside what is promised, as text."""
    lines = [
        f"manual-backprop check, a file of {len(SOURCE.splitlines())} lines, "
        f"{rows[0].runs} fresh processes each",
        f"  {'':10}{'first line':>12}{'whole':>10}{'processor':>12}{'memory':>10}",
    ]
    for row in rows:
        lines.append(
            f"  {row.file:10}{row.first_seconds:>10.2f} s{row.seconds:>8.2f} s"
            f"{row.cpu_seconds:>10.2f} s{row.memory_megabytes:>7.0f} MB"
        )
    first, whole, memory = TARGETS.values()
    lines.append(f"  {'promised':10}{first:>10.2f} s{whole:>8.2f} s{'':>12}{memory:>7.0f} MB")
    lines += [
        f"  kernel: promised {KERNEL_SECONDS:.2f} s to the first line; of its processor time "
        f"{row.torch_seconds:.2f} s are torch's import"
        for row in rows
        if row.file == "kernel"
    ]
    load = f"; load average now {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    lines.append(f"  medians; promised on two quiet cores, here {os.cpu_count()}{load}")
    return "\n".join(lines)
