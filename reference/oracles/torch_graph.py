"""A graph of operations, differentiated by PyTorch's autograd with torch's own functions."""

from typing import Any

import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.spec import LayerOperation
from reference.oracles import Answer
from reference.oracles.counterparts import resolve


def torch_answer(problem: GraphProblem) -> Answer:
    """Return the loss Σ cotangent · output, every step's value and every cotangent."""
    import torch

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.array(array, order="C", copy=True))

    values: dict[str, Any] = {key: tensor(array) for key, array in problem.arrays.items()}
    for key in problem.floats:
        values[key].requires_grad_()
    for step in problem.graph.steps:
        made = call(step, values, "torch")
        # A function that returns its argument itself would share the cotangent with it.
        itself = any(made is value for value in values.values())
        values[step.name] = made.view_as(made) if itself else made
    outputs = [values[key] for key in problem.graph.outputs]
    cotangents = [tensor(problem.cotangents[key]) for key in problem.graph.outputs]
    wanted = [*(step.name for step in problem.graph.steps), *problem.floats]
    loss = sum((c * y).sum() for c, y in zip(cotangents, outputs, strict=True))
    found = torch.autograd.grad(
        outputs, [values[key] for key in wanted], cotangents, allow_unused=True
    )
    gradients = {
        key: (torch.zeros_like(values[key]) if g is None else g).detach().numpy()
        for key, g in zip(wanted, found, strict=True)
    }
    of_steps = {step.name: values[step.name].detach().numpy() for step in problem.graph.steps}
    return Answer("torch", np.asarray(loss.detach().numpy()), gradients, values=of_steps)


def call(step: Any, values: Any, framework: Any) -> Any:
    """Return a step's value by the framework's counterpart."""
    operation, arrays = step.record, step.arrays(values)
    function = resolve(operation, framework)
    if isinstance(operation, LayerOperation):
        given = [arrays.get(argument) for argument in operation.arguments]
        return function(*given, **{**operation.options, **step.options})
    return function(arrays["x"], **step.options)
