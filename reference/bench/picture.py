"""The sweep as a picture: for every width and batch, who is ahead of the hand-written step."""

import math
from collections.abc import Iterable
from xml.sax.saxutils import escape

from reference.bench.measure import Timing
from reference.bench.steps import BATCHES, WIDTHS

CELL, LEFT, TOP, GAP = 46, 64, 58, 70
RIVALS = {"torch_eager": "PyTorch eager", "jax_jit": "jax.jit"}


def picture(rows: Iterable[Timing], note: str) -> str:
    """Return an SVG: one panel a framework, its time over the fast step's in every cell."""
    seconds = {(r.implementation, int(r.shape.split("-")[0]), r.batch): r.seconds for r in rows}
    panel = TOP + CELL * len(BATCHES) + GAP
    width, height = LEFT + CELL * len(WIDTHS) + 20, panel * len(RIVALS) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" text-anchor="middle">',
        f"<title>{escape(note)}</title>",
        "<desc>Drawn by manual-backprop bench.</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (rival, name) in enumerate(RIVALS.items()):
        top = number * panel + TOP
        parts.append(
            f'<text x="{LEFT}" y="{top - 32}" text-anchor="start" font-size="15" '
            f'font-weight="600">Time of {name} / time of the NumPy fast step</text>'
        )
        parts.append(
            f'<text x="{LEFT}" y="{top - 14}" text-anchor="start" fill="#555555">'
            f"blue: the hand-written step is ahead; orange: {name} is</text>"
        )
        for i, batch in enumerate(BATCHES):
            y = top + CELL * (len(BATCHES) - 1 - i)
            parts.append(
                f'<text x="{LEFT - 8}" y="{y + CELL / 2 + 4}" text-anchor="end">{batch}</text>'
            )
            for j, units in enumerate(WIDTHS):
                mine = seconds.get(("numpy_fast", units, batch))
                other = seconds.get((rival, units, batch))
                if mine and other:
                    parts.append(_cell(LEFT + CELL * j, y, other / mine))
        bottom = top + CELL * len(BATCHES)
        for j, units in enumerate(WIDTHS):
            x = LEFT + CELL * j + CELL / 2
            parts.append(f'<text x="{x}" y="{bottom + 17}">{units}</text>')
        middle = LEFT + CELL * len(WIDTHS) / 2
        parts.append(f'<text x="{middle}" y="{bottom + 36}">width w of a w-w-w-10 network</text>')
        half = top + CELL * len(BATCHES) / 2
        parts.append(f'<text x="14" y="{half}" transform="rotate(-90 14 {half})">batch</text>')
    return "\n".join([*parts, "</svg>", ""])


def _cell(x: float, y: float, ratio: float) -> str:
    colour = _colour(ratio)
    text = f"{ratio:.0f}" if ratio >= 9.5 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.1f}"
    ink = "#ffffff" if abs(math.log2(ratio)) > 2.2 else "#111111"
    return (
        f'<rect x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}" rx="3" fill="{colour}"/>'
        f'<text x="{x + CELL / 2 - 1}" y="{y + CELL / 2 + 3}" fill="{ink}">{text}</text>'
    )


def _colour(ratio: float) -> str:
    """Return white at 1, blue above and orange below, full at a factor of 16."""
    strength = min(1.0, abs(math.log2(ratio)) / 4)
    end = (0x1F, 0x5F, 0xA8) if ratio >= 1 else (0xD9, 0x6A, 0x0B)
    mixed = (round(255 + (channel - 255) * strength) for channel in end)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
