"""Graphs of operations, and the two walks over them: forward in order, backward in reverse.

A graph is a list of steps; each applies one operation to values computed earlier. Where several
steps use a value, its cotangents add up: with L = L(a, b, …) and each of a, b, … a function of x,
∂L/∂x = Σ ∂L/∂a ∂a/∂x, one term for each use of x (the chain rule).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import (
    ByName,
    FloatArray,
    Form,
    InvalidInput,
    LayerOperation,
    Loss,
    Operation,
    is_float,
)

Arrays = Mapping[str, np.ndarray]


class Step(NamedTuple):
    """One application of an operation; its value has the step's name.

    `inputs` maps the operation's arguments to names of values: of earlier steps, or of given
    arrays. `options` are numbers and words: eps, stride, axis.
    """

    name: str
    operation: str
    inputs: Mapping[str, str]
    options: Mapping[str, object] = {}

    @property
    def description(self) -> Operation:
        """The registered description of the step's operation; see operation.py."""
        return operation_named(self.operation)

    def arrays(self, values: ByName) -> ByName:
        """Return the operation's arrays by the names of its arguments."""
        return {argument: values[name] for argument, name in self.inputs.items()}

    def tangents_of(self, tangents: ByName) -> dict[str, FloatArray]:
        """Return the tangents of the arguments that have one, by the names of the arguments.

        `tangents` has the tangents of values, by the names of the values.
        """
        return {a: tangents[name] for a, name in self.inputs.items() if name in tangents}


def operation_named(name: str) -> Operation:
    """Return the activation, layer or loss of this name."""
    for registry in (LAYERS, ACTIVATIONS, LOSSES):
        if name in registry:
            return registry[name]
    raise InvalidInput(f"operation={name!r} is unknown; expected a layer, activation or loss")


@dataclass(frozen=True)
class Graph:
    """Steps in an order in which each uses earlier values only, and the names of the outputs."""

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        made: set[str] = set()
        names = [step.name for step in self.steps]
        for step in self.steps:
            for argument, name in step.inputs.items():
                if name in names and name not in made:
                    raise InvalidInput(
                        f"steps: {step.name!r} uses {argument}={name!r} before it is defined"
                    )
            if step.name in made:
                raise InvalidInput(f"steps: {step.name!r} is defined twice")
            made.add(step.name)
        for name in self.outputs:
            if name not in made:
                raise InvalidInput(f"outputs: {name!r} is not a step; expected one of {names}")

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The names of the values that no step computes, in the order of their use."""
        made = {step.name for step in self.steps}
        taken = (name for step in self.steps for name in step.inputs.values())
        return tuple(dict.fromkeys(name for name in taken if name not in made))

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """The names of the parameters: the values of arguments that are trainable."""
        found = [
            name
            for step in self.steps
            if isinstance(step.description, LayerOperation)
            for argument, name in step.inputs.items()
            if argument in step.description.trainable and name in self.given
        ]
        return tuple(dict.fromkeys(found))


def apply_step(step: Step, arrays: ByName, form: Form) -> FloatArray:
    """Return a step's value. It is the default of the argument `apply` of `forward`."""
    return step.description.apply(form, arrays, step.options)


def pull_back_step(step: Step, arrays: ByName, y: FloatArray, dy: FloatArray, form: Form) -> ByName:
    """Return the cotangents of a step's arguments, from dy, that of its value (JAX: vjp)."""
    return step.description.pull_back(form, arrays, y, dy, step.options)


def forward(
    graph: Graph,
    given: ByName,
    form: Form = "stable",
    apply: Callable[..., FloatArray] = apply_step,
) -> dict[str, FloatArray]:
    """Return the value of every step, by its name; `given` are the arrays that no step computes.

    `apply` computes one step, with the formulas that `form` names.
    """
    values = dict(given)
    made: dict[str, FloatArray] = {}
    for step in graph.steps:
        made[step.name] = apply(step, step.arrays(values), form)
        values[step.name] = made[step.name]
    return made


def backward(
    graph: Graph,
    given: ByName,
    made: ByName,
    cotangents: ByName,
    form: Form = "stable",
    pull: Callable[..., ByName] = pull_back_step,
) -> dict[str, FloatArray]:
    """Return the cotangent of every step and given array of floats that an output depends on.

    `made` is what `forward` returned, `cotangents` has that of each output, `pull` does one step.
    In reverse order a step's cotangent is complete at its turn, because all steps that use its
    value come after it.
    """
    values = {**given, **made}
    found: dict[str, FloatArray] = dict(cotangents)
    for step in reversed(graph.steps):
        if step.name not in found:
            continue
        pulled = pull(step, step.arrays(values), values[step.name], found[step.name], form)
        for argument, cotangent in pulled.items():
            name = step.inputs[argument]
            found[name] = found[name] + cotangent if name in found else cotangent
    return found


def push_forward_step(step: Step, arrays: ByName, y: FloatArray, tangents: ByName) -> FloatArray:
    """Return the tangent of a step's value, from those of its arguments (JAX: jvp)."""
    return step.description.push_forward(arrays, y, tangents, step.options)


def pull_back_step_along(
    step: Step,
    arrays: ByName,
    y: FloatArray,
    cotangents: tuple[FloatArray, FloatArray | None],
    tangents: ByName,
) -> ByName:
    """Return the directional derivatives of the cotangents of a step's arguments.

    `tangents` are those of the arguments that change.

    `cotangents` is the pair of dy and its derivative tdy, which is None where dy is constant. A
    step of `backward` is linear in dy, so the derivative has two parts, which are added: the step
    itself at tdy, and its own derivative at dy, for the arguments that change.
    """
    (dy, tdy), operation = cotangents, step.description
    found: dict[str, FloatArray] = {}
    if tdy is not None:
        found |= operation.pull_back("stable", arrays, y, tdy, step.options)
    if tangents:
        second = operation.pull_back_along(arrays, y, dy, tangents, step.options)
        found |= {a: found[a] + part if a in found else part for a, part in second.items()}
    return found


def tangents(
    graph: Graph,
    given: ByName,
    made: ByName,
    direction: ByName,
    push: Callable[..., FloatArray] = push_forward_step,
) -> dict[str, FloatArray]:
    """Return the tangent of every step whose value changes along `direction`, except of losses.

    `direction` has the tangents of the given arrays that change. With y = f(a, b, …),
    ty = Σ ∂f/∂a ta over the arguments, each with its own tangent ta.
    """
    values, known = {**given, **made}, dict(direction)
    for step in graph.steps:
        of_arguments = step.tangents_of(known)
        if of_arguments and not isinstance(step.description, Loss):
            known[step.name] = push(step, step.arrays(values), values[step.name], of_arguments)
    return {step.name: known[step.name] for step in graph.steps if step.name in known}


def hessian_vector_products(
    graph: Graph,
    given: ByName,
    made: ByName,
    cotangents: ByName,
    tangents: ByName,
    pull_along: Callable[..., ByName] = pull_back_step_along,
) -> dict[str, FloatArray]:
    """Return the Hessian-vector products: the directional derivatives of the cotangents, by name.

    Those of the given arrays are the parts of H v, with H the Hessian of Σ cotangent · output and v
    the direction; those of the steps lead to them. Zeros are left out; the cotangents of the
    outputs are constant. `cotangents` is
    what `backward` returned, `tangents` has those of the given arrays (the direction) and of the
    steps. As in `backward`, if several steps contribute to a value, their contributions are added.
    """
    values = {**given, **made}
    found: dict[str, FloatArray] = {}
    for step in reversed(graph.steps):
        if step.name not in cotangents:
            continue
        pair = cotangents[step.name], found.get(step.name)
        arrays, of_arguments = step.arrays(values), step.tangents_of(tangents)
        parts = pull_along(step, arrays, values[step.name], pair, of_arguments)
        for argument, part in parts.items():
            name = step.inputs[argument]
            found[name] = found[name] + part if name in found else part
    return found


@dataclass(frozen=True)
class GraphProblem:
    """A graph, the arrays that go in, and the cotangent of each output.

    Its gradient is that of Σ cotangent · output, by every array of floats and every step.
    """

    graph: Graph
    arrays: Arrays
    cotangents: Mapping[str, FloatArray]

    @property
    def dtype(self) -> np.dtype:
        """The floating type that everything is computed in."""
        return next(iter(self.cotangents.values())).dtype

    @property
    def floats(self) -> tuple[str, ...]:
        """The names of the arrays that have a gradient: those of floats."""
        return tuple(name for name in self.graph.given if is_float(self.arrays[name]))

    def map_arrays(self, function: Callable[[np.ndarray], np.ndarray]) -> "GraphProblem":
        """Return the problem with `function` applied to each of its arrays."""
        arrays, cotangents = (
            {name: function(array) for name, array in given.items()}
            for given in (self.arrays, self.cotangents)
        )
        return GraphProblem(self.graph, arrays, cotangents)


def values_and_gradients(
    problem: GraphProblem,
    form: Form = "stable",
    apply: Callable[..., FloatArray] = apply_step,
    pull: Callable[..., ByName] = pull_back_step,
) -> tuple[Arrays, Arrays]:
    """Return the value of every step, and the gradient by every step and array of floats.

    A gradient is zeros where no output depends on the array. Example: y = tanh(x), with the
    cotangent 1 of y, gives {"y": tanh(x)} and {"x": 1 - tanh(x)², "y": 1}.
    """
    values = forward(problem.graph, problem.arrays, form, apply)
    found = backward(problem.graph, problem.arrays, values, problem.cotangents, form, pull)
    wanted = {name: problem.arrays[name] for name in problem.floats} | values
    return values, {
        name: found[name] if name in found else np.zeros_like(array)
        for name, array in wanted.items()
    }


def check_graph_problem(problem: GraphProblem) -> None:
    """Raise InvalidInput, naming the array, unless the graph can be computed on these arrays.

    All floats must be finite and of one dtype, float32 or float64. Every array that a step takes
    must be given, and no other, and each output needs a cotangent of its shape. The graph is
    computed once to see whether the shapes fit.
    """
    graph, dtype = problem.graph, problem.dtype
    _same_names("arrays", problem.arrays, graph.given)
    _same_names("cotangents", problem.cotangents, graph.outputs)
    for name, array in {**problem.arrays, **problem.cotangents}.items():
        if type(array) is not np.ndarray:
            raise InvalidInput(f"{name}: a {type(array).__name__}, expected a NumPy array")
        if array.dtype.kind not in "iub" and array.dtype not in (np.float32, np.float64):
            raise InvalidInput(f"{name}: dtype {array.dtype}, expected float32 or float64")
        if array.dtype.kind == "f" and array.dtype != dtype:
            raise InvalidInput(f"{name}: dtype {array.dtype}, expected {dtype} as for the others")
        if not np.isfinite(array).all():
            raise InvalidInput(f"{name}: expected finite numbers")
    with np.errstate(all="ignore"):
        values = _computed(problem)
    for name, cotangent in problem.cotangents.items():
        if cotangent.shape != values[name].shape:
            shape = values[name].shape
            raise InvalidInput(f"cotangents: {name!r} has {cotangent.shape}, expected {shape}")


def _computed(problem: GraphProblem) -> dict[str, FloatArray]:
    values = dict(problem.arrays)
    for step in problem.graph.steps:
        try:
            arrays = step.arrays(values)
            values[step.name] = step.description.apply("stable", arrays, step.options)
        except (ValueError, IndexError, TypeError) as error:
            shapes = {argument: np.shape(a) for argument, a in step.arrays(values).items()}
            raise InvalidInput(f"{step.name}: {step.operation} of {shapes}: {error}") from None
    return values


def _same_names(argument: str, given: ByName, expected: Sequence[str]) -> None:
    for name in (n for n in (*expected, *given) if (n in expected) != (n in given)):
        known = ", ".join(expected)
        how = "missing" if name in expected else "not of this graph"
        raise InvalidInput(f"{argument}: {name!r} is {how}; expected {known}")
