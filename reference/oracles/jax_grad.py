"""JAX's grad as an oracle: one compiled padded program for small networks, else one per network.

Compiling `jit(grad)` costs about 300 ms for each new network, a thousand times its run. So what
fits goes through the program of `jax_padded`, compiled once for each (dtype, size); the rest is
compiled by itself. Both are JAX's derivative of JAX's functions and agree to rounding.

The process's own JAX settings are not touched: 64-bit numbers are switched on inside the oracle
only. (Without them JAX silently makes float64 into float32.)
"""

import importlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Graph
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from reference.oracles import Answer, by_kind, skipped
from reference.oracles.counterparts import resolve
from reference.oracles.jax_graph import GraphPrograms, first_order
from reference.oracles.jax_x64 import double_precision
from reference.problems import AnyProblem, computed_in

_KEPT = 64  # compiled networks kept for more values of the same structure


class JaxGrad:
    """Differentiates the same network, built of JAX's own functions.

    With `padded=False` every network is compiled alone: for comparison, and what a program of a
    fixed size cannot hold goes there in any case. With `compiled=False` that route runs JAX op by
    op, which for a network met once is several times faster than compiling it.
    """

    name = "jax"
    graphs = True

    def __init__(self, *, padded: bool = True, compiled: bool = True) -> None:
        self.padded = padded
        self.compiled = compiled
        self._graphs = GraphPrograms(self.name, self._of_graph)
        self._programs: dict[Any, Any] = {}
        self._networks: OrderedDict[Any, tuple[Any, Callable[..., Any]]] = OrderedDict()

    def unavailable(self) -> str | None:
        """Return why JAX cannot answer here, or None."""
        try:
            importlib.import_module("jax")
        except ImportError as error:
            missing = error.name in ("jax", "jaxlib")
            return f"{error.name} is not installed" if missing else f"jax: {error}"
        return None

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer one problem, by the same route and with the same bits as in a block."""
        return self.answers([problem])[0]

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block of problems, in order."""
        reason = self.unavailable()
        if reason is not None:
            return [skipped(self.name, reason) for _ in problems]
        with double_precision():
            return by_kind(problems, self._answers, self._graphs.answers)

    def _answers(self, problems: Sequence[Problem]) -> list[Answer]:
        if not self.padded:
            return [self._alone(problem) for problem in problems]
        answers: list[Answer | None] = [None] * len(problems)
        places: dict[int, tuple[Any, list[int]]] = {}
        operations = registered()
        for place, problem in enumerate(problems):
            program = self._program(problem, operations)
            if program is None:
                answers[place] = self._alone(problem)
            else:
                places.setdefault(id(program), (program, []))[1].append(place)
        programs = list(places.values())
        # Two workers that begin at different ends compile one program each, and find the other's
        # in the cache. What is computed does not depend on the order.
        for program, all_of_it in programs[:: 1 if os.getpid() % 2 else -1]:
            for start in range(0, len(all_of_it), program.size.block):
                part = all_of_it[start : start + program.size.block]
                block = [problems[place] for place in part]
                found = program.run(block, [divisor(problem) for problem in block])
                for place, (loss, numbers) in zip(part, found, strict=True):
                    answers[place] = Answer(self.name, loss, **numbers)
        return [answer for answer in answers if answer is not None]

    def _program(self, problem: Problem, operations: tuple[int, ...]) -> Any:
        """Return the smallest program of these operations that holds the problem, or None."""
        program, sizes = self._padding()
        for size in sizes:
            key = (problem.dtype, size, operations)
            if key not in self._programs:
                self._programs[key] = program(problem.dtype, size)
            if self._programs[key].holds(problem):
                return self._programs[key]
        return None

    def _of_graph(self, graph: Graph) -> Callable[..., Any]:
        """Return what is compiled for a graph."""
        return first_order(graph)

    def _padding(self) -> tuple[Any, Sequence[Any]]:
        """Return the class of the padded program, and the sizes to try."""
        from reference.oracles.jax_padded import SIZES, PaddedProgram

        return PaddedProgram, SIZES

    def _alone(self, problem: Problem) -> Answer:
        """Answer by a function of this network alone."""
        import jax

        inputs, probes, data = arguments_of(problem)
        found = self._function(problem)(inputs, probes, data)
        gradients, (loss, values) = jax.device_get(found)
        cotangents = {**gradients[0], **gradients[1]}
        return Answer(self.name, np.asarray(loss), cotangents, values=values)

    def _function(self, problem: Problem) -> Callable[..., Any]:
        """Return the gradient function of a structure, compiled only if it is new."""
        import jax

        network = problem.network
        operations = (network.loss_operation, *(layer.operation for layer in network.layers))
        # The operations by identity: one that is registered again under its name is another.
        key = (repr(network), *map(id, operations))
        if key not in self._networks:
            function = jax.grad(loss_function(problem), argnums=(0, 1), has_aux=True)
            self._networks[key] = operations, jax.jit(function) if self.compiled else function
            if len(self._networks) > _KEPT:
                self._networks.popitem(last=False)
        return self._networks[key][1]


def arguments_of(problem: Problem) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what `loss_function` is called with: inputs, probes of zeros, data."""
    names, batch = problem.network.step_names(), problem.batch
    widths = [layer.width for layer in problem.network.layers for _ in "za"]
    probes = {n: np.zeros((batch, w), problem.dtype) for n, w in zip(names, widths, strict=True)}
    data = {
        "targets": problem.targets,
        "weights": problem.weights,
        "arrays": dict(problem.arrays),
        "divisor": divisor(problem),
    }
    return {"x": problem.x, **problem.parameters}, probes, data


def registered() -> tuple[int, ...]:
    """Return the operations by identity: one registered again under its name is another one."""
    return tuple(map(id, (*ACTIVATIONS.values(), *LOSSES.values())))


def divisor(problem: Problem) -> Any:
    """Return what the weighted sum of the losses is divided by, in the problem's dtype.

    It depends on shapes, labels and class weights alone, and JAX has none of its own; torch's
    reductions and the certificate's own count check it.
    """
    operation, one = problem.network.loss_operation, problem.dtype.type(1)
    if problem.network.reduction == "batch_mean":
        return problem.dtype.type(problem.batch)
    if problem.network.reduction != "mean":
        return one
    shape = (problem.batch, problem.network.widths[-1])
    inside = computed_in(problem)
    losses = np.broadcast_to(inside.dtype.type(1), shape if operation.elementwise else shape[:1])
    count = operation.count(losses, inside.targets, **inside.loss_arguments())
    return problem.dtype.type(count)


def loss_function(problem: Problem) -> Callable[..., Any]:
    """Return f(inputs, probes, data) -> (Σ w L / divisor, (loss, every step's value)).

    A probe is a zero added at a step: the derivative by it is the cotangent of the step.
    """
    from reference.oracles.jax_padded import tap

    network, operation = problem.network, problem.network.loss_operation
    dense = resolve(LAYERS["dense"], "jax")

    def function(
        inputs: Mapping[str, Any], probes: Mapping[str, Any], data: Mapping[str, Any]
    ) -> tuple[Any, tuple[Any, Mapping[str, Any]]]:
        def tapped(value: Any, step: str) -> Any:
            return tap(value, data["taps"][step]) if "taps" in data else value

        a = inputs["x"]
        values = {}
        for i, layer in enumerate(network.layers):
            name = f"layers.{i}"
            z = dense(a, inputs[f"{name}.weight"], inputs.get(f"{name}.bias"))
            z = tapped(z + probes[f"{name}.z"], f"{name}.z")
            a = resolve(layer.operation, "jax")(z, **layer.parameters) + probes[f"{name}.a"]
            a = tapped(a, f"{name}.a")
            values[f"{name}.z"], values[f"{name}.a"] = z, a
        losses = resolve(operation, "jax")(
            a, data["targets"], **network.loss_parameters, **data["arrays"]
        )
        weights = data["weights"]
        if weights is not None:
            losses = losses * (weights[:, None] if operation.elementwise else weights)
        total = losses.sum() / data["divisor"]
        # What is differentiated is shown: a wrong divisor shows in losses that are not reduced too.
        return total, (losses / data["divisor"] if network.reduction == "none" else total, values)

    return function
