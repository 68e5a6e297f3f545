"""JAX's grad as an oracle: one compiled padded program for small networks, else one per network.

Compiling `jit(grad)` takes about 300 ms for each new network, a thousand times as long as running
it. So networks that fit use the program of `jax_padded`, which is compiled once for each dtype and
size; each of the others is compiled by itself. Both are JAX's derivative of JAX's functions, and
agree to rounding.

JAX's settings of the process do not change: 64-bit numbers are enabled only inside the oracle.
(Without them JAX silently converts float64 to float32.)
"""

import importlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import GraphProblem
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, loss_divisor
from manual_backprop.operation import ByName
from reference.oracles import Answer, by_kind, skipped
from reference.oracles.counterparts import resolve
from reference.oracles.forwards import chain
from reference.oracles.jax_derivatives import (
    PARTS,
    Derivative,
    Found,
    LossResult,
    Tree,
    first_order,
    probed,
)
from reference.oracles.jax_graph import GraphPrograms
from reference.oracles.jax_x64 import double_precision
from reference.problems import AnyProblem, DirectedProblem, computed_in

if TYPE_CHECKING:
    from reference.oracles.jax_padded import PaddedProgram

_KEPT = 64  # compiled networks kept for more values of the same structure


class JaxGrad:
    """Differentiates the same network, built of JAX's own functions.

    With `padded=False` every network is compiled by itself, as networks are that do not fit a
    padded program. With `compiled=False` these networks are not compiled; for a network that is
    used once this is several times faster.
    """

    name = "jax"
    graphs = True
    derivative: Derivative = staticmethod(first_order)
    sizes = 3
    """How many of the padded program's sizes are tried."""
    switch_order = 1

    def __init__(self, *, padded: bool = True, compiled: bool = True) -> None:
        self.padded = padded
        self.compiled = compiled
        self._graphs = GraphPrograms(self.name, self.derivative)
        self._networks: OrderedDict[object, tuple[object, Callable[..., Found]]] = OrderedDict()

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

    def stepwise(self, problems: Sequence[GraphProblem]) -> list[Answer]:
        """Answer graphs by programs in which each operation is compiled by itself."""
        with double_precision():
            return self._graphs.answers(problems, fused=False)

    def _answers(self, problems: Sequence[Problem]) -> list[Answer]:
        if not self.padded:
            return [self._alone(problem) for problem in problems]
        answers: list[Answer | None] = [None] * len(problems)
        places: dict[int, tuple[PaddedProgram, list[int]]] = {}
        operations = registered()
        for place, problem in enumerate(problems):
            program = self._program(problem, operations)
            if program is None:
                answers[place] = self._alone(problem)
            else:
                places.setdefault(id(program), (program, []))[1].append(place)
        programs = list(places.values())
        # Two workers that begin at different ends each compile one program and read the other from
        # the cache. The results do not depend on the order.
        for program, its_places in programs[:: 1 if os.getpid() % 2 else -1]:
            for start in range(0, len(its_places), program.size.block):
                part = its_places[start : start + program.size.block]
                block = [problems[place] for place in part]
                found = program.run(block, [divisor(problem) for problem in block])
                for place, (loss, numbers) in zip(part, found, strict=True):
                    answers[place] = Answer(self.name, loss, **numbers)
        return [answer for answer in answers if answer is not None]

    def _program(self, problem: Problem, operations: tuple[int, ...]) -> "PaddedProgram | None":
        """Return the smallest program of these operations that holds the problem, or None."""
        from reference.oracles.jax_padded import SIZES, padded_program

        for size in SIZES[: self.sizes]:
            program = padded_program(
                problem.dtype, size, self.derivative, self.switch_order, operations
            )
            if program.holds(problem):
                return program
        return None

    def _alone(self, problem: Problem) -> Answer:
        """Answer by a function of this network alone."""
        import jax

        inputs, probes, data = arguments_of(problem)
        direction = {}
        if isinstance(problem, DirectedProblem):
            direction = {name: problem.direction[name] for name in inputs}
        found = self._function(problem)(inputs, probes, data, direction)
        loss, *parts = jax.device_get(found)
        arrays = ({k: np.asarray(v) for k, v in part.items()} for part in parts)
        numbers: ByName = dict(zip(PARTS, arrays, strict=False))
        return Answer(self.name, np.asarray(loss), **numbers)

    def _function(self, problem: Problem) -> Callable[..., Found]:
        """Return the gradient function of a structure, compiled only if it is new."""
        import jax

        network = problem.network
        operations = (network.loss_operation, *(layer.operation for layer in network.layers))
        # The operations by identity: one that is registered again under its name is another.
        key = (repr(network), *map(id, operations))
        if key not in self._networks:
            of_data = loss_function(problem)

            def function(inputs: Tree, probes: Tree, data: Tree, direction: Tree) -> Found:
                def loss(inputs: Tree, probes: Tree, taps: Tree) -> LossResult:
                    return of_data(inputs, probes, {**data, "taps": taps})

                return self.derivative(loss, inputs, probes, direction)[1:]

            self._networks[key] = operations, jax.jit(function) if self.compiled else function
            if len(self._networks) > _KEPT:
                self._networks.popitem(last=False)
        return self._networks[key][1]


def arguments_of(problem: Problem) -> tuple[Tree, Tree, Tree]:
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
    """Return the identities of all operations of a program, and of JAX's functions for them.

    They change if an operation is registered again, or if a test replaces one of JAX's functions.
    """
    operations = (*ACTIVATIONS.values(), *LOSSES.values(), LAYERS["dense"])
    return tuple(id(part) for one in operations for part in (one, resolve(one, "jax")))


def divisor(problem: Problem) -> np.floating:
    """Return the divisor of the weighted sum of the losses, in the problem's dtype.

    It depends only on shapes, labels and class weights. JAX has no reductions of its own; torch's
    reductions and the certificate's own count check this one.
    """
    inside, shape = computed_in(problem), (problem.batch, problem.network.widths[-1])
    elementwise = problem.network.loss_operation.elementwise
    losses = np.broadcast_to(inside.dtype.type(1), shape if elementwise else shape[:1])
    return problem.dtype.type(loss_divisor(inside, losses, np.dtype(float)))


def loss_function(problem: Problem) -> Callable[[ByName, ByName, ByName], LossResult]:
    """Return f(inputs, probes, data) -> (Σ w L / divisor, (loss, every step's value)).

    What the probes and the taps in `data` are: see `jax_derivatives`.
    """
    network, operation = problem.network, problem.network.loss_operation
    of_x, apply_loss = chain(network, "jax"), resolve(operation, "jax")

    def function(inputs: ByName, probes: ByName, data: ByName) -> LossResult:
        a, values = of_x(inputs, probed(probes, data.get("taps", {})))
        losses = apply_loss(a, data["targets"], **network.loss_parameters, **data["arrays"])
        weights = data["weights"]
        if weights is not None:
            losses = losses * (weights[:, None] if operation.elementwise else weights)
        total = losses.sum() / data["divisor"]
        # The losses are divided too, so that a wrong divisor is seen also without a reduction.
        return total, (losses / data["divisor"] if network.reduction == "none" else total, values)

    return function
