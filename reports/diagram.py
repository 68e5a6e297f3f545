"""The geometry of a network's picture: units in columns, weights between, the first wrong step."""

import re
from dataclasses import dataclass

from reports.records import Case, NetworkShape

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
    widths = [network.input_width, *(layer.width for layer in network.layers)]
    drawn = widths if len(widths) <= 12 else [*widths[:6], "…", *widths[-5:]]
    activations = [layer.activation for layer in network.layers]
    names = activations if len(activations) <= 12 else [*activations[:6], "…", *activations[-5:]]
    return (
        f"{'-'.join(map(str, drawn))}, {', '.join(names)}, "
        f"{network.loss} ({network.reduction}), batch {batch:,}"
    )


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


def _short(text: str) -> str:
    return text if len(text) <= 19 else text[:18] + "…"
