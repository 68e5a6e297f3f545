"""A custom torch function with a gradient by hand. One term of it is missing.

    manual-backprop check examples/check/torch_function.py

Its name is swish; `like` says which operation it should be.
"""

import torch

like = "silu"


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        s = torch.sigmoid(x)
        ctx.save_for_backward(x, s)
        return x * s

    @staticmethod
    def backward(ctx, dy):
        _, s = ctx.saved_tensors
        return dy * s
