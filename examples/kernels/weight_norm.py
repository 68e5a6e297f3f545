"""Weight norm: w = g v/|v| by rows; dv = g/|v| (dw − u (u·dw)), u = v/|v|."""

import torch


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"v": "H D", "g": "H"}


def reference(v, g):
    return g[:, None] * v / torch.sqrt((v * v).sum(1, keepdim=True))


class WeightNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, g):
        ctx.save_for_backward(v, g)
        return reference(wide(v), wide(g)).to(v.dtype)

    @staticmethod
    def backward(ctx, dw):
        v, g = ctx.saved_tensors
        z, d = wide(v), wide(dw)
        length = torch.sqrt((z * z).sum(1, keepdim=True))
        u = z / length
        along = (u * d).sum(1, keepdim=True)
        dv = wide(g)[:, None] / length * (d - u * along)
        dg = along[:, 0]
        return dv.to(v.dtype), dg.to(g.dtype)
