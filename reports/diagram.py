"""The geometry of the pictures of networks and graphs, with the first wrong step.

A network: units in columns, weights between. A graph: steps in columns by depth, an arrow for each
use of one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reports.records import Case, GraphShape, NetworkShape

UNITS_DRAWN = 6
COLUMNS_DRAWN = 9
_STEP_X, _LEFT, _TOP, _HEIGHT, _UNIT_Y = 118, 46, 46, 132, 22


@dataclass(frozen=True)
class DiagramColumn:
    """The input, a layer, the loss, or the gap that stands for layers not drawn."""

    x: int
    ys: tuple[int, ...]
    head: str
    foot: str
    note: str = ""
    more: bool = False  # it has more units than are drawn
    wrong: bool = False


@dataclass(frozen=True)
class Bundle:
    """The weights between two columns, as one SVG path."""

    path: str
    wrong: bool
    label_x: int


@dataclass(frozen=True)
class Diagram:
    """All that the template draws."""

    columns: tuple[DiagramColumn, ...]
    bundles: tuple[Bundle, ...]
    width: int
    height: int
    top: int
    bottom: int
    wrong: str
    description: str


def diagram(case: Case) -> Diagram:
    """Lay a case's network out from left to right."""
    network = case.network
    assert network is not None
    layer, part = _parse(case.first_diverging_step)
    shown = _shown(len(network.layers))
    columns = [_column(0, network.input_width, "x", str(network.input_width), wrong=part == "x")]
    bundles = []
    for index in shown:
        if index is None:
            columns.append(_column(len(columns), 0, "…", f"{len(network.layers):,} layers"))
            continue
        shape = network.layers[index]
        parameters = ", ".join(f"{k} {v:g}" for k, v in shape.parameters.items())
        here = layer == index
        columns.append(
            _column(
                len(columns),
                shape.width,
                f"layers.{index}",
                _short(f"{shape.width} {shape.activation}"),
                note=_short(parameters or ("" if shape.bias else "no bias")),
                wrong=here and part in ("z", "a"),
            )
        )
        bundles.append(_bundle(columns[-2], columns[-1], here and part in ("weight", "bias")))
    columns.append(
        _column(
            len(columns), 1, "loss", _short(network.loss), note=network.reduction[:20],
            wrong=part == "loss",
        )
    )  # fmt: skip
    bundles.append(_bundle(columns[-2], columns[-1], False))
    return Diagram(
        columns=tuple(columns),
        bundles=tuple(bundles),
        width=2 * _LEFT + _STEP_X * (len(columns) - 1),
        height=_TOP + _HEIGHT + 46,
        top=_TOP,
        bottom=_TOP + _HEIGHT,
        wrong=case.first_diverging_step or "",
        description=describe(network, case.batch),
    )


def describe(network: NetworkShape, batch: int) -> str:
    """Say a network in a line: "4-8-3, tanh, softmax, cross_entropy (mean), batch 4"."""
    widths = _listed("-", [network.input_width, *(layer.width for layer in network.layers)])
    activations = _listed(", ", [layer.activation for layer in network.layers])
    return f"{widths}, {activations}, {network.loss} ({network.reduction}), batch {batch:,}"


def _listed(separator: str, parts: Sequence[object]) -> str:
    drawn = parts if len(parts) <= 12 else [*parts[:6], "…", *parts[-5:]]
    return separator.join(map(str, drawn))


def _shown(layers: int) -> list[int | None]:
    if layers <= COLUMNS_DRAWN:
        return list(range(layers))
    half = COLUMNS_DRAWN // 2
    return [*range(half), None, *range(layers - half, layers)]


def _parse(step: str | None) -> tuple[int | None, str]:
    """Return (layer, part): (1, "z") for "layers.1.z", (None, "loss") for "loss"."""
    match = re.fullmatch(r"layers\.(\d{1,6})\.(z|a|weight|bias)", step or "")
    return (int(match[1]), match[2]) if match else (None, step or "")


def _column(
    place: int, units: int, head: str, foot: str, *, note: str = "", wrong: bool = False
) -> DiagramColumn:
    drawn = max(0, min(units, UNITS_DRAWN))
    middle = _TOP + _HEIGHT // 2
    first = middle - _UNIT_Y * (drawn - 1) // 2
    return DiagramColumn(
        x=_LEFT + _STEP_X * place,
        ys=tuple(first + _UNIT_Y * i for i in range(drawn)),
        head=head,
        foot=foot,
        note=note,
        more=units > UNITS_DRAWN,
        wrong=wrong,
    )


def _bundle(left: DiagramColumn, right: DiagramColumn, wrong: bool) -> Bundle:
    lines = "".join(f"M{left.x + 8} {a}L{right.x - 8} {b}" for a in left.ys for b in right.ys)
    return Bundle(path=lines, wrong=wrong, label_x=(left.x + right.x) // 2)


def _short(text: str, limit: int = 19) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


# -- graphs ----------------------------------------------------------------------------------------

STEPS_DRAWN = 40
_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _EDGE = 116, 40, 44, 14, 12


@dataclass(frozen=True)
class Box:
    """A step, or an array that goes in."""

    x: int
    y: int
    head: str
    foot: str
    given: bool
    wrong: bool


@dataclass(frozen=True)
class GraphDiagram:
    """All that the template draws; `arrows` are SVG paths."""

    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    width: int
    height: int
    box_width: int
    box_height: int
    wrong: str
    description: str


def graph_diagram(graph: GraphShape, wrong: str | None) -> GraphDiagram:
    """Lay a graph out from left to right; parameters are left to the list beside it."""
    steps = graph.steps[:STEPS_DRAWN]
    made = {step.name for step in steps}
    first = {value for step in steps for value in list(step.inputs.values())[:1]}
    given = [name for name in graph.given if name in first and name not in made]
    depth = dict.fromkeys(given, 0)
    for step in steps:
        depth[step.name] = 1 + max((depth.get(v, 0) for v in step.inputs.values()), default=0)
    rows: dict[int, int] = {}
    boxes: dict[str, Box] = {}
    shapes = {**graph.given, **{step.name: step.shape for step in steps}}
    operations = {step.name: step.operation for step in steps}
    at = (wrong or "").removeprefix("forward ")
    for name, column in depth.items():
        row = rows.get(column, 0)
        rows[column] = row + 1
        boxes[name] = Box(
            x=_EDGE + column * (_BOX_WIDTH + _GAP_X),
            y=_EDGE + row * (_BOX_HEIGHT + _GAP_Y),
            head=_short(operations.get(name, name), 16),
            foot="×".join(map(str, shapes.get(name, ()))),
            given=name not in made,
            wrong=name == at,
        )
    arrows = tuple(
        _arrow(boxes[value], boxes[step.name])
        for step in steps
        for value in dict.fromkeys(step.inputs.values())
        if value in boxes
    )
    columns, most = max(depth.values(), default=0) + 1, max(rows.values(), default=1)
    return GraphDiagram(
        boxes=tuple(boxes.values()),
        arrows=arrows,
        width=2 * _EDGE + columns * _BOX_WIDTH + (columns - 1) * _GAP_X,
        height=2 * _EDGE + most * _BOX_HEIGHT + (most - 1) * _GAP_Y,
        box_width=_BOX_WIDTH,
        box_height=_BOX_HEIGHT,
        wrong=wrong or "",
        description=describe_graph(graph),
    )


def describe_graph(graph: GraphShape) -> str:
    """Say a graph in a line: "residual: layer_norm, dense, tanh, add"."""
    return f"{graph.architecture}: {_listed(', ', [step.operation for step in graph.steps])}"


def _arrow(start: Box, end: Box) -> str:
    x, y, to = start.x + _BOX_WIDTH, start.y + _BOX_HEIGHT // 2, end.y + _BOX_HEIGHT // 2
    bend = (x + end.x) // 2
    return f"M{x} {y}C{bend} {y} {bend} {to} {end.x} {to}"
