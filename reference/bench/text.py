"""The bench as Markdown and as a picture: ratios to the floor, where the fast step's time goes.

The picture shows for every width and batch who is ahead of the hand-written step.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reference.bench.measure import BATCHES, WIDTHS, BenchResult, Timing
from reports.html import render_fragment
from reports.records import grouped
from reports.text import markdown_table

NAMES = {
    "numpy_plain": "NumPy plain",
    "numpy_fast": "NumPy fast",
    "numpy_plain_stable": "plain, stable",
    "numpy_fast_stable": "fast, stable",
    "torch_eager": "torch eager",
    "torch_compile": "torch.compile",
    "jax_jit": "jax.jit",
    "sklearn_backprop": "scikit-learn",
    "hips_autograd": "HIPS autograd",
}
SHARES = {
    "products": "matrix products",
    "element-wise": "element-wise arithmetic",
    "calls": "overhead of the calls",
}

GOALS = {
    "4-8-3": {"float64": 3.2, "float32": 3.2},
    "64-64-64-10": {"float64": 2.2, "float32": 2.2},
    "784-256-128-10": {"float64": 1.10, "float32": 1.10},
    "1024-1024-1024-1024-10": {"float64": 1.10, "float32": 1.05},
}
"""How many times the floor the fast step, in the textbook's form, may take at most."""


def render(result: BenchResult) -> str:
    """Return every section of a bench as Markdown."""
    parts = []
    for section in dict.fromkeys(row.section for row in result.rows):
        rows = [row for row in result.rows if row.section == section]
        if section == "memory":
            parts.append(_memory(rows))
        elif section != "sweep":
            parts.append(f"**{section.capitalize()}**, {_threads(rows)}\n\n{ratios(rows)}")
    if any(row.shares for row in result.rows):
        parts.append(f"**Where the fast step's time goes**\n\n{shares(result.rows)}")
    notes = [f"{name}: skipped, {reason}" for name, reason in result.skipped.items()]
    return "\n\n".join([*parts, *notes, f"BLAS: {'; '.join(result.kernels)}"])


def ratios(rows: Sequence[Timing]) -> str:
    """Return times as multiples of the floor, one line a case."""
    names = [n for n in NAMES if any(row.implementation == n for row in rows)]
    body = []
    cases = grouped(rows, lambda row: (row.shape, str(row.batch), row.dtype, row.activation))
    for case, of_case in cases.items():
        found = {row.implementation: row for row in of_case}
        body.append([*case, _time(found["floor"].seconds), *(_ratio(found.get(n)) for n in names)])
    return _table(
        ["network", "batch", "dtype", "activation", "floor", *(NAMES[n] for n in names)], body
    )


def summary(result: BenchResult) -> str:
    """Return a short table: times over the floor, tanh / ReLU, one thread, and the goal."""
    names = ("numpy_fast", "numpy_fast_stable", "torch_eager", "jax_jit")
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in result.rows:
        if row.section == "training step" and row.implementation in names:
            of_case = found.setdefault((f"{row.shape}, batch {row.batch}", row.dtype), {})
            of_case.setdefault(row.implementation, []).append(_ratio(row))
    body = [
        [case, dtype]
        + [f"{GOALS[case.split(',')[0]][dtype]:.2f}"]
        + [" / ".join(of_case.get(name, [])) for name in names]
        for (case, dtype), of_case in found.items()
    ]
    return _table(["network", "dtype", "goal", *(NAMES[name] for name in names)], body)


def shares(rows: Iterable[Timing]) -> str:
    """Return where the fast step's time goes, one line a case."""
    shown = [row for row in rows if row.shares]
    kinds = list(shown[0].shares)
    body = [
        [row.shape, str(row.batch), row.dtype, row.activation]
        + [f"{row.shares[kind]:.0%}" for kind in kinds]
        for row in shown
    ]
    return _table(
        ["network", "batch", "dtype", "activation", *(SHARES[kind] for kind in kinds)], body
    )


def _memory(rows: Sequence[Timing]) -> str:
    body = [
        [NAMES[row.implementation], f"{(row.memory_bytes or 0) / 2**20:.1f} MiB"]
        for row in rows
        if row.implementation in NAMES
    ]
    first = rows[0]
    head = f"**Memory**, {first.shape}, batch {first.batch}, {first.dtype}"
    return (
        f"{head}: for NumPy, the most that one step allocates at once; for the others, how much "
        "the process has grown since the step was prepared; these two kinds of numbers cannot be "
        "compared exactly\n\n"
        f"{_table(['', 'memory'], body)}"
    )


def _threads(rows: Sequence[Timing]) -> str:
    return "one thread" if rows[0].threads == 1 else f"{rows[0].threads} threads"


def _ratio(row: Timing | None) -> str:
    return "" if row is None else f"{row.ratio_to_floor:.2f}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} µs"


def _table(head: list[str], body: list[list[str]]) -> str:
    return markdown_table(head, body, "l" + "r" * (len(head) - 1))


RIVALS = {"torch_eager": "PyTorch eager", "jax_jit": "jax.jit"}


class Square(NamedTuple):
    """One width and batch of a panel: in which column and row, and what is written there."""

    column: int
    row: int
    text: str
    fill: str
    ink: str


def picture(rows: Iterable[Timing], note: str) -> str:
    """Return an SVG: one panel a framework, its time over the fast step's in every cell."""
    seconds = {(r.implementation, int(r.shape.split("-")[0]), r.batch): r.seconds for r in rows}
    panels = {
        name: [
            _square(column, len(BATCHES) - 1 - row, other / mine)
            for row, batch in enumerate(BATCHES)
            for column, units in enumerate(WIDTHS)
            if (mine := seconds.get(("numpy_fast", units, batch)))
            and (other := seconds.get((rival, units, batch)))
        ]
        for rival, name in RIVALS.items()
    }
    drawn = render_fragment("sweep.svg", panels=panels, widths=WIDTHS, batches=BATCHES, note=note)
    return f"{drawn}\n"


def _square(column: int, row: int, ratio: float) -> Square:
    text = f"{ratio:.0f}" if ratio >= 9.5 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.1f}"
    ink = "#ffffff" if abs(math.log2(ratio)) > 2.2 else "#111111"
    return Square(column, row, text, _colour(ratio), ink)


def _colour(ratio: float) -> str:
    """Return white at 1, blue above and orange below, full at a factor of 16."""
    strength = min(1.0, abs(math.log2(ratio)) / 4)
    end = (0x1F, 0x5F, 0xA8) if ratio >= 1 else (0xD9, 0x6A, 0x0B)
    mixed = (round(255 + (channel - 255) * strength) for channel in end)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
