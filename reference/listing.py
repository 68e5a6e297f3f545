"""What operations there are, as data and as a table: `manual-backprop ops`."""

import inspect
from typing import Any

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Counterpart, Loss, Operation

Row = dict[str, Any]


def operations() -> list[Row]:
    """Return one row for each operation of every registry."""
    return [
        _row(registry.kind, operation)
        for registry in (LAYERS, ACTIVATIONS, LOSSES)
        for operation in registry.values()
    ]


def operations_text() -> str:
    """Return the rows as a table for the terminal."""
    rows = [
        (row["kind"], row["name"], _call(row["torch"]), _call(row["jax"]), _parameters(row))
        for row in operations()
    ]
    head = ("kind", "name", "PyTorch", "JAX", "parameters")
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
             for row in [head, *rows]]  # fmt: skip
    return "\n".join(
        [*lines, "", "composition: the framework lacks it, so primitives are composed."]
    )


def _row(kind: str, operation: Operation) -> Row:
    row: Row = {
        "kind": kind,
        "name": operation.name,
        "summary": inspect.cleandoc(operation.doc).splitlines()[0],
        "torch": _described(operation.torch),
        "jax": _described(operation.jax),
        "parameters": {
            name: {"default": parameter.default, "choices": list(parameter.choices)}
            for name, parameter in operation.parameters.items()
        },
        "definition": f"{operation.definition.__module__}.{operation.definition.__qualname__}",
    }
    if isinstance(operation, Loss):
        row |= {"targets": list(operation.targets), "predictions": operation.predictions}
    return row


def _described(counterpart: Counterpart) -> Row:
    return {
        "name": counterpart.name,
        "composed": counterpart.composed,
        "keywords": dict(counterpart.keywords),
    }


def _call(counterpart: Row) -> str:
    keywords = ", ".join(f"{k}={v}" for k, v in counterpart["keywords"].items())
    return f"{counterpart['name']}({keywords})" if keywords else str(counterpart["name"])


def _parameters(row: Row) -> str:
    return ", ".join(f"{name}={p['default']:g}" for name, p in row["parameters"].items())


def derivation(operation: str) -> str:
    """Return what the book says of an operation, as plain text; "" for one that it lacks."""
    for registry in (ACTIVATIONS, LOSSES, LAYERS):
        found = dict(registry).get(operation)
        if found is not None:
            return inspect.cleandoc(found.doc)
    return ""
