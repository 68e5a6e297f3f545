"""Coordinates of the charts: error against input, and histograms; the templates draw them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reports.records import Accuracy, Cell, grouped
from reports.summary import by_dtype, sides

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 190, 44, 10, 14, 26
BINS = 72  # the worst error of each bin is drawn, so a peak is never lost
Axis = Callable[[float], float]
LOWEST_ULP, HIGHEST_ULP = 0.1, 1e18


@dataclass(frozen=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    text: str


@dataclass(frozen=True)
class ChartLine:
    """One implementation's errors as an SVG path."""

    name: str
    path: str


@dataclass(frozen=True)
class Chart:
    """Error against input for one operation, quantity and dtype."""

    operation: str
    kind: str
    quantity: str
    dtype: str
    lines: tuple[ChartLine, ...]
    function: str  # f itself, on its own scale, as an SVG path
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str


@dataclass(frozen=True)
class Bar:
    """One decade of a histogram."""

    text: str
    count: int
    x: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """Problems by the decade of their worst scaled error."""

    dtype: str
    bars: tuple[Bar, ...]
    width: int


def charts(rows: Iterable[Accuracy]) -> list[Chart]:
    """Return a chart for each operation, quantity and dtype that has curve points."""
    curves = (row for row in rows if len(row.inputs) > 1 and len(row.inputs) == len(row.errors))
    groups = grouped(curves, lambda row: (row.operation, row.kind, row.quantity, row.dtype))
    return [_chart(key, group) for key, group in groups.items()]


def _chart(key: tuple[str, str, str, str], rows: Sequence[Accuracy]) -> Chart:
    operation, kind, quantity, dtype = key
    finite = [x for row in rows for x in row.inputs if math.isfinite(x)] or [0.0]
    squeeze = _symlog if max(map(abs, finite)) > 50 else _identity
    low, high = squeeze(min(finite)), squeeze(max(finite))
    span = (high - low) or 1.0
    inner = WIDTH - LEFT - RIGHT

    def across(x: float) -> float:
        return LEFT + inner * (squeeze(x) - low) / span

    worst = max((_clamp(e) for row in rows for e in row.errors), default=1.0)
    top = max(1.0, math.ceil(math.log10(worst)))
    bottom = math.log10(LOWEST_ULP)

    def up(error: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - math.log10(_clamp(error))) / (top - bottom)

    order = sides({row.implementation: None for row in rows})
    by_name = {row.implementation: row for row in rows}
    lines = tuple(
        ChartLine(name, _path(_peaks(by_name[name].inputs, by_name[name].errors, across), up))
        for name in order
    )
    step = max(1, math.ceil((top - bottom) / 5))
    powers = range(int(bottom), int(top) + 1, step)
    worst_named = ", ".join(
        f"{name} {max(map(_clamp, by_name[name].errors)):.3g}" for name in order
    )
    return Chart(
        operation=operation,
        kind=kind,
        quantity=quantity,
        dtype=dtype,
        lines=lines,
        function=_function(rows, across),
        x_ticks=_x_ticks(min(finite), max(finite), squeeze, across),
        y_ticks=tuple(Tick(round(up(10.0**p), 1), _power(p)) for p in powers),
        description=f"Largest error in ULP over the inputs drawn: {worst_named}",
    )


def _peaks(
    inputs: Sequence[float], errors: Sequence[float], across: Axis
) -> list[tuple[float, float]]:
    """Keep the worst error of each horizontal bin."""
    best: dict[int, tuple[float, float]] = {}
    inner = WIDTH - LEFT - RIGHT
    for x, error in zip(inputs, errors, strict=True):
        if not math.isfinite(x):
            continue
        at = across(x)
        place = int((at - LEFT) / inner * BINS)
        if place not in best or _clamp(error) > _clamp(best[place][1]):
            best[place] = (at, error)
    return [best[place] for place in sorted(best)]


def _path(points: Iterable[tuple[float, float]], up: Axis) -> str:
    drawn = [f"{x:.0f} {up(error):.0f}" for x, error in points]
    return "M" + "L".join(drawn) if drawn else ""


def _function(rows: Sequence[Accuracy], across: Axis) -> str:
    """Return f over the same inputs, stretched to the chart's height."""
    row = next((row for row in rows if row.curve and len(row.curve) == len(row.inputs)), None)
    if row is None:
        return ""
    every = max(1, len(row.inputs) // (2 * BINS))
    points = [
        (across(x), y)
        for x, y in list(zip(row.inputs, row.curve, strict=True))[::every]
        if math.isfinite(x) and math.isfinite(y)
    ]
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    # Halves, since high - low can overflow where f runs through the whole range.
    span = (high / 2 - low / 2) or 1.0
    inner = HEIGHT - TOP - BOTTOM
    drawn = [
        f"{x:.0f} {HEIGHT - BOTTOM - inner * ((y / 2 - low / 2) / span):.0f}" for x, y in points
    ]
    return "M" + "L".join(drawn)


def _x_ticks(low: float, high: float, squeeze: Axis, across: Axis) -> tuple[Tick, ...]:
    if squeeze is _identity and high - low < 1e-290:
        return ()  # less than steps of the axis can resolve
    if squeeze is _identity:
        return tuple(
            Tick(round(across(v), 1), f"{round(v, 10):g}".replace("-", "−"))
            for v in steps_between(low, high, 7)
        )
    values = [v for v in (-1e300, -1e100, -1e10, 0.0, 1e10, 1e100, 1e300) if low <= v <= high]
    if high < 1e100:
        values = [v for v in (-1e20, -1e4, -10.0, 0.0, 10.0, 1e4, 1e20) if low <= v <= high]
    return tuple(Tick(round(across(v), 1), _value(v)) for v in values)


def steps_between(low: float, high: float, most: int) -> list[float]:
    """Return the multiples of a round step from low to high, about as many as may be."""
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    step *= next((m for m in (0.2, 0.5, 1.0, 2.0) if (high - low) / (step * m) <= most), 5.0)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def histograms(cells: Iterable[Cell]) -> list[Histogram]:
    """Return one histogram for each dtype, from 1e-20 to 1."""
    totals = by_dtype(cells)
    return [_histogram(d, total.histogram) for d, total in totals.items() if total.histogram]


def _histogram(dtype: str, counts: dict[str, int]) -> Histogram:
    # Only as we spell them: "--5", "007" and the digits of other scripts are no decades of ours.
    decades = [d for d in range(-999, 1000) if str(d) in counts]
    low, high = max(-20, min(decades, default=0)), min(2, max(decades, default=0))
    keys: list[tuple[str, str]] = [("zero", "0")] if counts.get("zero") else []
    keys += [(str(d), _power(d)) for d in range(low, high + 1)] if decades else []
    keys += [("nonfinite", "NaN")] if counts.get("nonfinite") else []
    totals = {key: counts.get(key, 0) for key, _ in keys}
    for d in decades:  # what lies beyond the ends is counted at the ends
        if not low <= d <= high:
            totals[str(min(max(d, low), high))] += counts[str(d)]
    largest = max(totals.values(), default=1) or 1
    # Bars grow with the logarithm: one odd problem in a million must be seen.
    bars = tuple(
        Bar(
            text,
            totals[key],
            30.0 * i,
            round(84 * math.log1p(totals[key]) / math.log1p(largest), 1)
            if totals[key] > 0
            else 0.0,
        )
        for i, (key, text) in enumerate(keys)
    )
    return Histogram(dtype, bars, 30 * len(bars))


def _clamp(error: float) -> float:
    return min(max(error, LOWEST_ULP), HIGHEST_ULP) if math.isfinite(error) else HIGHEST_ULP


def _identity(x: float) -> float:
    return x


def _symlog(x: float) -> float:
    return math.copysign(math.log10(1 + abs(x)), x)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(exponent: int) -> str:
    return "1" if exponent == 0 else f"10{str(exponent).translate(_RAISED)}"


def _value(x: float) -> str:
    if x == 0:
        return "0"
    sign = "−" if x < 0 else ""
    return sign + (f"{abs(x):g}" if abs(x) < 100 else _power(round(math.log10(abs(x)))))
