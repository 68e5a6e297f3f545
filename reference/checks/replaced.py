"""Replacements for what a file does not find here: a text, an older NumPy, a large hidden layer."""

import ast
import re
from typing import Any

import numpy as np

_OLD_NAMES = {
    "int": int,
    "float": float,
    "object": object,
    "complex": complex,
    "str": str,
    "float_": np.float64,
    "product": np.prod,
    "Inf": np.inf,
    "infty": np.inf,
    "NaN": np.nan,
    "alltrue": np.all,
    "sometrue": np.any,
    "row_stack": np.vstack,
}
"""Names that NumPy removed in 1.24 and 2.0; older code runs with them."""


def with_old_names(text: str) -> list[str]:
    """Put back what NumPy had when a source was written, where it uses it; return remarks."""
    used = set(re.findall(r"\b(?:np|numpy)\.(\w+)", text))
    missing = sorted(n for n in used & set(_OLD_NAMES) if n not in vars(np))
    for name in missing:
        setattr(np, name, _OLD_NAMES[name])
    return [f"np.{name} is gone from NumPy; here it is what it used to be" for name in missing]


_TEXT = "abcde" * 6
"""What a file reads, where it is not there: enough for a vocabulary of five characters."""
HIDDEN = 6
"""Hidden units that replace a hundred: the tape records every number."""


def text_read(node: ast.stmt) -> ast.stmt | None:
    """Return a short text in the place of one that a statement reads from a file into a name.

    data = open(path).read()    with open(path) as f: data = f.read()
    """
    if isinstance(node, ast.With) and "open(" in ast.unparse(node.items[0].context_expr):
        inner = node.body[0]
        reads = isinstance(inner, ast.Assign) and ast.unparse(inner.value).endswith(".read()")
        return _with_value(inner, _TEXT) if reads and len(node.body) == 1 else None
    return _with_value(node, _TEXT) if _reads_a_text(node) else None


def _reads_a_text(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
        return False
    return (
        re.fullmatch(r"open\(.*\)\.read\(\)(\.(lower|strip)\(\))?", ast.unparse(node.value))
        is not None
    )


def _with_value(node: ast.stmt, value: Any) -> ast.stmt:
    assert isinstance(node, ast.Assign)
    made = ast.Assign(node.targets, ast.copy_location(ast.Constant(value), node.value))
    return ast.copy_location(made, node)


def smaller(node: ast.stmt, tree: ast.Module) -> ast.stmt | None:
    """Return hidden_size = 100 with a small number, where no other line has the number."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int(size))) if (
            size >= 32 and re.search(r"hidden|^n_?h$", name, re.I)
        ):
            found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == size]
            return _with_value(node, HIDDEN) if len(found) == 1 else None
    return None
