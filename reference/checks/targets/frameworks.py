"""Custom gradients inside the frameworks: torch.autograd.Function and jax.custom_vjp."""

import sys
from collections.abc import Mapping
from functools import cache as once
from typing import Any

import numpy as np

from manual_backprop.network import Problem
from manual_backprop.spec import FloatArray
from reference.checks.targets.forms import Found, Given, Kind, Layout, layout_of, match, required
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


def _inputs(problem: Problem, kind: Kind) -> list[Any]:
    if kind == "dense":
        return [problem.x, problem.parameters["layers.0.weight"],
                problem.parameters["layers.0.bias"]]  # fmt: skip
    return [problem.x]


def _torch(function: Any, kind: Kind) -> Any:
    count = len(required(function.forward)) - 1

    @once
    def layout() -> Layout:
        import torch

        return layout_of(lambda *given: function.apply(*map(torch.tensor, given[:count])).numpy())

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        import torch

        kept = layout() if kind == "dense" else Layout()
        inputs = kept.inputs(_inputs(problem, kind))
        leaves = [torch.tensor(a, requires_grad=True) for a in inputs]
        if kind == "loss":
            out = function.apply(leaves[0], torch.tensor(problem.targets))
        else:
            leaves = leaves[:count] or leaves
            out = function.apply(*leaves)
        seed = torch.ones_like(out) if kind == "loss" else torch.tensor(kept.samples(cotangent))
        gradients = torch.autograd.grad(out, leaves, seed, allow_unused=True)
        named = {
            n: g.numpy() for n, g in zip(_NAMES[kind], gradients, strict=False) if g is not None
        }
        found = kept.samples(out.detach().numpy())
        if kind == "dense" and count == 2:  # no bias: ours changes no other gradient
            found = found + problem.parameters["layers.0.bias"]
        return Given(found, kept.ours(named), kept.notes)

    return run


def _jax(function: Any, kind: Kind) -> Any:
    @once
    def layout() -> Layout:
        return layout_of(function)

    def run(problem: Problem, cotangent: FloatArray) -> Given:
        import jax

        with double_precision():
            kept = layout() if kind == "dense" else Layout()
            if kind == "loss":
                out, pull = jax.vjp(lambda y: function(y, problem.targets), problem.x)
                seed = np.ones(np.shape(out), problem.dtype)
            else:
                out, pull = jax.vjp(function, *kept.inputs(_inputs(problem, kind)))
                seed = kept.samples(cotangent)
            gradients = pull(jax.numpy.asarray(seed))
            named = {n: np.asarray(g) for n, g in zip(_NAMES[kind], gradients, strict=False)}
            return Given(kept.samples(np.asarray(out)), kept.ours(named), kept.notes)

    return run
