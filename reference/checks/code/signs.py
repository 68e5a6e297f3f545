"""What the name and the source of a function show: a gradient and of what, a loss, a step."""

import ast
import inspect
import re
from collections.abc import Callable, Collection

import numpy as np

from reference.checks.code import vocabulary as words
from reference.checks.code.routine import NameTree, NumericValue, Routine


def names_in(tree: NameTree) -> list[str]:
    """Return all names in a return statement."""
    if isinstance(tree, str):
        return [tree]
    parts = tree if isinstance(tree, tuple) else (tree.values() if isinstance(tree, dict) else ())
    return [n for t in parts for n in names_in(t)]


def gradient_names(tree: NameTree) -> list[str]:
    """Return the names in a return statement that are gradients' (not `data`, `delta_t`)."""
    if isinstance(tree, str):
        return [tree] if _returned_gradient(tree) else []
    if isinstance(tree, tuple):
        found = [n for t in tree for n in gradient_names(t)]
        a_loss = any(isinstance(t, str) and t.lower() in ("loss", "cost", "j") for t in tree)
        # (loss, {"W1": …}): gradients by the names of what they are of
        return found or [str(k) for t in tree if a_loss and isinstance(t, dict) for k in t]
    if isinstance(tree, dict):
        inner = [n for t in tree.values() for n in gradient_names(t)]
        return inner + [str(k) for k in tree if words.is_gradient_name(str(k)) and not inner]
    return []


def _returned_gradient(name: str) -> bool:
    if words.plain(name) in ("grads", "grad", "gradients", "gradient", "dx", "dout", "nabla"):
        return True
    return words.is_gradient_name(name)


def gradient_variables(routine: Routine) -> list[str]:
    """Return a function's variables that are gradients of other variables of it: dW beside W."""
    code = getattr(routine.function, "__code__", None)
    if code is None:
        return []
    known = {words.plain(n) for n in (*code.co_varnames, *code.co_names)}
    found = [
        n
        for n in code.co_varnames[code.co_argcount :]
        if n not in ("dt", "ds", "di")
        and any(words.plain(b) in known for b in words.gradient_of(n))
    ]
    returned = routine.returned if isinstance(routine.returned, tuple) else ()
    a_loss = any(isinstance(t, str) and t.lower() in ("loss", "cost", "j", "nll") for t in returned)
    unnamed = any(t is None for t in returned)
    return found or (["loss"] if a_loss and unnamed else []) or _turned_into_gradients(routine)


def _turned_into_gradients(routine: Routine) -> list[str]:
    """Return the returned variables that a step of backward is written into: p[rows, y] -= 1."""
    if routine.node is None or not isinstance(routine.returned, tuple):
        return []
    written = {
        ast.unparse(n.target.value)
        for n in ast.walk(routine.node)
        if isinstance(n, ast.AugAssign)
        and isinstance(n.op, ast.Sub)
        and isinstance(n.target, ast.Subscript)
    }
    return [n for n in names_in(routine.returned) if n in written]


def has_target(routine: Routine) -> bool:
    """Whether it has to be given targets."""
    return any(words.is_target(a) for a in routine.required)


def updates(routine: Routine) -> bool:
    """Whether its source writes a step into the weights: self.W -= lr * dW."""
    if routine.node is None:
        return False
    return any(
        isinstance(n, ast.AugAssign)
        and isinstance(n.op, ast.Sub | ast.Add)
        and isinstance(n.target, ast.Attribute | ast.Subscript)
        and ast.unparse(n.target).startswith("self.")
        for n in ast.walk(routine.node)
    )


_LOSSES = frozenset("loss cost error objective mse entropy nll".split())


def is_loss(routine: Routine) -> bool:
    """Whether it is called like a loss, of several arguments."""
    return bool(_LOSSES & set(words.words(routine.short))) and 1 < len(routine.required) < 6


def names_an_objective(routine: Routine) -> bool:
    """Whether its name says that it is minimised; mse and error may only be printed."""
    return bool({"loss", "cost", "objective"} & set(words.words(routine.short)))


_OF_A_COUNT = re.compile(
    r"(/=?) \(?(float\()?(len\(|[\w.]+\.(shape|size)\b|"
    r"(self\.)?(n|m|bs|n_?samples|m_?samples|num_\w+|(mini_?)?batch(_?size)?)\b)",
    re.I,
)


def averages_later(tree: ast.Module, before: Collection[str]) -> bool:
    """Whether gradients or a rate are divided by a count outside the functions of some names."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef) and node.name in before:
            continue
        if isinstance(node, ast.Assign | ast.AugAssign) and _OF_A_COUNT.search(ast.unparse(node)):
            names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
            names += [n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)]
            if any(words.is_gradient_name(n) or n.lower() in words.RATES for n in names):
                return True
        nodes += ast.iter_child_nodes(node)
    return False


def is_slope_of_a_cost(routine: Routine) -> bool:
    """Whether this is like cost_derivative(a, y): no forward without a target is that cost."""
    return has_target(routine) and bool({"cost", "loss"} & set(words.words(routine.short)))


def is_no_backward(routine: Routine) -> bool:
    """Whether it handles gradients that others made: zero_grad, clip_grads, params_and_grads."""
    found = set(words.words(routine.short))
    if "save" in found:
        return True
    if found & {"backward", "backprop", "back", "bwd", "prime", "derivative"}:
        return False
    return bool(found & _HANDLERS)


_HANDLERS = frozenset(
    "zero clip reset params parameters get set check numerical numeric apply print plot accumulate "
    "optimize optimise minimize descent norm".split()
)


_STEPPERS = frozenset("adam sgd rmsprop adagrad optimizer optimiser momentum nesterov".split())


_OPTIMISER = _STEPPERS | frozenset(
    "update zero clip check numerical numeric approx finite optimize optimise minimize descent "
    "model params".split()
)


def is_optimiser(routine: Routine) -> bool:
    """Whether it steps, clips, zeroes or checks gradients, and is none itself."""
    found = set(words.words(routine.short))
    owner = set(words.words(routine.owner.__name__)) if routine.owner is not None else set()
    if owner & _STEPPERS and not found & {"backward", "backprop"}:
        return True
    if found & _OPTIMISER or {"gradient", "descent"} <= found or {"grad", "descent"} <= found:
        return True
    return "gradcheck" in routine.short.lower().replace("_", "")


def sigmoid(x: NumericValue) -> object:
    """Return 1 / (1 + exp(−x))."""
    return 1 / (1 + np.exp(-x))


def _meant(name: str, function: Callable[..., object]) -> Routine:
    parameters = tuple(inspect.signature(function).parameters.values())
    return Routine(f"{name}, which is not in the file", function, parameters=parameters)


_MEANT = {
    "sigmoid": _meant("sigmoid", sigmoid),
    "relu": _meant("relu", lambda x: np.maximum(x, 0)),
    "tanh": _meant("tanh", lambda x: np.tanh(x)),
}
"""What a slope is of where its file holds no such function: tanh_derivative alone."""


def rest_of(name: str) -> str:
    """Return a gradient's name without the words that say that it is one: conv_backward -> conv."""
    kept = (w for w in words.words(name) if w not in words.GRADIENT and w not in words.FILLER)
    return "".join(kept)


def _is_slope_by_name(bare: str, forward: str) -> bool:
    """Whether a name is dtanh, tanhprime or tanhd, of tanh."""
    return bare in (f"d{forward}", f"{forward}prime", f"{forward}d", "df" if forward == "f" else "")


def partners_of(routine: Routine, forwards: list[Routine]) -> list[Routine]:
    """Return the forwards that a gradient may belong to: of its stem, of its arguments."""
    rest = rest_of(routine.short)
    exact = [f for f in forwards if rest and words.plain(f.short) == rest]
    if exact:
        return exact
    stem, bare = words.stem_of(routine.short), words.plain(routine.short)
    same = [f for f in forwards if stem and words.stem_of(f.short) == stem]
    same += [f for f in forwards if f not in same and _is_slope_by_name(bare, words.plain(f.short))]
    wants_cache = any("cache" in a.lower() for a in routine.arguments)
    if same and (not wants_cache or any(isinstance(f.returned, tuple) for f in same)):
        return sorted(same, key=lambda f: _distance(f, routine))
    close = [f for f in forwards if stem and set(words.stem_of(f.short)) & set(stem)]
    arguments = [f for f in forwards if f.arguments and f.required == routine.required]
    generic = [
        f for f in forwards if not words.stem_of(f.short) or _RUNS & set(words.words(f.short))
    ]
    ordered = list({id(f): f for f in [*arguments, *close, *generic]}.values())
    ordered.sort(
        key=lambda f: (
            f not in arguments,
            wants_cache and not isinstance(f.returned, tuple),
            -_overlap(f, routine),
        )
    )
    if is_slope_of_a_cost(routine):
        ordered = [f for f in ordered if has_target(f)]
    related = [f for f in ordered if f in arguments or _overlap(f, routine)]
    if not related and len(routine.required) == 1 and "".join(stem) in _MEANT:
        return [_MEANT["".join(stem)]]
    return (related or ordered)[:4]


def _overlap(forward: Routine, backward: Routine) -> int:
    """Count what a backward takes that a forward takes, keeps or returns under the same name."""
    code = getattr(forward.function, "__code__", None)
    made = {*forward.arguments, *(code.co_varnames if code else ()), *names_in(forward.returned)}
    return len({words.plain(m) for m in made} & {words.plain(a) for a in backward.arguments})


_RUNS = frozenset("forward feedforward fwd call fprop predict".split())


def _distance(forward: Routine, backward: Routine) -> int:
    """Count the words that differ: conv_forward_naive comes before conv_forward_fast."""
    a, b = set(words.words(forward.short)), set(words.words(backward.short))
    return len(a ^ b)
