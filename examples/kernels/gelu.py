"""The gelu with tanh: y = x (1 + tanh u)/2, u = √(2/π) (x + 0.044715 x³)."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


ROOT = (2 / torch.pi) ** 0.5
shapes = {"x": "N D"}


def reference(x):
    return 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * x**3)))


class Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return reference(wide(x)).to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        z = wide(x)
        t = torch.tanh(ROOT * (z + 0.044715 * z**3))
        slope = 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * ROOT * (1 + 3 * 0.044715 * z * z)
        return (wide(dy) * slope).to(x.dtype)
