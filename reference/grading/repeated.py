"""What a backward computes more than once and gives no name: `dh * h` in dW and again in db.

Such a value is taken like a variable: a mistake in it is one mistake, wherever it stands.
"""

import ast
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from reference.checks.code import Path, Routine, is_numeric


def repeated(
    backward: Routine, variables: Mapping[Path, object], instance: object = None
) -> dict[Path, object]:
    """Return the values of expressions that stand in a backward's source at least twice.

    variables: its local variables by path, as they were at its end. instance: its `self`.
    It is called where the submission runs: the expressions are its own code.
    """
    if backward.node is None:
        return {}
    nodes = {ast.unparse(n): n for n in ast.walk(backward.node) if isinstance(n, ast.BinOp)}
    counts = Counter(ast.unparse(n) for n in ast.walk(backward.node) if isinstance(n, ast.BinOp))
    known = {path[0]: value for path, value in variables.items() if len(path) == 1}
    names = {**getattr(backward.function, "__globals__", {}), "self": instance, **known}
    found: dict[Path, object] = {}
    for text, node in nodes.items():
        if counts[text] > 1:
            with suppress(Exception):  # a name that is none at its end
                value = eval(compile(ast.Expression(node), "<repeated>", "eval"), names)
                if is_numeric(value):
                    found[(text,)] = value
    return found
