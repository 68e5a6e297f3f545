"""The code of a wrong line, as it is shown in the book and written into files that are checked."""

import ast
import inspect
from collections.abc import Callable
from typing import Any


def statements(transform: Callable[..., Any]) -> list[ast.stmt]:
    """Return the code of a mistake's function; of an entry's lambda with each := on its own."""
    module = inspect.getmodule(transform)
    assert module is not None
    line = transform.__code__.co_firstlineno
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.FunctionDef) and node.lineno == line:
            return [s for s in node.body if not isinstance(s, ast.Assert | ast.Expr)]
        if isinstance(node, ast.Lambda) and node.lineno == line:
            named = _Named()
            result = ast.Return(named.visit(node.body))
            return [*named.found, result]
    raise LookupError(f"{transform.__qualname__} begins nowhere in {module.__name__}")


class _Named(ast.NodeTransformer):
    """Takes each `name := value` out of an expression, as an assignment before it."""

    def __init__(self) -> None:
        self.found: list[ast.stmt] = []

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.Name:
        """Leave the name."""
        value = ast.unparse(self.visit(node.value))
        self.found += ast.parse(f"{node.target.id} = {value}").body
        return node.target
