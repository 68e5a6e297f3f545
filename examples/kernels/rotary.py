"""Rotary embedding: position · frequency turns each pair of entries; backward turns it back."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"x": "T 6"}


def angles(x):
    """Return cos and sin of every position and frequency."""
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    position = torch.arange(len(x), dtype=kind)[:, None]
    frequency = 100.0 ** -torch.arange(0, 1, 2 / x.shape[-1], dtype=kind)
    return torch.cos(position * frequency), torch.sin(position * frequency)


def reference(x):
    half = x.shape[-1] // 2
    a, b = x[:, :half], x[:, half:]
    cos, sin = angles(x)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.half = x.shape[-1] // 2
        return reference(wide(x)).to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        d = wide(dy)
        a, b = d[:, : ctx.half], d[:, ctx.half :]
        cos, sin = angles(d)
        dx = torch.cat([a * cos + b * sin, b * cos - a * sin], -1)
        return dx.to(dy.dtype)
