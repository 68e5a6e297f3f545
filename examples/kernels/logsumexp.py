"""Log-sum-exp over the last axis: dx = dy softmax(x)."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"x": "N D"}


def reference(x):
    return torch.logsumexp(x, -1)


class LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        z = wide(x)
        top = z.amax(-1, keepdim=True)
        y = torch.log(torch.exp(z - top).sum(-1)) + top[:, 0]
        ctx.save_for_backward(x)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        dx = wide(dy)[:, None] * torch.softmax(wide(x), -1)
        return dx.to(x.dtype)
