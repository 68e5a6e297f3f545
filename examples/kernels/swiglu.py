"""SwiGLU: y = silu(a) b; silu′ = σ (1 + a (1 − σ))."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"a": "N D", "b": "N D"}


def reference(a, b):
    return a * torch.sigmoid(a) * b


class SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (wide(a) * torch.sigmoid(wide(a)) * wide(b)).to(a.dtype)

    @staticmethod
    def backward(ctx, dy):
        a, b = ctx.saved_tensors
        x, d = wide(a), wide(dy)
        s = torch.sigmoid(x)
        da = d * wide(b) * s * (1 + x * (1 - s))
        db = d * x * s
        return da.to(a.dtype), db.to(b.dtype)
