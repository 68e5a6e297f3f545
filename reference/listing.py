"""What operations there are, as data and as a table: `manual-backprop ops`."""

import inspect
import math

import msgspec

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import LayerOperation, Loss, Operation


class CounterpartRow(msgspec.Struct, frozen=True):
    """What a framework has for an operation."""

    name: str
    composed: bool
    keywords: dict[str, object]

    @property
    def call(self) -> str:
        """The function with its keywords."""
        if self.composed:
            return "composed"
        keywords = ", ".join(f"{k}={v}" for k, v in self.keywords.items())
        return f"{self.name}({keywords})" if keywords else self.name


class ParameterRow(msgspec.Struct, frozen=True):
    """A parameter of an operation: its default, and other values that are drawn."""

    default: float
    choices: tuple[float, ...]


class OperationRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation of a registry; a loss also says what it takes.

    `arguments` are the arrays; those in `optional` may be left out.
    """

    kind: str
    name: str
    summary: str
    torch: CounterpartRow
    jax: CounterpartRow
    parameters: dict[str, ParameterRow]
    options: dict[str, object]
    definition: str
    arguments: tuple[str, ...]
    optional: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    predictions: str = ""


def operations() -> list[OperationRow]:
    """Return one row for each operation of every registry."""
    return [
        _row(registry.kind, operation)
        for registry in (LAYERS, ACTIVATIONS, LOSSES)
        for operation in registry.values()
    ]


def operations_text() -> str:
    """Return the rows as a table for the terminal."""
    rows = [("kind", "name", "PyTorch", "JAX", "arrays; options and their defaults")]
    for row in operations():
        arrays = [f"{n}=None" if n in row.optional else n for n in row.arguments]
        defaults = {n: p.default for n, p in row.parameters.items()} | row.options
        options = [f"{name}={_number(value)}" for name, value in defaults.items()]
        arguments = "; ".join(filter(None, (", ".join(arrays), ", ".join(options))))
        rows.append((row.kind, row.name, row.torch.call, row.jax.call, arguments))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([*_EXPLAINED, "", *lines])


_EXPLAINED = (
    "composed: the framework has no such function, so it is built from the framework's basic "
    "functions.",
    "bias=None, for example: this array may be left out.",
    "eps=2^-16, eps=2^-20: close to the usual 1e-5 and 1e-6, but exact in every dtype, so that all "
    "sides use the same number.",
)


def _number(value: object) -> str:
    """Return a default as text; a power of two that has many digits as "2^-16"."""
    if not isinstance(value, float) or float(f"{value:g}") == value:
        return f"{value:g}" if isinstance(value, float) else str(value)
    mantissa, exponent = math.frexp(value)
    return f"2^{exponent - 1}" if mantissa == 0.5 else str(value)


def _row(kind: str, operation: Operation) -> OperationRow:
    torch, jax = (
        CounterpartRow(one.name, one.composed, dict(one.keywords))
        for one in (operation.torch, operation.jax)
    )
    loss = operation if isinstance(operation, Loss) else None
    options = dict(operation.options) if isinstance(operation, LayerOperation) else {}
    given = inspect.signature(operation.forward).parameters
    arguments = tuple(n for n in given if n not in operation.parameters and n not in options)
    return OperationRow(
        kind,
        operation.name,
        inspect.cleandoc(operation.doc).splitlines()[0],
        torch,
        jax,
        {n: ParameterRow(p.default, tuple(p.choices)) for n, p in operation.parameters.items()},
        options,
        f"{operation.definition.__module__}.{operation.definition.__qualname__}",
        arguments,
        optional=tuple(name for name in arguments if given[name].default is None),
        targets=tuple(loss.targets) if loss else (),
        predictions=loss.predictions if loss else "",
    )


def derivation(operation: str) -> str:
    """Return what the book says of an operation, as plain text; "" for one that it lacks."""
    for registry in (ACTIVATIONS, LOSSES, LAYERS):
        found = dict(registry).get(operation)
        if found is not None:
            return inspect.cleandoc(found.doc)
    return ""
