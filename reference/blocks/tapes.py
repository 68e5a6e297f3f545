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
    Where the classes of a loss may be permuted, the tapes for all labels, or for all orders of one
    pattern, are one tape with its inputs renamed.
    """
    key = (id(operation), tuple(options.items()), width, targets, arrays, order)

    def make() -> Tape:
        if width and operation.symmetric:
            order_of = _sorted_classes(width, targets, options.get("ignore_index"))
            if order_of != list(range(width)):
                first = (
                    order_of.index(targets)
                    if isinstance(targets, int)
                    else tuple(targets[k] for k in order_of)
                )
                tape = loss_tape(operation, options, width, first, arrays, order)
                return tape.renamed(_renamed_inputs(order_of, tape.inputs, len(arrays)), width)
        return _trace(operation, options, width, targets, arrays, order)

    return _kept(key, operation, make)


def _sorted_classes(width: int, targets: Pattern | int, ignored: float | None) -> list[int]:
    """Return the order of the classes in the tape that is traced.

    The class of a label comes first, or second where a label 0 is ignored. Of a pattern the
    constants come first, in order of size.
    """
    classes = list(range(width))
    if isinstance(targets, tuple):
        return sorted(classes, key=lambda k: (targets[k] is None, targets[k] or 0.0))
    if targets != ignored:
        classes.insert(int(ignored == 0), classes.pop(targets))
    return classes


def _renamed_inputs(classes: list[int], count: int, arrays: int) -> list[int]:
    """Return for each input of the traced tape the input that it is: the free targets stay."""
    width = len(classes)
    start = count - arrays * width
    return [
        *classes,
        *range(width, start),
        *(start + array * width + k for array in range(arrays) for k in classes),
    ]


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
