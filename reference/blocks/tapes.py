"""The tape of an operation: traced once for each width, options and pattern of targets."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from manual_backprop.operation import Activation, Loss, Operation
from reference.arithmetic.tape import CONSTANT_TARGETS, Tape, Tracer, trace

Pattern = tuple[float | None, ...]
"""The targets of a row: a number where the target is a constant of the tape, None where it is an
input. Example: the targets 0.3, 1.0, 0.7 have the pattern (None, 1.0, None)."""

_KEPT = 4096  # tapes; one of a row takes some 10 kB

_tapes: OrderedDict[tuple[Any, ...], tuple[Operation, Tape]] = OrderedDict()


def pattern_of(targets: list[float]) -> Pattern:
    """Return the pattern of some targets."""
    return tuple(t if t in CONSTANT_TARGETS else None for t in targets)


def activation_tape(
    operation: Activation, options: Mapping[str, float], width: int | None, order: int = 1
) -> Tape:
    """Return the tape of an activation; `width` is the length of a row, None if elementwise."""
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
    """Return the tape of a loss; `targets` is a label, or a pattern of targets.

    Its inputs are the prediction, the targets that are not constants, and the array arguments.
    If the classes of a loss may be permuted (`symmetric`), only one tape is traced for all labels,
    or for all orders of one pattern. The others are the same tape with other names of its inputs.
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
    """Return for each input of the traced tape the input that takes its place.

    Predictions and array arguments follow the order `classes`. The targets stay in their places.
    """
    width = len(classes)
    start = count - arrays * width
    return [
        *classes,
        *range(width, start),
        *(start + array * width + k for array in range(arrays) for k in classes),
    ]


def _kept(key: tuple[Any, ...], operation: Operation, make: Callable[[], Tape]) -> Tape:
    if key not in _tapes:
        _tapes[key] = operation, make()  # keep the operation, so that no other gets its id
        if len(_tapes) > _KEPT:
            _tapes.popitem(last=False)
    _tapes.move_to_end(key)
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
