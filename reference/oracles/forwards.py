"""The forward of a chain and of a graph by a framework's own functions, with a hook at each step.

`at(value, step)` is called with the value of each step and returns the value that is used instead,
for example with a probe added to it. So every way to differentiate uses the same forward.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from manual_backprop.graph import Graph, Step
from manual_backprop.layers import LAYERS
from manual_backprop.network import Network
from manual_backprop.operation import ByName, LayerOperation
from reference.oracles.counterparts import Framework, resolve

T = TypeVar("T")
At = Callable[[T, str], T]


def chain(
    network: Network, framework: Framework
) -> Callable[[Mapping[str, T], At[T]], tuple[T, dict[str, T]]]:
    """Return f(inputs, at) -> (the prediction, the value of every step)."""
    dense = resolve(LAYERS["dense"], framework)
    layers = [(resolve(one.operation, framework), one.parameters) for one in network.layers]

    # Quoted, because it would be evaluated for every network.
    def function(inputs: "Mapping[str, T]", at: "At[T]") -> "tuple[T, dict[str, T]]":
        a, values = inputs["x"], {}
        for i, (activation, parameters) in enumerate(layers):
            name = f"layers.{i}"
            z = at(dense(a, inputs[f"{name}.weight"], inputs.get(f"{name}.bias")), f"{name}.z")
            a = at(activation(z, **parameters), f"{name}.a")
            values[f"{name}.z"], values[f"{name}.a"] = z, a
        return a, values

    return function


def graph_sum(
    graph: Graph, framework: Framework
) -> Callable[[Mapping[str, T], Mapping[str, T], At[T]], tuple[T, dict[str, T]]]:
    """Return f(arrays, cotangents, at) -> (Σ cotangent · output, the value of every step)."""

    def function(arrays: Mapping[str, T], cotangents: ByName, at: At[T]) -> tuple[T, dict[str, T]]:
        values, made = dict(arrays), {}
        for step in graph.steps:
            value = step_value(step, values, framework)
            # In torch a function that returns its argument would share the cotangent with it.
            if framework == "torch" and any(value is other for other in values.values()):
                value = value.view_as(value)
            values[step.name] = made[step.name] = at(value, step.name)
        return sum((cotangents[n] * made[n]).sum() for n in graph.outputs), made

    return function


def step_value(step: Step, values: ByName, framework: Framework) -> Any:
    """Return a step's value by the framework's counterpart."""
    operation, arrays = step.description, step.arrays(values)
    function = resolve(operation, framework)
    if isinstance(operation, LayerOperation):
        given = [arrays.get(argument) for argument in operation.arguments]
        return function(*given, **{**operation.options, **step.options})
    return function(arrays["x"], **step.options)


def as_it_is(value: T, step: str) -> T:
    """Return the value unchanged: the hook for a forward without probes."""
    return value
