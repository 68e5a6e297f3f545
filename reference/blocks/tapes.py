"""The tape of an operation: traced once for each width, options and pattern of targets."""

from collections.abc import Callable, Mapping
from typing import Any

from manual_backprop.operation import Activation, Loss, Operation
from reference.arithmetic.tape import GIVEN_APART, Tape, Tracer, trace

Pattern = tuple[float | None, ...]
"""The targets of a column: what stands in the tape as a constant, None where it is an input."""

_tapes: dict[tuple[Any, ...], tuple[Operation, Tape]] = {}


def pattern_of(targets: list[float]) -> Pattern:
    """Return which of some targets are constants of the tape."""
    return tuple(t if t in GIVEN_APART else None for t in targets)


def activation_tape(
    operation: Activation, options: Mapping[str, float], width: int | None, order: int = 1
) -> Tape:
    """Return the tape of an activation; `width` of a row, None where it is elementwise."""
    key = (id(operation), tuple(options.items()), width, order)
    return _kept(key, operation, lambda: _trace(operation, options, width, None, (), order))


def loss_tape(
    operation: Loss,
    options: Mapping[str, float],
    width: int | None,
    targets: Pattern | int,
    arrays: tuple[str, ...],
    order: int = 1,
) -> Tape:
    """Return the tape of a loss: for a label, or for a pattern of targets.

    Its inputs: the prediction, the targets that are not constants, and the array arguments.
    """
    key = (id(operation), tuple(options.items()), width, targets, arrays, order)
    return _kept(key, operation, lambda: _trace(operation, options, width, targets, arrays, order))


def _kept(key: tuple[Any, ...], operation: Operation, make: Callable[[], Tape]) -> Tape:
    if key not in _tapes:
        _tapes[key] = operation, make()  # the operation is kept: its id is not given away
    return _tapes[key][1]


def _trace(
    operation: Operation,
    options: Mapping[str, float],
    width: int | None,
    targets: Pattern | int | None,
    arrays: tuple[str, ...],
    order: int,
) -> Tape:
    variables = width or 1
    free = targets.count(None) if isinstance(targets, tuple) else 0

    def arguments(m: Tracer) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = iter(m.inputs[variables:])
        named: dict[str, Any] = {
            name: m.number(value) if isinstance(value, float) else value
            for name, value in options.items()
        }
        positional: tuple[Any, ...] = ()
        if isinstance(targets, tuple):
            row = [next(given) if t is None else t for t in targets]
            positional = (row if width else row[0],)
        elif targets is not None:
            positional = (targets,)
        for name in arrays:
            row = [next(given) for _ in range(variables)]
            named[name] = row if width else row[0]
        return positional, named

    return trace(operation.definition, width, arguments, free + len(arrays) * variables, order)
