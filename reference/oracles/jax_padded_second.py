"""The padded JAX programs of second order; see `jax_padded` and `jax_second`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from manual_backprop.network import Problem
from reference.oracles.jax_padded import PaddedProgram, Tree
from reference.oracles.jax_second import along_direction
from reference.problems import DirectedProblem

_MOVED = ("x", "weight", "bias")


class ForwardProgram(PaddedProgram):
    """Forward over reverse of many networks."""

    def _packed(self, problems: Sequence[Problem], divisors: Sequence[Any]) -> Tree:
        block = super()._packed(problems, divisors)
        block |= {f"direction.{name}": block[name] * 0 for name in _MOVED}
        for k, problem in enumerate(problems):
            assert isinstance(problem, DirectedProblem)
            widths, direction = problem.network.widths, problem.direction
            block["direction.x"][k, : problem.batch, : widths[0]] = direction["x"]
            for i, layer in enumerate(problem.network.layers):
                weight = direction[f"layers.{i}.weight"]
                block["direction.weight"][k, i, : widths[i], : layer.width] = weight
                if layer.bias:
                    bias = direction[f"layers.{i}.bias"]
                    block["direction.bias"][k, i, : layer.width] = bias
        return block

    def _answer(self, loss: Callable[..., Any]) -> Callable[[Tree, Tree], Tree]:
        gradient = jax.value_and_grad(loss, has_aux=True)

        def answer(differentiated: Tree, data: Tree) -> Tree:
            direction = {name: data[f"direction.{name}"] for name in _MOVED}
            direction |= {name: differentiated[name] for name in "za"}  # zeros: they do not move
            primal, tangent = jax.jvp(
                lambda given: gradient(given, data), (differentiated,), (direction,)
            )
            ((total, (losses, z, a)), first), ((_, (_, tz, ta)), second) = primal, tangent
            return _named(total, losses, (z, a), first, (tz, ta), second)

        return answer


class ReverseProgram(ForwardProgram):
    """Reverse over reverse of many networks."""

    switch_order = 2

    def _answer(self, loss: Callable[..., Any]) -> Callable[[Tree, Tree], Tree]:
        gradient = jax.value_and_grad(loss, has_aux=True)

        def answer(differentiated: Tree, data: Tree) -> Tree:
            along = along_direction({name: data[f"direction.{name}"] for name in _MOVED})

            def inner(given: Tree, taps: Tree) -> Any:
                found, first = gradient(given, {**data, **taps})
                return along(first), (found, first)

            taps = {f"tap.{name}": jnp.zeros_like(differentiated[name]) for name in "za"}
            (second, moved), (found, first) = jax.grad(inner, argnums=(0, 1), has_aux=True)(
                differentiated, taps
            )
            total, (losses, *values) = found
            return _named(total, losses, values, first, (moved["tap.z"], moved["tap.a"]), second)

        return answer


def _named(
    total: Any, losses: Any, values: Sequence[Any], first: Tree, moved: Sequence[Any], second: Tree
) -> Tree:
    """Return the arrays of an answer under the names that `jax_padded` cuts them out by."""
    return {
        "total": total,
        "losses": losses,
        **first,
        **{f"values.{step}": value for step, value in zip("za", values, strict=True)},
        **{f"tangents.{step}": tangent for step, tangent in zip("za", moved, strict=True)},
        **{f"products.{name}": product for name, product in second.items()},
    }
