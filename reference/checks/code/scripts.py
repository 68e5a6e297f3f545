"""A script without functions, read as one function of its weights: forward, loss and gradients.

    W1 = rng.normal(size=(4, 6))        # what it is the gradient of: drawn
    h = np.tanh(X @ W1)                 # what depends on it: the function's body
    loss = -np.log(probs[range(n), y]).mean()
    dW1 = X.T @ dh                      # what is returned

One pass through a training loop replaces the loop; its prints and its steps are left out. A step
without a name for its gradient, W1 -= rate * X.T @ dh, gives it; one before another use of
its weight stays, because that use sees the new weight.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.code import vocabulary as words
from reference.checks.code.argument_spec import Layout, Spec
from reference.checks.code.routine import Routine, returned_by, routine_of
from reference.checks.code.source import Target

NAME = "script"
MAX_WEIGHTS = 1_000  # numbers: each product of theirs is a step of the tape


@dataclass(frozen=True)
class Script:
    """A script as a function of its weights, and how each of them is drawn."""

    routine: Routine
    shapes: Layout


def script_of(target: Target) -> Script | None:
    """Return the script of a file, None where it computes no loss and no gradients of weights."""
    if target.tree is None:
        return None
    lines = list(_with_named_steps(list(_straight(target.tree.body)), target))
    weights = _weights(lines, target)
    gradients = _gradients(lines, weights)
    kept = [
        n
        for i, n in enumerate(lines)
        if not _on_tensors(n, target)
        and (not _is_known(n, weights, lines) or _is_step_too_soon(n, weights, lines[i + 1 :]))
    ]
    losses = {name for n in kept for name in _assigned(n) if name.lower() in words.LOSS_NAMES}
    space = vars(target.module)
    if not gradients or not losses:
        return None
    count = sum(np.size(space[w]) for w in weights)
    if count > MAX_WEIGHTS:
        target.remarks.append(
            f"the script has {count:,} weights; with at most {MAX_WEIGHTS:,} it would be checked"
        )
        return None
    node = _function(kept, weights, gradients)
    file = getattr(target.module, "__file__", None) or "<script>"
    exec(compile(ast.Module([node], []), file, "exec"), space)  # their own lines
    made = routine_of(NAME, space.pop(NAME), target)
    if made is None:
        return None
    routine = Routine(NAME, made.function, None, False, made.parameters, node, returned_by(node))
    shapes = {w: Spec("normal", tuple(map(str, np.shape(space[w])))) for w in weights}
    return Script(routine, shapes)


def _straight(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that compute, one step of a training loop among them."""
    for node in body:
        if isinstance(node, ast.For | ast.While) and any(
            words.is_gradient_name(name) for inner in node.body for name in _assigned(inner)
        ):
            yield from _straight(node.body)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.For):
            yield node


def _with_named_steps(lines: list[ast.stmt], target: Target) -> Iterator[ast.stmt]:
    """Yield the statements, steps as W = W - …, before each its gradient if that has no name."""
    names = {words.plain(b) for n in lines for a in _assigned(n) for b in words.gradient_of(a)}
    for node in lines:
        match node:
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Sub() | ast.Add() as op):
                moved = node.value
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.BinOp(ast.Name(id=same), ast.Sub() | ast.Add() as op, moved),
            ) if same == name:
                pass
            case _:
                yield node
                continue
        if not isinstance(target.names.get(name), np.ndarray) or not _is_moved(moved):
            yield node
            continue
        if words.plain(name) not in names:
            sign = "-" if isinstance(op, ast.Add) else ""
            text = f"d{name} = {sign}({ast.unparse(moved)}) / {_rate_in(moved, target)!r}"
            yield _placed(text, node)
        yield _placed(f"{name} = {ast.unparse(ast.BinOp(ast.Name(name), op, moved))}", node)


def _is_moved(step: ast.expr) -> bool:
    """Whether a step has a gradient in it: rate * X.T @ delta."""
    return any(words.says_gradient(name) for name in _used(step))


def _rate_in(step: ast.expr, target: Target) -> float:
    """Return the rate that a step begins or ends with, as the module has it; 1 if there is none."""
    known = {n: target.names.get(n) for n in _used(step)}
    found = [
        float(v)
        for n, v in known.items()
        if isinstance(v, float | int) and n.lower() in {*words.RATES, "alpha"}
    ]
    return found[0] if len(found) == 1 and found[0] else 1.0


def _placed(text: str, node: ast.stmt) -> ast.stmt:
    """Return the statement of a text, at the place of another."""
    made = ast.parse(text).body[0]
    for inner in ast.walk(made):
        ast.copy_location(inner, node)
    return made


def _is_step_too_soon(node: ast.stmt, weights: list[str], later: list[ast.stmt]) -> bool:
    """Whether a step stands before a statement, not a step of the same weight, that uses it."""
    made = _used(node.value) if isinstance(node, ast.Assign) else set()
    names = set(_assigned(node)) & set(weights) & made
    return any(names & _used(n) and not set(_assigned(n)) & names for n in later)


def _assigned(node: ast.stmt) -> list[str]:
    """Return the names that a statement gives a value."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AugAssign) else targets
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)
            and isinstance(n.ctx, ast.Store)]  # fmt: skip


def _used(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _weights(lines: list[ast.stmt], target: Target) -> list[str]:
    """Return the float arrays that nothing else is computed into, and that have a gradient."""
    claimed = {words.plain(b) for n in lines for a in _assigned(n) for b in words.gradient_of(a)}
    found: list[str] = []
    computed = {n for loop in lines if isinstance(loop, ast.For) for n in _written_into(loop)}
    for node in lines:
        for name in _assigned(node) if isinstance(node, ast.Assign) else []:
            value = target.names.get(name)
            if (_used(node.value) & (computed | set(found))) or name in {*found, *computed}:  # type: ignore[attr-defined]
                computed |= {name} - set(found)
            elif isinstance(value, float | np.ndarray) and np.asarray(value).dtype.kind == "f":
                found += [name] if words.plain(name) in claimed else []
    return found


def _gradients(lines: list[ast.stmt], weights: list[str]) -> list[str]:
    """Return the names of the weights' gradients."""
    plain = {words.plain(w) for w in weights}
    names = [a for n in lines if isinstance(n, ast.Assign) for a in _assigned(n)]
    wanted = [a for a in names if any(words.plain(b) in plain for b in words.gradient_of(a))]
    return list(dict.fromkeys(wanted))


def _is_known(node: ast.stmt, weights: list[str], lines: list[ast.stmt]) -> bool:
    """Whether a statement makes or moves a weight, or ran when the file was loaded."""
    names = set(_assigned(node))
    if names & set(weights):
        return True
    filled = {name for loop in lines if isinstance(loop, ast.For) for name in _written_into(loop)}
    if isinstance(node, ast.For) or names & filled:  # a loop that makes data is run each time
        return False
    return isinstance(node, ast.Assign) and not _depends(node, weights, lines)


def _on_tensors(node: ast.stmt, target: Target) -> bool:
    """Whether a statement makes or uses tensors of a framework: a comparison with autograd."""
    values = (target.names.get(name) for name in {*_assigned(node), *_used(node)})
    roots = {type(v).__module__.partition(".")[0] for v in values}
    return bool(roots & {"torch", "jax", "jaxlib"})


def _written_into(node: ast.stmt) -> list[str]:
    """Return the arrays whose entries a loop sets, as X in X[i] = row."""
    return [n.value.id for n in ast.walk(node) if isinstance(n, ast.Subscript)
            and isinstance(n.ctx, ast.Store) and isinstance(n.value, ast.Name)]  # fmt: skip


def _depends(node: ast.stmt, weights: list[str], lines: list[ast.stmt]) -> bool:
    moved = set(weights)
    for other in lines:
        if _used(other) & moved and not set(_assigned(other)) & set(weights):
            moved |= set(_assigned(other))
        if other is node:
            return bool(_used(node) & moved)
    return False


def _function(kept: list[ast.stmt], weights: list[str], gradients: list[str]) -> ast.FunctionDef:
    arguments = ast.arguments([], [ast.arg(w) for w in weights], None, [], [], None, [])
    found = ast.Dict(
        [ast.Constant(g) for g in gradients], [ast.Name(g, ast.Load()) for g in gradients]
    )
    node = ast.FunctionDef(NAME, arguments, [*kept, ast.Return(found)], [], None, None)
    node.lineno, node.end_lineno = kept[0].lineno, max(n.end_lineno or n.lineno for n in kept)
    node.col_offset = node.end_col_offset = 0
    return ast.fix_missing_locations(node)
