"""Builds the book: every operation of the registries, in order. An unchecked formula fails it.

The docstring's formulas are checked against the definition. The code that is shown is the code
that runs. The accuracies and kinks are measured against certified values during the build.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.spec import Activation, Counterpart, LayerOperation, Loss, Operation
from reference.book import mistaken
from reference.book.checking import Checked, Docstring, Unchecked, check
from reference.book.deriving import derive
from reference.book.layering import layer_accuracy
from reference.book.measuring import accuracy, installed, kink_rows
from reference.book.plotting import plot
from reference.book.samples import LETTERS
from reports.book import AccuracyRow, Book, Chapter, Paragraph, Set
from reports.records import Convention

KINDS = (LAYERS, ACTIVATIONS, LOSSES)


def operations() -> list[Operation]:
    """Return every operation whose formulas can be checked: of the layers, the dense one."""
    every = [operation for registry in KINDS for operation in registry.values()]
    return [o for o in every if not isinstance(o, LayerOperation) or o.name == "dense"]


def kind_of(operation: Operation) -> str:
    """Return "activation", "loss" or "layer"."""
    if isinstance(operation, Activation):
        return "activation"
    return "loss" if isinstance(operation, Loss) else "layer"


def build(
    chosen: Iterable[Operation] | None = None,
    implementations: Sequence[str] = ("manual", "torch", "jax"),
    ledger: Sequence[Convention] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Book:
    """Check and measure everything; a formula that is wrong or unchecked is `Unchecked`."""
    found = operations() if chosen is None else list(chosen)
    progress(f"checking the formulas of {len(found)} operations")
    docstrings = {operation.name: check(operation) for operation in found}
    if faults := [fault for d in docstrings.values() for fault in d.faults]:
        raise Unchecked(faults)
    versions = installed(implementations)
    progress(f"measuring {', '.join(versions)} against the certified values")
    pointwise = [o for o in found if isinstance(o, (Activation, Loss))]
    measured = accuracy(pointwise, tuple(versions))
    for operation in found:
        if isinstance(operation, LayerOperation):
            measured[operation.name] = layer_accuracy(operation, tuple(versions))
    rows = committed_ledger() if ledger is None else ledger
    chapters = tuple(
        _chapter(
            operation,
            docstrings[operation.name],
            measured.get(operation.name, ()),
            [row for row in rows if row.operation == operation.name],
            tuple(versions),
        )
        for operation in found
    )
    kinds = dict.fromkeys(kind_of(operation) for operation in found)
    return Book(chapters, {kind: mistaken.general(kind) for kind in kinds}, versions)


def committed_ledger() -> list[Convention]:
    """Return the ledger of the installed versions, or nothing where none was made."""
    from reference.conventions import ledger

    try:
        file = ledger.nearest()
    except ImportError:  # no torch, or no jax to ask for its version
        return []
    return ledger.read(file) if file else []


def _chapter(
    operation: Operation,
    docstring: Docstring,
    measured: tuple[AccuracyRow, ...],
    conventions: Sequence[Convention],
    implementations: Sequence[str],
) -> Chapter:
    pointwise = isinstance(operation, (Activation, Loss))
    by_row = pointwise and _by_row(operation)
    return Chapter(
        name=operation.name,
        kind=kind_of(operation),
        signature=_signature(operation),
        paragraphs=_paragraphs(docstring),
        counterparts={
            "PyTorch": _called(operation.torch),
            "JAX": _called(operation.jax),
        },
        parameters={
            LETTERS.get(name, name) if LETTERS.get(name, name) == name
            else f"{LETTERS[name]}, {name}": f"{p.default:g}"
            for name, p in operation.parameters.items()
        },
        code=source(operation),
        steps=derive(operation, docstring),
        plot=plot(operation),
        accuracy=measured,
        unit=_unit(operation, by_row),
        kinks=tuple(kink_rows(operation, implementations)) if pointwise else (),  # type: ignore[arg-type]
        conventions=tuple(conventions),
        mistakes=mistaken.own(operation),
    )  # fmt: skip


def _unit(operation: Operation, by_row: bool) -> str:
    """Return what an error is counted in, where that is not each number's own last place."""
    if isinstance(operation, LayerOperation):
        return "the unit is that of the largest entry, since sums cancel"
    return "a slope's unit is that of the largest in its row" if by_row else ""


def _by_row(operation: Any) -> bool:
    return operation.rowwise if isinstance(operation, Activation) else not operation.elementwise


def _signature(operation: Operation) -> str:
    if isinstance(operation, Activation):
        return "over the last axis" if operation.rowwise else "elementwise"
    if isinstance(operation, Loss):
        shape = "one number an entry" if operation.elementwise else "one number a row"
        targets = " or ".join(operation.targets)
        return f"{shape}; predictions {operation.predictions}, targets {targets}"
    return "with parameters"


def _called(counterpart: Counterpart) -> str:
    if counterpart.composed:
        return "composed of its primitives"
    keywords = ", ".join(f"{name}={value!r}" for name, value in counterpart.keywords.items())
    return f"{counterpart.name}({keywords})" if keywords else counterpart.name


def _paragraphs(docstring: Docstring) -> tuple[Paragraph, ...]:
    return tuple(
        Paragraph(block.display, tuple(p if isinstance(p, str) else shown(p) for p in block.pieces))
        for block in docstring.blocks
    )


def shown(checked: Checked) -> Set:
    """Return a checked formula as the page shows it."""
    formula = checked.formula
    return Set(formula.node, formula.text, checked.kind, checked.samples, checked.digits)


def source(operation: Operation) -> str:
    """Return the code of forward and backward and of the helpers they call, without its prose.

    What is shown is what runs; docstrings and comments hold formulas that nothing here checks.
    """
    parts: list[str] = []
    seen: set[str] = set()

    def add(function: FunctionType) -> None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        tree.decorator_list = []
        if isinstance(tree.body[0], ast.Expr) and isinstance(tree.body[0].value, ast.Constant):
            del tree.body[0]
        called = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        for name in dict.fromkeys(called):
            helper = function.__globals__.get(name)
            if not isinstance(helper, FunctionType) or name in seen:
                continue
            if helper.__module__.startswith(function.__module__.split(".")[0]):
                seen.add(name)
                add(helper)
        parts.append(ast.unparse(tree))

    for function in (operation.forward, operation.backward):
        assert isinstance(function, FunctionType)
        add(function)
    return "\n\n".join(parts)
