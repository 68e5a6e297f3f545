"""How far a wrong gradient is from right, entry by entry: coordinates that the template draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.checked import Numbers

MAX_BARS = 24
MAX_ROWS, MAX_COLUMNS = 32, 48
CELL = 18
BAR, GAP, HEIGHT, TOP, LEFT = 9, 9, 120, 8, 50
LEVELS = (1e-9, 1e-4, 1e-2, 1e-1, 0.5, 1.0)
"""From which share of the gradient's largest entry on a square is one shade darker."""


@dataclass(frozen=True)
class ErrorSquare:
    """One entry of the map."""

    x: int
    y: int
    level: int
    title: str


@dataclass(frozen=True)
class Map:
    """A gradient as squares, darker where it is further from right."""

    squares: tuple[ErrorSquare, ...]
    width: int
    height: int
    cut: bool


@dataclass(frozen=True)
class BarPair:
    """One entry as two bars: yours and the right one."""

    x: float
    label: str
    yours: tuple[float, float]
    right: tuple[float, float]
    """The top and the height of each bar."""
    title: str
    finite: bool


@dataclass(frozen=True)
class Bars:
    """A small gradient as pairs of bars about a line of zero."""

    columns: tuple[BarPair, ...]
    zero: float
    width: float
    height: float
    top: str
    bottom: str


def bars(numbers: Numbers) -> Bars | None:
    """Return a gradient of few entries as bars, None where there are too many."""
    pairs = list(zip(numbers.yours, numbers.right, strict=True))
    if not pairs or len(pairs) > MAX_BARS:
        return None
    finite = [v for pair in pairs for v in pair if math.isfinite(v)]
    high, low = max([0.0, *finite]), min([0.0, *finite])
    span = (high - low) or 1.0

    def up(value: float) -> float:
        return TOP + HEIGHT * (high - value) / span

    columns = []
    for i, (yours, right) in enumerate(pairs):
        at = entry(i, numbers.shape)
        columns.append(
            BarPair(LEFT + i * (2 * BAR + GAP) + GAP / 2, at, _bar(yours, up), _bar(right, up),
                   _title(numbers.name, at, yours, right), math.isfinite(yours))
        )  # fmt: skip
    width = LEFT + len(pairs) * (2 * BAR + GAP) + GAP
    return Bars(tuple(columns), up(0.0), width, HEIGHT + TOP + 20, f"{high:.2g}", f"{low:.2g}")


def _bar(value: float, up: Callable[[float], float]) -> tuple[float, float]:
    if not math.isfinite(value):
        return (TOP, HEIGHT)
    top, bottom = sorted((up(value), up(0.0)))
    return round(top, 1), round(max(bottom - top, 0.8), 1)


def heat(numbers: Numbers) -> Map | None:
    """Return a gradient as squares, None for a single entry."""
    count = len(numbers.yours)
    if count < 2:
        return None
    columns = numbers.shape[-1] if numbers.shape and numbers.shape[-1] else 1
    rows = count // columns
    scale = max((abs(v) for v in numbers.right if math.isfinite(v)), default=0.0) or 1.0
    squares = []
    for i, (yours, right) in enumerate(zip(numbers.yours, numbers.right, strict=True)):
        row, column = divmod(i, columns)
        if row >= MAX_ROWS or column >= MAX_COLUMNS:
            continue
        off = abs(yours - right) / scale
        level = sum(off >= bound for bound in LEVELS) if math.isfinite(off) else len(LEVELS)
        title = _title(numbers.name, entry(i, numbers.shape), yours, right)
        squares.append(ErrorSquare(column * CELL, row * CELL, level, title))
    return Map(
        tuple(squares), min(columns, MAX_COLUMNS) * CELL, min(rows, MAX_ROWS) * CELL,
        rows > MAX_ROWS or columns > MAX_COLUMNS,
    )  # fmt: skip


def entry(i: int, shape: Sequence[int]) -> str:
    """Return the place of the i-th entry: "[1, 0]", "" of a number alone."""
    at: list[int] = []
    for size in reversed(shape):
        i, inner = divmod(i, size or 1)
        at.insert(0, inner)
    return f"[{', '.join(map(str, at))}]" if at else ""


def _title(name: str, at: str, yours: float, right: float) -> str:
    return f"{name}{at}: yours {yours:.6g}, right {right:.6g}"
