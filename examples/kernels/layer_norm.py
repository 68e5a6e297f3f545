"""Layer norm: with n = (x − μ)/√(v + ε), dx = (g − mean g − n mean(g n))/√(v + ε), g = dy w."""

import torch
from torch.autograd.function import once_differentiable


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"x": "N D", "weight": "D", "bias": "D"}


def reference(x, weight, bias):
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias)


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        z = wide(x)
        away = z - z.mean(-1, keepdim=True)
        rstd = torch.rsqrt((away * away).mean(-1, keepdim=True) + 1e-5)
        ctx.save_for_backward(x, weight, rstd)
        return (away * rstd * wide(weight) + wide(bias)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, rstd = ctx.saved_tensors
        z, d = wide(x), wide(dy)
        n = (z - z.mean(-1, keepdim=True)) * rstd
        g = d * wide(weight)
        dx = rstd * (g - g.mean(-1, keepdim=True) - n * (g * n).mean(-1, keepdim=True))
        dweight = (d * n).sum(0)
        dbias = d.sum(0)
        return dx.to(x.dtype), dweight.to(weight.dtype), dbias.to(weight.dtype)
