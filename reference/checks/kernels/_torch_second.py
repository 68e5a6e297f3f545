"""Differentiates the gradient of a torch function once more: it must be refused, or right."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reference.checks.kernels._findings import ReturnedArray, furthest
from reference.checks.kernels._formats import FLOAT64, Array, Model
from reference.checks.kernels._problem import Cotangents, KernelProblem
from reference.checks.kernels._torch_kernel import TorchKernel, TorchReference
from reference.checks.names import path_name
from reference.checks.tolerances import DIGITS

_Gradient = Callable[[list[Any], list[Any]], list[Any]]


def wrong_second(
    kernel: TorchKernel, problem: KernelProblem, cotangents: Cotangents, traced: TorchReference
) -> list[str] | None:
    """Return what is wrong with the derivative of a gradient; None where there is no truth.

    The truth is autograd through the traced gradient of the reference. A gradient that says
    that it cannot be differentiated is right.
    """

    def own(at: list[Any], dout: list[Any]) -> list[Any]:
        outputs = kernel.outputs(problem, dict(zip(problem.leaves, at, strict=True)), FLOAT64)
        pairs = [(o, d) for o, d in zip(outputs, dout, strict=True) if o is not None]
        given = [o for o, _ in pairs], at, [d for _, d in pairs]
        return list(torch.autograd.grad(*given, create_graph=True, allow_unused=True))

    with kernel.running():
        mine = _derivative(own, kernel, problem, cotangents)
        if mine is None:
            return []
        true = _derivative(traced.gradients, kernel, problem, cotangents)
    if true is None:
        return None
    for path, got, right in zip(problem.leaves, mine, true, strict=True):
        bound = np.full(right.shape, DIGITS * (1 + float(np.max(np.abs(right), initial=0.0))))
        if furthest(ReturnedArray(path_name(path), got, right, bound), Model(FLOAT64)).times > 1:
            return [
                f"the second derivative by {path_name(path)} is wrong, and not refused: save only "
                "inputs and outputs by save_for_backward, or mark the backward with "
                "once_differentiable"
            ]
    return []


def _derivative(
    gradient: _Gradient, kernel: TorchKernel, problem: KernelProblem, cotangents: Cotangents
) -> list[Array] | None:
    """Return the derivative of Σ v·g by the inputs, v random; None where it is refused."""
    at = list(kernel.tensors(problem, FLOAT64).values())
    dout = [None if c is None else torch.tensor(c).requires_grad_() for c in cotangents]
    weights = torch.Generator().manual_seed(kernel.seed)
    try:
        sums = [
            (g * torch.randn(g.shape, generator=weights)).sum()
            for g in gradient(at, dout)
            if g is not None
        ]
        tied = [w for w in sums if w.requires_grad]
        if not tied:
            return None
        torch.autograd.backward(tied)  # grad() would pass by the node that refuses
    except RuntimeError:
        return None
    return [np.zeros(tuple(t.shape)) if t.grad is None else t.grad.numpy().copy() for t in at]
