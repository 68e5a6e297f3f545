"""A graph of operations, differentiated by PyTorch's autograd with torch's own functions."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.graph import GraphProblem
from manual_backprop.operation import LayerOperation
from reference.formats import BFLOAT16
from reference.oracles import Answer
from reference.oracles.counterparts import resolve


def torch_answer(problem: GraphProblem) -> Answer:
    """Return the loss Σ cotangent · output, every step's value and every cotangent."""
    import torch

    values: dict[str, Any] = {key: _tensor(array) for key, array in problem.arrays.items()}
    for key in problem.floats:
        values[key].requires_grad_()
    loss, made = graph_function(problem)(values, lambda value, step: value)
    values |= made
    outputs = [values[key] for key in problem.graph.outputs]
    cotangents = [_tensor(problem.cotangents[key]) for key in problem.graph.outputs]
    wanted = [*made, *problem.floats]
    found = torch.autograd.grad(
        outputs, [values[key] for key in wanted], cotangents, allow_unused=True
    )
    gradients = {
        key: as_array((torch.zeros_like(values[key]) if g is None else g).detach())
        for key, g in zip(wanted, found, strict=True)
    }
    of_steps = {name: as_array(value.detach()) for name, value in made.items()}
    return Answer("torch", as_array(loss.detach()), gradients, values=of_steps)


def graph_function(problem: GraphProblem) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Return f(arrays, at) -> (Σ cotangent · output, the value of every step).

    `at(value, step)` returns what stands in the place of a step's value.
    """
    cotangents = {key: _tensor(cotangent) for key, cotangent in problem.cotangents.items()}

    def function(
        arrays: Mapping[str, Any], at: Callable[[Any, str], Any]
    ) -> tuple[Any, dict[str, Any]]:
        values, made = dict(arrays), {}
        for step in problem.graph.steps:
            value = call(step, values, "torch")
            # A function that returns its argument itself would share the cotangent with it.
            itself = any(value is other for other in values.values())
            value = at(value.view_as(value) if itself else value, step.name)
            values[step.name] = made[step.name] = value
        return sum((cotangents[n] * made[n]).sum() for n in problem.graph.outputs), made

    return function


def as_array(tensor: Any) -> npt.NDArray[Any]:
    """Return the numbers of a tensor that needs no gradient."""
    import torch

    if tensor.dtype == torch.bfloat16:
        bits: npt.NDArray[Any] = tensor.contiguous().view(torch.int16).numpy()
        return bits.view(BFLOAT16)
    found: npt.NDArray[Any] = tensor.numpy()
    return found


def _tensor(array: Any) -> Any:
    import torch

    if array.dtype == BFLOAT16:
        return _tensor(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C", copy=True))


def call(step: Any, values: Any, framework: Any) -> Any:
    """Return a step's value by the framework's counterpart."""
    operation, arrays = step.record, step.arrays(values)
    function = resolve(operation, framework)
    if isinstance(operation, LayerOperation):
        given = [arrays.get(argument) for argument in operation.arguments]
        return function(*given, **{**operation.options, **step.options})
    return function(arrays["x"], **step.options)
