"""The sweep as a picture: for every width and batch, who is ahead of the hand-written step."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from reference.bench.measure import Timing
from reference.bench.steps import BATCHES, WIDTHS
from reports.html import render_fragment

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
