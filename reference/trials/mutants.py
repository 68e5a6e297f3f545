"""Mutants of the backward code: its own source with one small thing changed.

The operators are those of the mutation testers (cosmic-ray, mutmut): another operator, a term
left out, a sign, a comparison, a constant, the branches of a choice. They exist in memory alone: a
mutant is a function that replaces the right one, and no file is changed.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manual_backprop import graph, network
from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS, Dense
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, Trace
from manual_backprop.operation import FloatArray, Registry

_SWAPS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.LtE,
    ast.LtE: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_WALKS = {"backward": graph, "losses_cotangent": network}
"""What joins the operations, and the module in which it is called by name."""

_CALLS = {"maximum": "minimum", "minimum": "maximum", "exp": "expm1", "expm1": "exp"}


@dataclass(frozen=True)
class Mutant:
    """One changed function: what it belongs to, what was changed, and how it is injected."""

    group: str  # "activation", "loss", "layer", "network"
    operation: str
    change: str
    function: Callable[..., Any]
    method: str = "backward"

    @property
    def name(self) -> str:
        """Whose backward, and the change."""
        return f"{self.operation}: {self.change}"


def generated() -> Iterator[Mutant]:
    """Yield every mutant of every hand-written backward, and of the walk that joins them."""
    for group, registry in (("activation", ACTIVATIONS), ("loss", LOSSES)):
        for name, operation in registry.items():
            for change, function in mutate(operation.backward):
                yield Mutant(group, name, change, function)
    for change, function in mutate(Dense.backward):
        yield Mutant("layer", "dense", change, function)
    for name, module in _WALKS.items():
        for change, function in mutate(getattr(module, name)):
            yield Mutant("network", name, change, function)


def mutate(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the mutants of one function, each with its change in words."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    definition.returns = None
    for argument in definition.args.args:
        argument.annotation = None
    nodes = [n for statement in definition.body[1:] for n in ast.walk(statement)]
    for position, node in enumerate(nodes):
        for text, changed in _changes(node):
            mutated = _replaced(tree, position, changed)
            yield f"line {node.lineno}: {text}", _compiled(mutated, function)  # type: ignore[attr-defined]


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield what may stand in place of one node."""
    was = ast.unparse(node) if isinstance(node, ast.expr) else ""

    def changed(new: ast.expr) -> tuple[str, ast.AST]:
        return f"`{was}` → `{ast.unparse(new)}`", new

    match node:
        case ast.BinOp(left, operator, right):
            if type(operator) in _SWAPS:
                yield changed(ast.BinOp(left, _SWAPS[type(operator)](), right))
                yield changed(left)
                if isinstance(operator, ast.Add | ast.Mult):
                    yield changed(right)
            elif isinstance(operator, ast.MatMult):
                yield changed(ast.BinOp(right, operator, left))
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield changed(operand)
        case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARISONS:
            yield changed(ast.Compare(left, [_COMPARISONS[type(operator)]()], [right]))
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            yield changed(ast.Constant(value + 1))
            if isinstance(value, float) and value:
                yield changed(ast.Constant(value * (1 + 1e-6)))
        case ast.Call(ast.Attribute(module, name), arguments, keywords):
            if name in _CALLS:
                other = ast.Attribute(module, _CALLS[name], ast.Load())
                yield changed(ast.Call(other, arguments, keywords))
            if name == "where":
                c, a, b = arguments
                yield changed(
                    ast.Call(ast.Attribute(module, name, ast.Load()), [c, b, a], keywords)
                )
        case ast.Attribute(value, "T"):
            yield changed(value)


def _replaced(tree: ast.Module, position: int, changed: ast.AST) -> ast.Module:
    """Return a copy of the tree with the node at one position changed."""
    copied = copy.deepcopy(tree)
    body = copied.body[0]
    assert isinstance(body, ast.FunctionDef)
    nodes = [n for statement in body.body[1:] for n in ast.walk(statement)]
    target = nodes[position]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            return copy.deepcopy(changed) if node is target else self.generic_visit(node)

    replaced: ast.Module = Replace().visit(copied)
    return ast.fix_missing_locations(replaced)


def _compiled(tree: ast.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that the tree defines, in the namespace of the right one."""
    found: dict[str, Any] = {}
    # The source is this project's own, one operator changed.
    exec(compile(tree, "<mutant>", "exec"), function.__globals__, found)
    mutated: Callable[..., Any] = found[function.__name__]
    return mutated


def backward_by(mutant: Mutant, problem: Problem, trace: Trace) -> dict[str, FloatArray]:
    """Walk backward with the mutant in place."""
    with injected(mutant), np.errstate(all="ignore"):
        return network.backward(problem, trace)


@contextmanager
def injected(mutant: Mutant) -> Iterator[None]:
    """Let the mutant stand where the right function stands."""
    registries: dict[str, Registry[Any]] = {
        "activation": ACTIVATIONS, "layer": LAYERS, "loss": LOSSES
    }  # fmt: skip
    if mutant.group in registries:
        operations = registries[mutant.group]._operations
        right = operations[mutant.operation]
        operations[mutant.operation] = replace(right, **{mutant.method: mutant.function})
        try:
            yield
        finally:
            operations[mutant.operation] = right
        return
    name, module = mutant.operation, _WALKS[mutant.operation]
    right = getattr(module, name)
    setattr(module, name, mutant.function)
    try:
        yield
    finally:
        setattr(module, name, right)
