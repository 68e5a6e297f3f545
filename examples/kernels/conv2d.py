"""A convolution of images with kernels of 3 by 3, a border of one zero: sums over the nine taps."""

import torch
from torch.autograd.function import once_differentiable


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == torch.float64 else x.float()


shapes = {"x": "N 2 C D", "w": "H 2 3 3"}


def reference(x, w):
    return torch.nn.functional.conv2d(x, w, padding=1)


class Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.nn.functional.conv2d(x, w, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        padded, k, d = torch.nn.functional.pad(wide(x), (1, 1, 1, 1)), wide(w), wide(dy)
        high, long = d.shape[-2:]
        dpadded, dw = torch.zeros_like(padded), torch.zeros_like(k)
        for i in range(3):
            for j in range(3):
                window = (..., slice(i, i + high), slice(j, j + long))
                dpadded[window] += torch.einsum("nhyx,hc->ncyx", d, k[..., i, j])
                dw[..., i, j] = torch.einsum("nhyx,ncyx->hc", d, padded[window])
        dx = dpadded[..., 1:-1, 1:-1]
        return dx.to(x.dtype), dw.to(w.dtype)
