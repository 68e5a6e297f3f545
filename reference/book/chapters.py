"""Builds the book: every operation of the registries, in order. An unchecked formula fails it.

The docstring's formulas are checked against the definition; of a layer over several axes, the
numbers that its code computes are judged instead. The code that is shown is the code that runs.
The accuracies and kinks are measured against certified values during the build.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Activation, Counterpart, LayerOperation, Loss, Operation
from reference.book import mistake_rows
from reference.book.checking import (
    CheckedFormula,
    Docstring,
    FormulaFault,
    Unchecked,
    as_written,
    check,
)
from reference.book.deriving import derive
from reference.book.measuring import SEEDS, accuracy, installed, judged, kink_rows, layer_accuracy
from reference.book.plotting import plot
from reference.book.samples import LETTERS
from reference.conventions.pointwise import takes_rows
from reference.conventions.uses import draw, use_text
from reports.book import Book, BookAccuracy, Chapter, Paragraph, Set
from reports.records import Convention

KINDS = (LAYERS, ACTIVATIONS, LOSSES)


def operations() -> list[Operation]:
    """Return every operation, kind by kind."""
    return [operation for registry in KINDS for operation in registry.values()]


def reads_formulas(operation: Operation) -> bool:
    """Say whether the docstring's formulas are read: of the layers, those of the dense one."""
    return not isinstance(operation, LayerOperation) or operation is LAYERS["dense"]


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
    docstrings = {operation.name: _checked(operation) for operation in found}
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
    return Book(chapters, {kind: mistake_rows.general(kind) for kind in kinds}, versions)


def _checked(operation: Operation) -> Docstring:
    """Check a docstring; one of a layer over several axes by what its code computes."""
    if reads_formulas(operation):
        return check(operation)
    assert isinstance(operation, LayerOperation)
    numbers, faults = judged(operation)
    return as_written(
        operation, numbers, [FormulaFault(operation.name, 1, fault) for fault in faults]
    )


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
    measured: tuple[BookAccuracy, ...],
    conventions: Sequence[Convention],
    implementations: Sequence[str],
) -> Chapter:
    pointwise = operation if isinstance(operation, (Activation, Loss)) else None
    return Chapter(
        name=operation.name,
        kind=kind_of(operation),
        signature=_signature(operation),
        paragraphs=_paragraphs(docstring),
        counterparts={
            "PyTorch": _called(operation.torch),
            "JAX": _called(operation.jax),
        },
        parameters=_parameters(operation),
        samples=_samples(operation),
        numbers=docstring.numbers,
        code=source(operation.forward, operation.backward),
        definition=source(operation.definition) if docstring.numbers else "",
        steps=derive(operation, docstring),
        plot=plot(operation),
        accuracy=measured,
        unit=_unit(pointwise),
        kinks=tuple(kink_rows(pointwise, implementations)) if pointwise else (),
        conventions=tuple(conventions),
        mistakes=mistake_rows.own(operation),
    )  # fmt: skip


def _unit(pointwise: Activation | Loss | None) -> str:
    """Return what an error is counted in, where that is not each number's own last place."""
    if pointwise is None:
        return "the unit is that of the tensor's largest terms, since sums cancel"
    return "a slope's unit is that of the largest in its row" if takes_rows(pointwise) else ""


def _signature(operation: Operation) -> str:
    if isinstance(operation, Activation):
        return "over the last axis" if operation.rowwise else "elementwise"
    if isinstance(operation, Loss):
        shape = "one number an entry" if operation.elementwise else "one number a row"
        targets = " or ".join(operation.targets)
        return f"{shape}; predictions {operation.predictions}, targets {targets}"
    assert isinstance(operation, LayerOperation)
    parameters = f"; parameters {', '.join(operation.trainable)}" if operation.trainable else ""
    return f"{operation.structure}, of {', '.join(operation.arguments)}{parameters}"


def _parameters(operation: Operation) -> dict[str, str]:
    """Return the numbers and words of an operation with what they usually are."""
    if isinstance(operation, LayerOperation):
        return {name: str(usual) for name, usual in operation.options.items()}
    letters = {name: LETTERS.get(name, name) for name in operation.parameters}
    return {
        name if letters[name] == name else f"{letters[name]}, {name}": f"{parameter.default:g}"
        for name, parameter in operation.parameters.items()
    }


def _samples(operation: Operation) -> tuple[str, ...]:
    """Return the uses that a layer was judged and measured at, in words."""
    if not isinstance(operation, LayerOperation):
        return ()
    return tuple(dict.fromkeys(use_text(draw(operation, seed)) for seed in SEEDS))


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


def shown(checked: CheckedFormula) -> Set:
    """Return a checked formula as the page shows it."""
    formula = checked.formula
    return Set(formula.node, formula.text, checked.kind, checked.samples, checked.digits)


def source(*functions: Callable[..., object]) -> str:
    """Return the code of functions and of the helpers they call, without its prose.

    What is shown is what runs; docstrings and comments hold formulas that nothing here checks.
    """
    parts: list[str] = []
    seen: set[str] = set()

    def add(function: Callable[..., object] | type) -> None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef | ast.ClassDef)
        tree.decorator_list = []
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        module = function.__module__
        known = vars(sys.modules[module])
        called = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        for name in dict.fromkeys(called):
            helper = known.get(name)
            if not isinstance(helper, FunctionType | type) or name in seen:
                continue
            if helper.__module__.startswith(module.split(".")[0]):
                seen.add(name)
                add(helper)
        parts.append(ast.unparse(tree))

    for function in functions:
        add(function)
    return "\n\n".join(parts)
