"""JAX at second order, in two ways: forward over reverse, and reverse over reverse.

Small networks go through padded programs as in `jax_grad`, larger ones operation by operation.
Reverse over reverse has no tangents of its own; they are what the cotangents of the steps do to
⟨gradient, direction⟩, found by a `tap` at each step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from manual_backprop.graph import Graph
from manual_backprop.network import Problem
from reference.oracles import Answer
from reference.oracles.jax_grad import JaxGrad, arguments_of, loss_function
from reference.oracles.jax_graph import graph_loss, zero_probes
from reference.problems import DirectedProblem

Tree = dict[str, Any]


class JaxForward(JaxGrad):
    """Forward over reverse: `jax.jvp` of `jax.grad`."""

    name = "jax_forward"

    def _padding(self) -> tuple[Any, Sequence[Any]]:
        from reference.oracles.jax_padded import SIZES
        from reference.oracles.jax_padded_second import ForwardProgram

        return ForwardProgram, SIZES[:1]

    def _of_graph(self, graph: Graph) -> Callable[..., Any]:
        return forward_over_reverse(graph)

    def _alone(self, problem: Problem) -> Answer:
        assert isinstance(problem, DirectedProblem)
        import jax

        inputs, probes, data = arguments_of(problem)
        loss, *numbers = jax.device_get(self._second(problem, inputs, probes, data))
        first, values, tangents, second = ({k: np.asarray(v) for k, v in part.items()}
                                           for part in numbers)  # fmt: skip
        return Answer(
            self.name, np.asarray(loss), first, values=values, tangents=tangents, products=second
        )

    def _second(self, problem: DirectedProblem, inputs: Tree, probes: Tree, data: Tree) -> Any:
        import jax

        gradient = jax.grad(loss_function(problem), argnums=(0, 1), has_aux=True)
        direction = {name: problem.direction[name] for name in inputs}
        primal, tangent = jax.jvp(
            lambda inputs, probes: gradient(inputs, probes, data),
            (inputs, probes),
            (direction, probes),  # the probes are zeros, and do not move
        )
        (first, (loss, values)), (second, (_, tangents)) = primal, tangent
        return loss, {**first[0], **first[1]}, values, tangents, {**second[0], **second[1]}


class JaxReverse(JaxForward):
    """Reverse over reverse: `jax.grad` of ⟨`jax.grad`, direction⟩."""

    name = "jax_reverse"

    def _padding(self) -> tuple[Any, Sequence[Any]]:
        from reference.oracles.jax_padded import SIZES
        from reference.oracles.jax_padded_second import ReverseProgram

        return ReverseProgram, SIZES[:1]

    def _of_graph(self, graph: Graph) -> Callable[..., Any]:
        return reverse_over_reverse(graph)

    def _second(self, problem: DirectedProblem, inputs: Tree, probes: Tree, data: Tree) -> Any:
        import jax

        gradient = jax.grad(loss_function(problem), argnums=(0, 1), has_aux=True)
        along = along_direction({name: problem.direction[name] for name in inputs})

        def inner(inputs: Tree, probes: Tree, taps: Tree) -> Any:
            first, aux = gradient(inputs, probes, {**data, "taps": taps})
            return along(first[0]), (first, aux)

        second, (first, (loss, values)) = jax.grad(inner, argnums=(0, 1, 2), has_aux=True)(
            inputs, probes, probes
        )
        return loss, {**first[0], **first[1]}, values, second[2], {**second[0], **second[1]}


def forward_over_reverse(graph: Graph) -> Callable[..., Any]:
    """Return f(floats, others, cotangents, direction) -> the parts of an answer, for a graph."""
    import jax
    import jax.numpy as jnp

    def answer(floats: Any, others: Any, cotangents: Any, direction: Any) -> Any:
        probes = zero_probes(graph, floats, others, cotangents)
        gradient = jax.value_and_grad(graph_loss(graph), argnums=(0, 1), has_aux=True)
        still = {name: jnp.zeros_like(probe) for name, probe in probes.items()}
        primal, tangent = jax.jvp(
            lambda floats, probes: gradient(floats, probes, others, cotangents, {}),
            (floats, probes),
            (direction, still),
        )
        ((loss, made), first), ((_, tangents), second) = primal, tangent
        return loss, {**first[1], **first[0]}, made, tangents, {**second[1], **second[0]}

    return answer


def reverse_over_reverse(graph: Graph) -> Callable[..., Any]:
    """Return the same by `jax.grad` of ⟨`jax.grad`, direction⟩."""
    import jax

    def answer(floats: Any, others: Any, cotangents: Any, direction: Any) -> Any:
        probes = zero_probes(graph, floats, others, cotangents)
        gradient = jax.value_and_grad(graph_loss(graph), argnums=(0, 1), has_aux=True)
        along = along_direction(direction)

        def inner(floats: Any, probes: Any, taps: Any) -> Any:
            (loss, made), first = gradient(floats, probes, others, cotangents, taps)
            return along(first[0]), (loss, made, first)

        second, (loss, made, first) = jax.grad(inner, argnums=(0, 1, 2), has_aux=True)(
            floats, probes, probes
        )
        return loss, {**first[1], **first[0]}, made, second[2], {**second[1], **second[0]}

    return answer


def along_direction(direction: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Return f(gradient) -> ⟨gradient, direction⟩, over the names of the direction."""

    def along(gradient: Mapping[str, Any]) -> Any:
        total: Any = 0
        for name, tangent in direction.items():
            total = total + (gradient[name] * tangent).sum()
        return total

    return along
