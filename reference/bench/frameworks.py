"""The loss of a dense chain in each framework's own functions, as its users write it.

The activation of the first layer stands after every layer but the last; the loss is the mean of
cross entropy on labels, or of squared errors.
"""

from collections.abc import Callable
from typing import Any

from manual_backprop.network import Problem
from manual_backprop.operation import ByName

LossOf = Callable[[ByName, Any, Any], Any]
"""f(parameters, x, targets) -> the loss."""


def torch_loss(problem: Problem) -> LossOf:
    """Return the loss of addmm, the activation and PyTorch's own loss."""
    import torch

    functional = torch.nn.functional
    hidden = {"tanh": torch.tanh, "relu": torch.relu}[problem.network.layers[0].activation]
    losses: dict[str, Callable[..., Any]] = {
        "cross_entropy": functional.cross_entropy,
        "mse": functional.mse_loss,
    }
    depth, of_output = len(problem.network.layers), losses[problem.network.loss]

    def loss(parameters: ByName, a: Any, targets: Any) -> Any:
        for i in range(depth):
            a = torch.addmm(parameters[f"layers.{i}.bias"], a, parameters[f"layers.{i}.weight"])
            a = hidden(a) if i < depth - 1 else a
        return of_output(a, targets)

    return loss


def jax_loss(problem: Problem) -> LossOf:
    """Return the same in JAX; the targets are an argument, so that XLA folds nothing."""
    import jax

    jnp = jax.numpy
    hidden = {"tanh": jnp.tanh, "relu": jax.nn.relu}[problem.network.layers[0].activation]
    depth, labels = len(problem.network.layers), problem.network.loss == "cross_entropy"

    def loss(parameters: ByName, a: Any, targets: Any) -> Any:
        for i in range(depth):
            a = a @ parameters[f"layers.{i}.weight"] + parameters[f"layers.{i}.bias"]
            a = hidden(a) if i < depth - 1 else a
        if not labels:
            return ((a - targets) ** 2).mean()
        chosen = jnp.take_along_axis(jax.nn.log_softmax(a), targets[:, None], axis=1)
        return -jnp.mean(chosen)

    return loss
