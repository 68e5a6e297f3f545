"""The matrix activation × loss: its cells for the page, and the data of its switches."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from msgspec import structs

from reports.records import Cell, Run, grouped
from reports.summary import heaviest, kind_of, label, merged, sides, who

LEVELS = (0.0, 0.02, 0.1, 0.5)
"""Bounds of the colours: the share of problems in which a side is outside."""
BY_HAND = 6
"""The colour where the hand-written side is."""

OUTSIDE = ("DEVIATES", "VALUE", "CRASHED")
INITIALS = {
    "manual": "H", "torch": "P", "jax": "J", "complex_step": "C",
    "torch_reverse": "P", "torch_forward": "p", "torch_nested": "n", "jax_forward": "j",
    "jax_reverse": "J",
}  # fmt: skip
"""Who is outside, in a square: by hand, PyTorch, JAX; small where derived forward, n twice."""

MAX_AXIS = 64
LARGEST_DATA = 800_000


@dataclass(frozen=True)
class MatrixSquare:
    """One square of a matrix: who is outside, the percentage, and the most serious verdict."""

    text: str
    level: int
    kind: str
    mark: str
    label: str


@dataclass(frozen=True)
class GraphMatrix:
    """Rows of squares, one for each layer that was aimed at; a column for each architecture."""

    architectures: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixSquare | None, ...]], ...]


@dataclass(frozen=True)
class Matrix:
    """The squares by row, the choices of the switches and the data behind them."""

    activations: tuple[str, ...]
    losses: tuple[str, ...]
    dtypes: tuple[str, ...]
    regimes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[MatrixSquare | None, ...]], ...]
    data: Markup
    never: int
    sides: tuple[str, ...]
    legend: str


def matrix(run: Run, cells: Sequence[Cell]) -> Matrix:
    """Arrange the cells of dense chains in the run's own order of activations and losses."""
    cells = [cell for cell in cells if cell.architecture == "dense"]
    named = run.activations, run.losses, run.dtypes, run.regimes
    axes = [
        ordered(names, (_place(cell)[k] for cell in cells))[:MAX_AXIS]
        for k, names in enumerate(named)
    ]
    activations, losses, dtypes, regimes = axes
    known = [set(names) for names in axes]
    cells = [cell for cell in cells if all(map(set.__contains__, known, _place(cell)))]
    # Two digits, as the page's data has them: its script must find the same worst problem.
    cells = [
        structs.replace(cell, worst_scaled=float(f"{cell.worst_scaled:.1e}")) for cell in cells
    ]
    groups = grouped(cells, lambda cell: (cell.activation, cell.loss))
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
        data=Markup(_small_data(cells, axes)),
        never=sum(square is None for _, squares in rows for square in squares),
        sides=tuple(_met(v for cell in cells for v in cell.verdicts)),
        legend=legend(run),
    )


def graph_matrix(run: Run, cells: Sequence[Cell]) -> GraphMatrix:
    """Arrange the cells of graphs."""
    cells = [cell for cell in cells if cell.architecture != "dense"]
    groups = grouped(cells, lambda cell: (cell.activation, cell.architecture))
    names = ordered(run.architectures, (a for _, a in groups))[:MAX_AXIS]
    operations = sorted({operation for operation, _ in groups})[:MAX_AXIS]
    rows = (
        (o, tuple(_square(o, a, groups.get((o, a), []), largest=True) for a in names))
        for o in operations
    )
    return GraphMatrix(names, tuple(rows))


def legend(run: Run) -> str:
    """Return what the letters in the squares stand for, of the sides of a run."""
    names = [oracle.name for oracle in run.oracles if oracle.name in INITIALS]
    spelled = {name: "by hand" if name == "manual" else label(name) for name in names}
    return "; ".join(f"{INITIALS[name]} {spelled[name]}" for name in names)


def outside(verdicts: Mapping[str, int], kinds: Sequence[str]) -> tuple[list[str], int]:
    """Return the sides that verdicts of some kinds name, and in how many problems any is named."""
    met = [(who(v), n) for v, n in verdicts.items() if n and kind_of(v).name in kinds]
    return sides({name: None for names, _ in met for name in names}), sum(n for _, n in met)


def level(share: float, named: Sequence[str]) -> int:
    """Return the colour: 0 where nobody is named, 1 to 4 by the share, 6 where ours is named."""
    if not named:
        return 0
    return BY_HAND if "manual" in named else sum(share > bound for bound in LEVELS)


def share_text(share: float, named: Sequence[str]) -> str:
    """Return the text of a square: who is outside, by the first letter, and the percentage."""
    if not named:
        return ""
    percent = math.floor(100 * share + 0.5)
    return f"{''.join(INITIALS.get(name, '+') for name in named)} {percent or '<1'}"


def _place(cell: Cell) -> tuple[str, str, str, str]:
    return cell.activation, cell.loss, cell.dtype, cell.regime


def _square(row: str, column: str, cells: list[Cell], largest: bool = False) -> MatrixSquare | None:
    """Return a square; its label also has its text, or where the largest difference is."""
    total = merged(cells)
    if total is None:
        return None
    kind = kind_of(heaviest(total.verdicts))
    named, count = outside(total.verdicts, OUTSIDE)
    share = count / total.n if total.n else 0.0
    who_ = ", ".join(label(name) for name in named) or "nobody"
    text = share_text(share, named)
    words = f"{row}, {column}: {total.n:,} problems, outside: {who_} in {count:,}"
    if largest:
        words += f"; largest difference {total.worst_scaled:.1e} at {total.worst_at}"
    elif text:
        words += f", shown as {text}"
    return MatrixSquare(
        text, level(share, named), kind.name, kind.mark if kind.manual else "", words
    )


def _small_data(cells: Sequence[Cell], axes: Sequence[tuple[str, ...]]) -> str:
    """Return the data of the cells, at most as many as fit into the page; our runs have fewer."""
    while len(data := _data(cells, axes)) > LARGEST_DATA and cells:
        cells = cells[: len(cells) // 2]
    return data


def _data(cells: Sequence[Cell], axes: Sequence[tuple[str, ...]]) -> str:
    """Return the cells as compact JSON that cannot end its script element."""
    activations, losses, dtypes, regimes = axes
    places = [{name: i for i, name in enumerate(names)} for names in axes]
    verdicts = list(dict.fromkeys(v for cell in cells for v in cell.verdicts))
    number = {verdict: i for i, verdict in enumerate(verdicts)}
    tensors = list(
        dict.fromkeys(t for cell in cells for t in (cell.worst_tensor, cell.worst_between))
    )
    tensor = {name: i for i, name in enumerate(tensors)}
    rows = [
        [
            *(known[name] for known, name in zip(places, _place(cell), strict=True)),
            cell.n,
            cell.worst_scaled if math.isfinite(cell.worst_scaled) else None,
            cell.worst_at,
            [part for v, n in cell.verdicts.items() if n for part in (number[v], n)],
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
        "levels": LEVELS,
        "sides": [[name, INITIALS.get(name, "+"), label(name)] for name in _met(verdicts)],
        "verdicts": [
            [v, kind_of(v).mark, kind_of(v).weight, kind_of(v).name, list(who(v))] for v in verdicts
        ],
        "names": tensors,
        "cells": rows,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029\u202a\u202b\u202c\u202d\u202e":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _met(verdicts: Iterable[str]) -> list[str]:
    """Return the sides that any verdict names."""
    return sides({name: None for verdict in verdicts for name in who(verdict)})


def ordered(first: Iterable[str], met: Iterable[str]) -> tuple[str, ...]:
    """Return the names that occur, in the given order, then the others."""
    seen = dict.fromkeys(met)
    known = [name for name in dict.fromkeys(first) if name in seen]
    return (*known, *sorted(seen.keys() - set(known)))
