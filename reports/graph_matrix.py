"""The matrix of graphs: the layer that was aimed at, by architecture."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.matrix import MAX_AXIS, OUTSIDE, level, ordered, outside, share_text
from reports.records import Cell, Run
from reports.summary import heaviest, kind_of, label, merged


@dataclass(frozen=True)
class GraphSquare:
    """One square: who is outside, the percentage, and the problem with the largest difference."""

    text: str
    level: int
    kind: str
    label: str


@dataclass(frozen=True)
class GraphMatrix:
    """Rows of squares, one for each operation."""

    architectures: tuple[str, ...]
    rows: tuple[tuple[str, tuple[GraphSquare | None, ...]], ...]


def graph_matrix(run: Run, cells: Sequence[Cell]) -> GraphMatrix:
    """Arrange the cells of graphs."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.architecture != "dense":
            groups.setdefault((cell.activation, cell.architecture), []).append(cell)
    names = ordered(run.architectures, (a for _, a in groups))[:MAX_AXIS]
    operations = sorted({operation for operation, _ in groups})[:MAX_AXIS]
    return GraphMatrix(
        names,
        tuple((o, tuple(_square(o, a, groups.get((o, a), [])) for a in names)) for o in operations),
    )


def _square(operation: str, architecture: str, cells: list[Cell]) -> GraphSquare | None:
    total = merged(cells)
    if total is None:
        return None
    named, count = outside(total.verdicts, OUTSIDE)
    share = count / total.n if total.n else 0.0
    who = ", ".join(label(name) for name in named) or "nobody"
    return GraphSquare(
        text=share_text(share, named),
        level=level(share, named),
        kind=kind_of(heaviest(total.verdicts)).name,
        label=f"{operation}, {architecture}: {total.n:,} problems, outside: {who} in {count:,}; "
        f"largest difference {total.worst_scaled:.1e} at {total.worst_at}",
    )
