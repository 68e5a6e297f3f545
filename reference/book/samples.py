"""Where the formulas are evaluated: fixed samples of every kind of operation.

A sample gives every name a docstring may use its value, as balls, the operation's own value and
slope by its `definition` among them. Nothing here names an operation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from flint import arb

from manual_backprop.operation import Activation, LayerOperation, Loss, Operation
from reference.arithmetic.balls import Ball, DefinitionArithmetic, dual, exact
from reference.arithmetic.point_derivative import constants
from reference.book.evaluating import FormulaPoint, Value
from reference.book.tokens import Vocabulary
from reference.conventions.situations import settings
from reference.formats import Array

LETTERS: Mapping[str, str] = {
    "alpha": "α",
    "beta": "β",
    "delta": "δ",
    "lambd": "λ",
    "negative_slope": "s",
    "label_smoothing": "ε",
    "class_weight": "w",
}
"""How formulas write a parameter; one that is not here is written by its own name."""

_POINTS = (
    -37.5, -12.25, -6.0, -4.7, -3.3, -3.0, -2.9, -2.6, -2.1, -1.7, -1.5, -1.3, -1.1, -1.0, -0.9,
    -0.7, -0.6, -0.4, -0.3, -0.2, -0.1, -0.01, 0.0, 0.01, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0,
    1.2, 1.4, 1.6, 1.9, 2.3, 2.5, 2.8, 3.0, 3.4, 4.6, 5.9, 6.0, 6.1, 7.5, 13.0, 37.0,
)  # fmt: skip
_UNIT = (0.001, 0.05, 0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.999)
_TARGETS: Mapping[str, tuple[float, ...]] = {
    "real": (0.3, -1.25, 2.0),
    "unit": (0.0, 0.25, 0.8, 1.0),
    "sign": (-1.0, 1.0),
    "count": (0.0, 1.0, 4.0),
    "simplex": (0.0, 0.2, 0.75, 1.0),
}
_COTANGENT = (1.5, -0.75, 2.25, 0.5)
_CLASSES = 4


@dataclass(frozen=True)
class Samples:
    """The names that an operation's docstring may use, and where they are evaluated."""

    operation: Operation

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that are given."""
        names = {LETTERS.get(name, name) for name in self.operation.parameters}
        labels: frozenset[str] = frozenset()
        match self.operation:
            case Activation():
                names |= {"x", "y", "dx", "dy"}
            case Loss():
                names |= {"y", "t", "L", "dy", "dL", "C"}
                names |= {LETTERS.get(name, name) for name in self.operation.arrays}
                if "labels" in self.operation.targets:
                    labels = frozenset("t")
            case _:
                names |= {"x", "W", "b", "y", "dy", "dx", "dW", "db", "L"}
        return Vocabulary(frozenset(names), labels)

    @property
    def outputs(self) -> frozenset[str]:
        """The names that stand for what the operation computes."""
        match self.operation:
            case Activation():
                return frozenset({"y", "dx"})
            case Loss():
                return frozenset({"L", "dy"})
            case _:
                return frozenset({"y", "dx", "dW", "db", "L"})

    def __iter__(self) -> Iterator[FormulaPoint]:
        match self.operation:
            case Activation(rowwise=False):
                yield from _numbers(self.operation)
            case Activation():
                yield from _rows(self.operation)
            case Loss(elementwise=True):
                yield from _elementwise_loss(self.operation)
            case Loss():
                yield from _row_loss(self.operation)
            case LayerOperation():
                yield from _layer(self.operation)


def _letters(setting: Mapping[str, float]) -> dict[str, Value]:
    return {LETTERS.get(name, name): exact(value) for name, value in setting.items()}


def _numbers(operation: Activation) -> Iterator[FormulaPoint]:
    for setting in settings(operation):
        for k, point in enumerate(_POINTS):
            m = DefinitionArithmetic()
            (x,) = m.variables([exact(point)])
            y = operation.definition(m, x, **constants(setting))
            dy = exact(_COTANGENT[k % 4])
            values = {**_letters(setting), "x": x, "y": y, "dy": dy, "dx": _of(y, 0) * dy}
            yield FormulaPoint(m, values, {}, {}, {"x": np.array(0)}, _spelled(setting, x=point))


def _row_points() -> list[list[float]]:
    draw = np.random.default_rng(7)
    return [
        [round(float(v), 3) for v in scale * draw.standard_normal(_CLASSES)]
        for scale in (0.3, 1.0, 3.0, 12.0)
    ]


def _rows(operation: Activation) -> Iterator[FormulaPoint]:
    for setting, row in product(settings(operation), _row_points()):
        m = DefinitionArithmetic()
        x = m.variables([exact(v) for v in row])
        y = operation.definition(m, x, **constants(setting))
        dy = [exact(v) for v in _COTANGENT]
        dx = [sum((_of(y_j, i) * d for y_j, d in zip(y, dy, strict=True)), arb(0))
              for i in range(_CLASSES)]  # fmt: skip
        values = {**_letters(setting), "x": _objects(x), "y": _objects(y),
                  "dy": _objects(dy), "dx": _objects(dx)}  # fmt: skip
        yield FormulaPoint(m, values, dict.fromkeys("ijk", _CLASSES), {},
                     {"x": np.arange(_CLASSES)}, _spelled(setting, x=row))  # fmt: skip


def _elementwise_loss(operation: Loss) -> Iterator[FormulaPoint]:
    points = {"unit": _UNIT, "log_simplex": tuple(p for p in _POINTS if p < 0)}.get(
        operation.predictions, _POINTS
    )
    targets = [t for kind in operation.targets for t in _TARGETS.get(kind, _UNIT)]
    for setting, t in product(settings(operation), targets):
        for k, point in enumerate(points):
            own = {name: (0.3, 2.5, 2.0**-24)[k % 3] for name in operation.arrays}
            m = DefinitionArithmetic()
            (y,) = m.variables([exact(point)])
            loss = operation.definition(m, y, t, **constants({**setting, **own}))
            dL = exact(_COTANGENT[k % 4])
            values = {**_letters({**setting, **own}), "y": y, "t": exact(t), "L": loss, "dL": dL,
                      "dy": _of(loss, 0) * dL}  # fmt: skip
            text = _spelled({**setting, **own}, y=point, t=t)
            yield FormulaPoint(m, values, {}, {}, {"y": np.array(0)}, text)


def _row_loss(operation: Loss) -> Iterator[FormulaPoint]:
    for setting, row, kind in product(settings(operation), _row_points(), operation.targets):
        if operation.predictions != "real":
            total = sum(np.exp(row))
            row = [float(np.exp(v) / total) for v in row]
        if operation.predictions == "log_simplex":
            row = [float(np.log(v)) for v in row]
        for label in range(_CLASSES if kind == "labels" else 1):
            soft = _soft(kind, row)
            target: int | list[float] = label if kind == "labels" else soft
            for weights in (None, [0.5, 1.25, 2.0, 0.75]) if operation.arrays else (None,):
                given = {} if weights is None else {
                    name: [exact(v) for v in weights] for name in operation.arrays
                }  # fmt: skip
                m = DefinitionArithmetic()
                y = m.variables([exact(v) for v in row])
                loss = operation.definition(m, y, target, **constants(setting), **given)
                dL = exact(1.75)
                hot = [float(k == label) for k in range(_CLASSES)] if kind == "labels" else soft
                ones = [exact(1)] * _CLASSES
                values = {
                    **_letters(setting),
                    **{LETTERS.get(n, n): _objects(given.get(n, ones)) for n in operation.arrays},
                    "y": _objects(y), "t": _objects([exact(v) for v in hot]), "L": loss, "dL": dL,
                    "dy": _objects([_of(loss, j) * dL for j in range(_CLASSES)]),
                    "C": exact(_CLASSES),
                }  # fmt: skip
                labels = {"t": label} if kind == "labels" else {}
                text = _spelled(setting, y=row, t=target)
                yield FormulaPoint(m, values, dict.fromkeys("ijk", _CLASSES), labels,
                             {"y": np.arange(_CLASSES)}, text)  # fmt: skip


def _soft(kind: str, row: list[float]) -> list[float]:
    if kind == "simplex":
        return [0.125, 0.5, 0.375, 0.0]
    return [round(0.7 * v + 0.4, 2) for v in reversed(row)]


def _layer(operation: LayerOperation) -> Iterator[FormulaPoint]:
    """Give the inputs, parameters and cotangents of a dense layer; L = Σ dy · y stands for all."""
    draw = np.random.default_rng(5)
    batch, inside, outside = 3, 2, 4
    shapes = {"x": (batch, inside), "W": (inside, outside), "b": (outside,)}
    for _ in range(3):
        m = DefinitionArithmetic()
        floats = {n: np.round(draw.standard_normal(s), 3) for n, s in shapes.items()}
        flat = m.variables([exact(v) for a in floats.values() for v in a.ravel().tolist()])
        values: dict[str, Value] = {}
        variables: dict[str, Array] = {}
        start = 0
        for name, shape in shapes.items():
            variables[name] = np.arange(start, start + int(np.prod(shape))).reshape(shape)
            values[name] = _objects(flat)[variables[name]]
            start += variables[name].size
        weight = [list(row) for row in values["W"]]
        y = [operation.definition(m, list(row), weight, list(values["b"])) for row in values["x"]]
        values["y"] = _objects([v for row in y for v in row]).reshape(batch, outside)
        cotangent = np.round(draw.standard_normal((batch, outside)), 3)
        values["dy"] = _objects([exact(v) for v in cotangent.ravel().tolist()]).reshape(
            batch, outside
        )
        values["L"] = (values["y"] * values["dy"]).sum()
        for name in shapes:
            slopes = [_of(values["L"], k) for k in variables[name].ravel()]
            values[f"d{name}"] = _objects(slopes).reshape(shapes[name])
        sizes = {"n": batch, "i": inside, "j": outside, "k": outside}
        yield FormulaPoint(m, values, sizes, {}, variables, "a batch of 3, 2 inputs, 4 outputs")


def _of(value: Value, position: int) -> Ball:
    """Return the slope of a value by one of its inputs."""
    return dual(value).slope.by.get(int(position), arb(0))


def _objects(values: Sequence[Value]) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _spelled(setting: Mapping[str, float], **point: object) -> str:
    return ", ".join(f"{LETTERS.get(k, k)} = {v}" for k, v in {**point, **setting}.items())
