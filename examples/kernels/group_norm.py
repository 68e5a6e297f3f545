"""Group norm of (N, C, L) in two groups of channels: layer norm within each group."""

import torch
from torch.autograd.function import once_differentiable


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


GROUPS = 2
shapes = {"x": "N 4 T", "weight": "4", "bias": "4"}


def reference(x, weight, bias):
    return torch.nn.functional.group_norm(x, GROUPS, weight, bias)


def grouped(x):
    return x.reshape(x.shape[0], GROUPS, -1)


class GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        z = grouped(wide(x))
        away = z - z.mean(-1, keepdim=True)
        rstd = torch.rsqrt((away * away).mean(-1, keepdim=True) + 1e-5)
        n = (away * rstd).reshape(x.shape)
        ctx.save_for_backward(x, weight, rstd)
        return (n * wide(weight)[:, None] + wide(bias)[:, None]).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, rstd = ctx.saved_tensors
        z, d = grouped(wide(x)), wide(dy)
        n = (z - z.mean(-1, keepdim=True)) * rstd
        g = grouped(d * wide(weight)[:, None])
        dx = rstd * (g - g.mean(-1, keepdim=True) - n * (g * n).mean(-1, keepdim=True))
        dweight = (d * n.reshape(x.shape)).sum((0, 2))
        dbias = d.sum((0, 2))
        dx = dx.reshape(x.shape)
        return dx.to(x.dtype), dweight.to(weight.dtype), dbias.to(weight.dtype)
