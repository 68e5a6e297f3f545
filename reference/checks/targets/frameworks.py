"""Custom gradients inside the frameworks: torch.autograd.Function and jax.custom_vjp."""

import sys
from collections.abc import Mapping
from functools import cache as once
from typing import Any

import numpy as np

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray
from reference.checks.targets.forms import Found, Given, Kind, accepted, match
from reference.checks.targets.writing import Layout, layout_of, order_of
from reference.oracles.jax_x64 import double_precision

_NAMES = {
    "activation": ("layers.0.z",),
    "dense": ("x", "layers.0.weight", "layers.0.bias"),
    "loss": ("layers.0.a",),
}


def recognise(
    names: Mapping[str, Any], like: str | None, accepts: Mapping[str, Any]
) -> list[Found]:
    """Return the custom functions of a module. A framework it did not import has none there."""
    found: list[Found] = []
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    for name, thing in names.items():
        is_torch = (
            torch is not None
            and isinstance(thing, type)
            and issubclass(thing, torch.autograd.Function)
            and thing is not torch.autograd.Function
        )
        is_jax = jax is not None and isinstance(thing, jax.custom_vjp)
        if not (is_torch or is_jax):
            continue
        matched = match(name, like or getattr(thing, "like", None))
        if matched is None:
            continue
        kind, operation, how = matched
        form = "torch.autograd.Function" if is_torch else "jax.custom_vjp"
        run = _torch(thing, kind) if is_torch else _jax(thing, kind)
        found.append(Found(form, name, kind, operation, how, run, {}, accepts))
    return found


def parts_of(names: Mapping[str, Any]) -> set[int]:
    """Return the ids of JAX's custom functions and of the functions that they are made of."""
    jax = sys.modules.get("jax")
    found = [t for t in names.values() if jax is not None and isinstance(t, jax.custom_vjp)]
    return {id(part) for t in found for part in (t, t.fwd, t.bwd)}


def _torch(function: Any, kind: Kind) -> Any:
    import torch

    # The older style takes the context first, the newer one sets it up elsewhere.
    apart = function.setup_context is not torch.autograd.Function.setup_context
    count = len(accepted(function.forward)) - (not apart)
    order = order_of(function.forward)

    @once
    def layout() -> Layout:
        def call(*given: Any) -> Any:
            if len(given) > count:
                raise TypeError("it has no bias")
            return function.apply(*map(torch.tensor, given)).numpy()

        return layout_of(call)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        kept = layout() if kind == "dense" else Layout()
        inputs = kept.inputs(problem) if kind == "dense" else [problem.x]
        leaves = [torch.tensor(a, requires_grad=True) for a in inputs]
        if kind == "loss":
            out = function.apply(*order.put(leaves[0], torch.tensor(problem.targets)))
        else:
            out = function.apply(*leaves)
        seed = torch.ones_like(out) if kind == "loss" else torch.tensor(kept.samples(cotangent))
        gradients = torch.autograd.grad(out, leaves, seed, allow_unused=True)
        named = {
            n: g.numpy() for n, g in zip(_NAMES[kind], gradients, strict=False) if g is not None
        }
        found = out.detach().numpy()
        if kind != "dense":
            return Given(found, named, order.notes if kind == "loss" else ())
        return Given(kept.output(problem, found), kept.ours(named), kept.notes, kept.without)

    return run


def _jax(function: Any, kind: Kind) -> Any:
    order = order_of(function)

    @once
    def layout() -> Layout:
        return layout_of(function)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        import jax

        with double_precision():
            kept = layout() if kind == "dense" else Layout()
            if kind == "loss":
                out, pull = jax.vjp(lambda y: function(*order.put(y, problem.targets)), problem.x)
                seed = np.ones(np.shape(out), problem.dtype)
            else:
                inputs = kept.inputs(problem) if kind == "dense" else [problem.x]
                out, pull = jax.vjp(function, *inputs)
                seed = kept.samples(cotangent)
            gradients = pull(jax.numpy.asarray(seed))
            named = {n: np.asarray(g) for n, g in zip(_NAMES[kind], gradients, strict=False)}
            if kind != "dense":
                return Given(np.asarray(out), named, order.notes if kind == "loss" else ())
            found = kept.output(problem, np.asarray(out))
            return Given(found, kept.ours(named), kept.notes, kept.without)

    return run
