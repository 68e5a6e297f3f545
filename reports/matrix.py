"""The matrix activation × loss: its cells for the page, and the data of its switches."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal

from markupsafe import Markup
from msgspec import structs

from reports.records import Cell, Run
from reports.summary import UNIT_ROUNDOFF, heaviest, kind_of, merged

LEVELS = (1.0, 10.0, 100.0, 1e3, 1e6)
"""Bounds of the colours, in units of rounding (scaled error over unit roundoff)."""

_ONE_DIGIT = Context(prec=1, rounding=ROUND_HALF_UP)
LONGEST_AXIS = 64
LARGEST_DATA = 800_000


@dataclass(frozen=True)
class Square:
    """One square of the matrix."""

    activation: str
    loss: str
    n: int
    text: str
    level: int
    verdict: str
    mark: str
    label: str


@dataclass(frozen=True)
class Matrix:
    """The squares by row, the choices of the switches and the data behind them."""

    activations: tuple[str, ...]
    losses: tuple[str, ...]
    dtypes: tuple[str, ...]
    regimes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Square | None, ...]], ...]
    data: Markup
    never: int


def matrix(run: Run, cells: Sequence[Cell]) -> Matrix:
    """Arrange the cells in the run's own order of activations and losses."""
    activations = _ordered(run.activations, (cell.activation for cell in cells))
    losses = _ordered(run.losses, (cell.loss for cell in cells))
    dtypes = _ordered(run.dtypes, (cell.dtype for cell in cells))
    regimes = _ordered(run.regimes, (cell.regime for cell in cells))
    activations, losses = activations[:LONGEST_AXIS], losses[:LONGEST_AXIS]
    dtypes, regimes = dtypes[:LONGEST_AXIS], regimes[:LONGEST_AXIS]
    known = [set(names) for names in (activations, losses, dtypes, regimes)]
    cells = [cell for cell in cells if all(map(set.__contains__, known, _place(cell)))]
    # Two digits, as the page's data has them: its script must find the same worst problem.
    cells = [
        structs.replace(cell, worst_scaled=float(f"{cell.worst_scaled:.1e}")) for cell in cells
    ]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.activation, cell.loss), []).append(cell)
    rows = tuple(
        (a, tuple(_square(a, loss, groups.get((a, loss), [])) for loss in losses))
        for a in activations
    )
    return Matrix(
        activations=activations,
        losses=losses,
        dtypes=dtypes,
        regimes=regimes,
        rows=rows,
        data=Markup(_small_data(cells, activations, losses, dtypes, regimes)),
        never=sum(square is None for _, squares in rows for square in squares),
    )


def short_error(scaled: float) -> str:
    """Return a scaled error that fits a square: "3e-16"."""
    if not math.isfinite(scaled):
        return "NaN"
    if scaled == 0:
        return "0"
    # Half up, as the page's script rounds.
    digit, _, power = f"{_ONE_DIGIT.create_decimal(Decimal(scaled)):.0e}".partition("e")
    return f"{digit}e{int(power)}" if int(power) else digit


def level(units: float) -> int:
    """Return the colour of an error in units of rounding: 0 (none) to 6 (non-finite)."""
    if not math.isfinite(units):
        return len(LEVELS) + 1
    return sum(units >= bound for bound in LEVELS)


def units(cell: Cell) -> float:
    """Return the worst scaled error in units of rounding of the cell's dtype."""
    return cell.worst_scaled / UNIT_ROUNDOFF.get(cell.dtype, 2.0**-53)


def _place(cell: Cell) -> tuple[str, str, str, str]:
    return cell.activation, cell.loss, cell.dtype, cell.regime


def _square(activation: str, loss: str, cells: list[Cell]) -> Square | None:
    total = merged(cells)
    if total is None:
        return None
    # Across dtypes the worst is the one with most units of rounding, not the largest number.
    worst = max(cells, key=lambda cell: _key(units(cell)))
    verdict = heaviest(total.verdicts)
    text, said = short_error(worst.worst_scaled), verdict or "no verdict"
    return Square(
        activation=activation,
        loss=loss,
        n=total.n,
        text=text,
        level=level(units(worst)),
        verdict=verdict,
        mark="" if verdict == "AGREE" or not verdict else kind_of(verdict).mark,
        label=f"{activation}, {loss}: {total.n:,} problems, worst {text}, {said}",
    )


def _key(units: float) -> float:
    return math.inf if math.isnan(units) else units


def _small_data(cells: Sequence[Cell], *names: tuple[str, ...]) -> str:
    """Return the data of as many cells as the page has room for: all, in any run of ours."""
    while len(data := _data(cells, *names)) > LARGEST_DATA and cells:
        cells = cells[: len(cells) // 2]
    return data


def _data(cells: Sequence[Cell], *names: tuple[str, ...]) -> str:
    """Return the cells as compact JSON that cannot end its script element."""
    activations, losses, dtypes, regimes = names
    places = [{name: i for i, name in enumerate(group)} for group in names]
    verdicts = list(dict.fromkeys(v for cell in cells for v in cell.verdicts))
    known = {verdict: i for i, verdict in enumerate(verdicts)}
    tensors = list(
        dict.fromkeys(t for cell in cells for t in (cell.worst_tensor, cell.worst_between))
    )
    tensor = {name: i for i, name in enumerate(tensors)}
    rows = [
        [
            places[0][cell.activation],
            places[1][cell.loss],
            places[2][cell.dtype],
            places[3][cell.regime],
            cell.n,
            cell.worst_scaled if math.isfinite(cell.worst_scaled) else None,
            cell.worst_at,
            [part for v, n in cell.verdicts.items() if n for part in (known[v], n)],
            tensor[cell.worst_tensor],
            tensor[cell.worst_between],
        ]
        for cell in cells
    ]
    document = {
        "activations": activations,
        "losses": losses,
        "dtypes": dtypes,
        "regimes": regimes,
        "units": [UNIT_ROUNDOFF.get(dtype, 2.0**-53) for dtype in dtypes],
        "levels": LEVELS,
        "verdicts": [
            [v, kind_of(v).mark, kind_of(v).weight, kind_of(v).name.lower()] for v in verdicts
        ],
        "names": tensors,
        "cells": rows,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029\u202a\u202b\u202c\u202d\u202e":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _ordered(first: Iterable[str], met: Iterable[str]) -> tuple[str, ...]:
    """Return the names met, in the given order, then those that it lacks."""
    seen = dict.fromkeys(met)
    known = [name for name in dict.fromkeys(first) if name in seen]
    return (*known, *sorted(seen.keys() - set(known)))
