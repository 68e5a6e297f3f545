"""The fast step: one plain step is recorded once, then replayed into permanent buffers.

The mathematics stays in the operations and in the two walks of `network`. They run once on traced
arrays. A step is the list of calls that they made, each with its operands and a buffer for its
result. `tape` describes the optimisations.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from manual_backprop.network import Problem, backward, check_problem, forward
from manual_backprop.operation import ByName, FloatArray, Form, InvalidInput
from manual_backprop.second_order import product_along, variables
from manual_backprop.tape import Array, CallTape, Traced, replay


class CompiledStep:
    """One forward and backward walk of a network for one batch size and dtype.

    `step(x, targets)` returns the loss and the gradients, in arrays that belong to the step and
    are overwritten by the next call. `step.inputs` are the step's own x, targets, weights and
    parameters: update them in place, `step.inputs[name] -= rate * step.gradients[name]`. What the
    caller passes is copied into them, unless it is `step.inputs["x"]` itself, filled in place.
    Two threads need two steps: `copy.copy(step)` makes another one with the same inputs.
    """

    def __init__(self, problem: Problem, wanted: tuple[str, ...], form: Form) -> None:
        self._problem, self._wanted, self._form = problem, wanted, form
        tape = CallTape()
        given = {"x": problem.x, "targets": problem.targets, "weights": problem.weights}
        given |= {**problem.arrays, **problem.parameters}
        traced = {n: tape.record(n, v) for n, v in given.items() if v is not None}
        symbolic = _with_inputs(problem, traced)
        trace = forward(symbolic, form)
        found = {"loss": trace.loss, **backward(symbolic, trace)}
        outputs = _traced(tape, {name: found[name] for name in ("loss", *wanted)})
        self._calls, buffers = tape.assemble(list(outputs.values()))
        self.inputs: Mapping[str, Array] = {n: buffers[t.number] for n, t in traced.items()}
        self.loss: FloatArray = buffers[outputs["loss"].number]
        self.gradients: Mapping[str, FloatArray] = {n: buffers[outputs[n].number] for n in wanted}
        self._x, self._targets = self.inputs["x"], self.inputs["targets"]

    def __call__(
        self, x: FloatArray, targets: Array
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """Return the loss and the gradients at x and targets."""
        if x is not self._x:
            _fill("x", self._x, x)
        if targets is not self._targets:
            _fill("targets", self._targets, targets)
        replay(self._calls)
        return self.loss, self.gradients

    def __reduce__(self) -> tuple[object, ...]:
        # A copy or a pickle is traced again: otherwise a view would become a separate array.
        return CompiledStep, (_with_inputs(self._problem, self.inputs), self._wanted, self._form)


class ProductStep:
    """The fast Hessian-vector product of a network, for one batch size and dtype.

    `product(direction)` returns the loss and, for each name of the direction, its part of H v, in
    arrays that the next call overwrites. `product.inputs` are x, the targets, weights, parameters
    and, under "direction of …", the tangents: update them in place as those of a `CompiledStep`.
    """

    def __init__(self, problem: Problem, names: tuple[str, ...]) -> None:
        tape = CallTape()
        given = {"x": problem.x, "targets": problem.targets, "weights": problem.weights}
        given |= {**problem.arrays, **problem.parameters}
        traced = {n: tape.record(n, v) for n, v in given.items() if v is not None}
        known = variables(problem)
        zeros = {n: np.zeros_like(v) for n, v in known.items() if n not in names}
        asked = {n: tape.record(f"direction of {n}", np.zeros_like(known[n])) for n in names}
        direction: ByName = {**zeros, **asked}
        found = product_along(_with_inputs(problem, traced), direction)
        outputs = _traced(tape, {"loss": found.loss, **{n: found.products[n] for n in names}})
        self._calls, buffers = tape.assemble(list(outputs.values()))
        traced |= {f"direction of {n}": t for n, t in asked.items()}
        self.inputs: Mapping[str, Array] = {n: buffers[t.number] for n, t in traced.items()}
        self.loss: FloatArray = buffers[outputs["loss"].number]
        self.products: Mapping[str, FloatArray] = {n: buffers[outputs[n].number] for n in names}

    def __call__(
        self, direction: Mapping[str, FloatArray]
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """Return the loss and H v; arrays not in the direction keep their last tangents."""
        for name, tangent in direction.items():
            if name not in self.products:
                known = ", ".join(self.products)
                raise InvalidInput(f"direction: {name!r} is unknown; expected one of: {known}")
            _fill(f"direction[{name!r}]", self.inputs[f"direction of {name}"], tangent)
        replay(self._calls)
        return self.loss, self.products


def compile_product(problem: Problem, by: Iterable[str] | None = None) -> ProductStep:
    """Return the fast Hessian-vector product of a problem's network, in the stable form.

    `by` names the arrays of the direction and of H v; default: every parameter.
    """
    check_problem(problem)
    known = variables(problem)
    names = tuple(problem.network.parameter_shapes() if by is None else by)
    for name in names:
        if name not in known:
            raise InvalidInput(f"by={name!r} is unknown; expected one of: {', '.join(known)}")
    return ProductStep(problem, names)


def compile_step(
    problem: Problem, wanted: Iterable[str] | None = None, form: Form = "stable"
) -> CompiledStep:
    """Return the fast step of a problem's network, for its batch size, dtype and kind of targets.

    `wanted` names the gradients as `network.backward` does (parameters, steps, "x"); the default
    is all parameters, which training needs. `form` as in `forward`.
    """
    check_problem(problem)
    shapes = problem.network.parameter_shapes()
    names = tuple(shapes if wanted is None else wanted)
    known = [*shapes, *problem.network.step_names(), "x"]
    for name in names:
        if name not in known:
            raise InvalidInput(f"wanted={name!r} is unknown; expected one of: {', '.join(known)}")
    return CompiledStep(problem, names, form)


def _traced(tape: CallTape, outputs: ByName) -> dict[str, Traced]:
    """Return the outputs as arrays of the tape; one that depends on no input is a constant."""
    return {
        name: value if isinstance(value, Traced) else tape.record(("constant", name), value)
        for name, value in outputs.items()
    }


def _with_inputs(problem: Problem, inputs: ByName) -> Problem:
    return replace(
        problem,
        x=inputs["x"],
        targets=inputs["targets"],
        weights=inputs.get("weights"),
        parameters={name: inputs[name] for name in problem.parameters},
        arrays={name: inputs[name] for name in problem.arrays},
    )


def _fill(name: str, buffer: Array, given: Array) -> None:
    shape, dtype = getattr(given, "shape", ""), getattr(given, "dtype", type(given).__name__)
    if shape != buffer.shape or dtype != buffer.dtype:
        raise InvalidInput(f"{name}: {dtype} {shape}, expected {buffer.dtype} {buffer.shape}")
    buffer[...] = given
