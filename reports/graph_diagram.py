"""The geometry of a graph's picture: steps in columns by depth, an arrow for each use of one."""

from dataclasses import dataclass

from reports.records import GraphShape

STEPS_DRAWN = 40
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 116, 40, 44, 14, 12


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
            x=_EDGE + column * (_WIDTH + _GAP_X),
            y=_EDGE + row * (_HEIGHT + _GAP_Y),
            head=_short(operations.get(name, name)),
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
        width=2 * _EDGE + columns * _WIDTH + (columns - 1) * _GAP_X,
        height=2 * _EDGE + most * _HEIGHT + (most - 1) * _GAP_Y,
        box_width=_WIDTH,
        box_height=_HEIGHT,
        wrong=wrong or "",
        description=describe_graph(graph),
    )


def describe_graph(graph: GraphShape) -> str:
    """Say a graph in a line: "residual: layer_norm, dense, tanh, add"."""
    operations = [step.operation for step in graph.steps]
    drawn = operations if len(operations) <= 12 else [*operations[:6], "…", *operations[-5:]]
    return f"{graph.architecture}: {', '.join(drawn)}"


def _arrow(start: Box, end: Box) -> str:
    x, y, to = start.x + _WIDTH, start.y + _HEIGHT // 2, end.y + _HEIGHT // 2
    bend = (x + end.x) // 2
    return f"M{x} {y}C{bend} {y} {bend} {to} {end.x} {to}"


def _short(text: str) -> str:
    return text if len(text) <= 16 else text[:15] + "…"
