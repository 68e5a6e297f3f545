"""The catalogue's mistakes as the book shows them: each is executed, and what it changes measured.

What is shown is the code that ran, so nothing in this part of a chapter is unchecked.
"""

import ast
from collections.abc import Callable, Iterable, Iterator
from itertools import product

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Activation, FloatArray, LayerOperation, Loss, Operation
from reference.conventions.uses import draw
from reference.diagnosis.layer_mistakes import LAYER_MISTAKES, LayerLine
from reference.diagnosis.mistakes import (
    CATALOGUE,
    ActivationLine,
    DenseLine,
    Line,
    LossLine,
    Mistake,
)
from reference.diagnosis.mistakes.catalogue import right_of, statements
from reference.trials.accuracy import batch_of
from reports.book import MistakeRow

_USES = 24
"""Uses of a layer among which a mistake of its own is executed."""

KINDS = {"layer": ("weight", "bias", "below"), "activation": ("activation",), "loss": ("loss",)}


def own(operation: Operation) -> tuple[MistakeRow, ...]:
    """Return the mistakes about an operation's own formula, with what each changes."""
    if isinstance(operation, LayerOperation):
        return tuple(_rows_of_layer(operation))
    found = [m for m in CATALOGUE.values() if operation.name in m.operations]
    assert isinstance(operation, Activation | Loss)
    lines = _lines(operation)
    return tuple(_row(mistake, lines) for mistake in found)


def _rows_of_layer(operation: LayerOperation) -> Iterator[MistakeRow]:
    """Yield the mistakes about a layer, with what each changes at the uses it can be made in."""
    uses = [draw(operation, seed) for seed in range(_USES)]
    for mistake in LAYER_MISTAKES.values():
        if operation.name not in mistake.operations:
            continue
        changes = []
        for use, argument in product(uses, mistake.arguments):
            if argument not in use.floats:
                continue
            line = LayerLine(operation, argument, use.arrays, use.options, use.dy)
            made = mistake.make(line)
            if made is not None:
                changes.append(_relative(made, line.own))
        change = max(changes, default=None)
        sentence = f"{mistake.sentence} {mistake.wrong}"
        yield MistakeRow(mistake.name, sentence, _code(mistake.transform), change)


def general(kind: str) -> tuple[MistakeRow, ...]:
    """Return the mistakes that any operation of a kind invites."""
    lines: list[Line] = [_dense(4, 3, 3), _dense(4, 2, 3), _dense(3, 3, 3), _dense(6, 3, 2)]
    if kind == "activation":
        lines = [line for operation in ACTIVATIONS.values() for line in _lines(operation)]
    elif kind == "loss":
        lines = [line for operation in LOSSES.values() for line in _lines(operation)]
    found = [m for m in CATALOGUE.values() if m.line in KINDS[kind] and not m.operations]
    return tuple(_row(mistake, lines) for mistake in found)


def _row(mistake: Mistake, lines: Iterable[Line]) -> MistakeRow:
    changes = [_change(mistake, line) for line in lines if mistake.applies(line)]
    change = max(changes) if changes else None
    return MistakeRow(mistake.name, mistake.sentence, _code(mistake.transform), change)


def _change(mistake: Mistake, line: Line) -> float:
    """Return the largest change of an entry, relative to the largest entry of the right line."""
    right = np.asarray(right_of(mistake.line, line), np.float64)
    return _relative(np.asarray(mistake.make(line), np.float64), right)


def _relative(wrong: FloatArray, right: FloatArray) -> float:
    with np.errstate(all="ignore"):
        difference = np.abs(wrong - right)
    if not np.isfinite(difference).all():
        return float("inf")
    return float(difference.max() / (np.abs(right).max() or 1.0))


def _code(transform: Callable[..., object]) -> str:
    """Return the wrong line: the body of the function that makes it."""
    return "\n".join(map(ast.unparse, statements(transform)))


def _cotangent(shape: tuple[int, ...]) -> FloatArray:
    return np.resize([1.0, -0.5, 2.0, 0.25, -1.5], shape).astype(np.float64)


def _lines(operation: Activation | Loss) -> list[Line]:
    """Return the operation's line of a backward at a few of the book's fixed inputs.

    The parameters are not the usual ones, which hide a mistake: α = 1 left out changes nothing.
    """
    given = batch_of(operation, 32, 0, "float64")
    x = given.x
    parameters = {name: p.choices[-1] for name, p in operation.parameters.items()}
    if isinstance(operation, Activation):
        y = operation.forward(x, **parameters)
        dy, below = _cotangent(y.shape), _cotangent(x.shape)
        return [ActivationLine(operation, parameters, x, y, dy, below)]
    assert given.targets is not None
    targets, arrays = given.targets, given.arrays
    if "ignore_index" in parameters and np.issubdtype(targets.dtype, np.integer):
        targets = np.where(np.arange(len(targets)) % 5, targets, int(parameters["ignore_index"]))
    arguments = {**parameters, **arrays}
    losses = operation.forward(x, targets, **arguments)
    count = float(operation.count(losses, targets, **arguments))
    weights = np.abs(_cotangent((len(x),)))
    column = weights.reshape(-1, *[1] * (losses.ndim - 1))
    return [
        LossLine(
            operation, arguments, x, targets, losses,
            np.array(np.broadcast_to(column / divisor, losses.shape)), divisor, reduction, weights,
        )
        for reduction, divisor in (("mean", count), ("sum", 1.0))
    ]  # fmt: skip


def _dense(batch: int, inside: int, outside: int) -> Line:
    draw = np.random.default_rng(3)
    shapes = ((batch, inside), (inside, outside), (outside,), (batch, outside))
    x, weight, bias, dz = (draw.standard_normal(shape) for shape in shapes)
    da, before = draw.standard_normal(dz.shape), draw.standard_normal(x.shape)
    return DenseLine(x, dz, weight, bias, da, before)
