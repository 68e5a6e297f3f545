"""torch's gradcheck and JAX's check_grads, asked about a given gradient: the judge's rivals.

The loss of the network is a function of one tensor, and its backward returns the gradient that is
to be checked. Both compare with finite differences of that same function.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from manual_backprop.network import Problem, forward
from manual_backprop.operation import FloatArray
from reference.oracles import Answer
from reference.oracles.jax_x64 import double_precision


@dataclass(frozen=True)
class Checker:
    """One of the rivals: how it is asked, and how many gradients of a width are worth the time."""

    rejects: Callable[[Problem, Answer], bool]
    largest_width: int
    few: int = 4

    def injected(self, width: int) -> int:
        """Return how many wrong gradients it is given; none where one would take minutes."""
        return self.few if width <= self.largest_width else 0


def _tensor(problem: Problem, answer: Answer) -> str:
    """Return the tensor that is wrong, or a weight where nothing is."""
    from reference.oracles.manual import Manual

    right = Manual().answer(problem)
    for name, value in answer.gradients.items():
        if not np.array_equal(value, right.gradients[name]):
            return name
    return "layers.0.weight"


def _loss(problem: Problem, name: str, value: np.ndarray) -> FloatArray:
    value = value.reshape(problem.x.shape if name == "x" else problem.parameters[name].shape)
    value = value.astype(problem.dtype)
    if name == "x":
        return forward(replace(problem, x=value)).loss
    return forward(replace(problem, parameters={**problem.parameters, name: value})).loss


def gradcheck(problem: Problem, answer: Answer, fast: bool) -> bool:
    """Return whether torch's gradcheck rejects the gradient.

    By finite differences at every entry, or, where `fast`, along one random direction.
    """
    import torch

    name = _tensor(problem, answer)
    start = problem.x if name == "x" else problem.parameters[name]
    gradient = torch.from_numpy(np.ascontiguousarray(answer.gradients[name]))

    class WithGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(np.asarray(_loss(problem, name, x.detach().numpy())))

        @staticmethod
        def backward(ctx: object, dy: torch.Tensor) -> torch.Tensor:
            return dy * gradient

    x = torch.from_numpy(start.copy()).requires_grad_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input #0 requires gradient and is not a double")
        return not torch.autograd.gradcheck(
            WithGradient.apply, (x,), fast_mode=fast, raise_exception=False
        )


def check_grads(problem: Problem, answer: Answer) -> bool:
    """Return whether JAX's check_grads rejects the gradient, at its usual tolerance."""
    import jax
    from jax import test_util

    from reference.oracles.jax_grad import arguments_of, loss_function

    name = _tensor(problem, answer)
    start = problem.x if name == "x" else problem.parameters[name]

    with double_precision():
        gradient = jax.numpy.asarray(answer.gradients[name])
        whole = loss_function(problem)
        inputs, zeros, data = arguments_of(problem)

        @jax.custom_vjp
        def loss(x: jax.Array) -> jax.Array:
            return whole({**inputs, name: x}, zeros, data)[0]

        loss.defvjp(lambda x: (loss(x), None), lambda _, dy: (dy * gradient,))
        try:
            check: Any = test_util.check_grads
            check(loss, (jax.numpy.asarray(start),), order=1, modes=["rev"])
        except AssertionError:
            return True
    return False


CHECKERS: dict[str, Checker] = {
    "gradcheck, slow": Checker(partial(gradcheck, fast=False), 16),
    "gradcheck, fast": Checker(partial(gradcheck, fast=True), 128),
    "check_grads": Checker(check_grads, 128),
}
