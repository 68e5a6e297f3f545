"""Plain functions: forward and backward pairs, slopes, and losses that return their gradient."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache as once
from typing import Any

import numpy as np

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray
from reference.checks.targets.forms import (
    COTANGENTS,
    INPUTS,
    OUTPUTS,
    Found,
    Given,
    Kind,
    asked,
    fixed_parameters,
    match,
    name_gradients,
    our,
    required,
)
from reference.checks.targets.writing import Layout, layout_of, order_of

_ENDINGS = ("_backward", "_bwd", "_grad", "_gradient", "_prime", "_derivative", "_deriv", "_vjp")
_FRONTS = ("d_", "grad_", "d")


def recognise(
    names: Mapping[str, Any], like: str | None, accepts: Mapping[str, Any]
) -> list[Found]:
    """Return the pairs and losses among a module's functions."""
    functions = {n: f for n, f in names.items() if callable(f) and not isinstance(f, type)}
    found: list[Found] = []
    used: set[str] = set()
    for name, forward in functions.items():
        partner = _partner(name, functions)
        if partner is None:
            continue
        stem = re.sub(r"_?(forward|fwd)$", "", name)
        matched = match(stem or name, like)
        if matched is None:
            continue
        kind, operation, how = matched
        used |= {name, partner}
        backward = functions[partner]
        found.append(
            _pair(f"{name} with {partner}", kind, operation, how, forward, backward, accepts)
        )
    for name, function in functions.items():
        matched = match(name, like)
        if name in used or matched is None or matched[0] != "loss":
            continue
        if len(required(function)) == 2:
            _, operation, how = matched
            found.append(
                Found("loss with its gradient", name, "loss", operation, how,
                      _loss_function(function), fixed_parameters(operation, function), accepts)
            )  # fmt: skip
    return found


def _partner(name: str, functions: Mapping[str, Any]) -> str | None:
    if name in ("forward", "fwd"):
        return next((p for p in ("backward", "bwd") if p in functions), None)
    stem = re.sub(r"_(forward|fwd)$", "", name)
    if any(stem.endswith(e) for e in _ENDINGS):
        return None
    tried = [stem + e for e in _ENDINGS] + [f + stem for f in _FRONTS]
    return next((t for t in tried if t in functions and t != name), None)


def _pair(
    what: str,
    kind: Kind,
    operation: str,
    how: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    accepts: Mapping[str, Any],
) -> Found:
    fixed = {} if kind == "dense" else fixed_parameters(operation, forward, backward)
    run = {"activation": _activation, "dense": _dense, "loss": _loss_pair}[kind]
    form = "forward and backward pair"
    if kind == "activation" and len(asked(backward)) == 1:
        form = "function with its slope"
    return Found(form, what, kind, operation, how, run(forward, backward), fixed, accepts)


def _activation(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    def run(problem: Problem, cotangent: FloatArray) -> Given:
        x = problem.x
        out, cache = split(forward(x))
        arguments = asked(backward)
        if len(arguments) == 1:
            slope = _slope(backward, arguments[0], x, out)
            if slope.ndim == 3:  # a Jacobian for each row
                return Given(out, {"layers.0.z": np.einsum("nij,ni->nj", slope, cotangent)})
            return Given(out, {"layers.0.z": slope * cotangent})
        # Of two arguments, what stands beside the cotangent is the cache that forward gave,
        # whatever its name: backward(dout, y) must not be handed the right y for a wrong one.
        names = [
            "cache" if a.lower() not in COTANGENTS and k else a for k, a in enumerate(arguments)
        ]
        given = names if cache is not None and len(arguments) == 2 else arguments
        values = [_argument(a, k, x, out, cache, cotangent) for k, a in enumerate(given)]
        return Given(out, name_gradients("activation", backward(*values)))

    return run


def _slope(backward: Callable[..., Any], argument: str, x: FloatArray, out: Any) -> Any:
    return np.asarray(backward(out if argument.lower() in OUTPUTS else x))


def _argument(
    name: str, position: int, x: FloatArray, out: Any, cache: Any, cotangent: FloatArray
) -> Any:
    """Choose what an argument of a backward stands for: by its name, else as (dout, cache)."""
    plain = name.lower()
    if plain in COTANGENTS:
        return cotangent
    if plain in INPUTS:
        return x
    if plain in OUTPUTS:
        return out
    if position == 0:
        return cotangent
    return x if cache is None else cache


def _dense(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    @once
    def layout() -> Layout:
        return layout_of(lambda *given: split(forward(*given))[0])

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        kept = layout()
        inputs, dout = kept.inputs(problem), kept.samples(cotangent)
        out, cache = split(forward(*inputs))
        names = asked(backward)
        if cache is None and len(names) > 2:  # backward(dout, x, w, b)
            values = _by_name(names, inputs, dout)
        else:
            values = [dout, inputs if cache is None else cache]
        named = name_gradients("dense", backward(*values))
        return Given(kept.output(problem, out), kept.ours(named), kept.notes, kept.without)

    return run


def _by_name(names: Sequence[str], inputs: Sequence[FloatArray], dout: FloatArray) -> list[Any]:
    """Return a backward's arguments: by their names, and what has none that tells by its place."""
    known = dict(zip(("x", "layers.0.weight", "layers.0.bias"), inputs, strict=False))
    placed = dict(zip((n for n in names if n.lower() not in COTANGENTS), inputs, strict=False))
    return [dout if n.lower() in COTANGENTS else known.get(our(n), placed.get(n)) for n in names]


def _loss_function(function: Callable[..., Any]) -> Any:
    order = order_of(function)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        value, gradient = function(*order.put(problem.x, problem.targets))
        return Given(value, name_gradients("loss", gradient), order.notes)

    return run


def _loss_pair(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    order, back = order_of(forward), order_of(backward, forward)
    arguments = asked(backward)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        given = order.put(problem.x, problem.targets)
        both = back.put(problem.x, problem.targets)
        out, cache = split(forward(*given))
        if len(arguments) < 2:
            found = backward(*[given if cache is None else cache][: len(arguments)])
        elif arguments[0].lower() in COTANGENTS:
            one = np.ones((), problem.dtype)
            found = backward(one, *(both if len(arguments) > 2 else (cache,)))
        else:
            found = backward(*both)
        return Given(out, name_gradients("loss", found), order.notes)

    return run


def split(returned: Any) -> tuple[Any, Any]:
    """Return (out, cache); the cache is None where only an array came back."""
    if isinstance(returned, tuple) and len(returned) == 2:
        return returned
    return returned, None
