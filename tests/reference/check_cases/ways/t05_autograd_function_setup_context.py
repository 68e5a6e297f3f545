# exit: 0
# expect: right: the newer form with setup_context; a number that is no tensor among the arguments gets None
import torch


class ScaledTanh(torch.autograd.Function):
    @staticmethod
    def forward(x, scale):
        return scale * torch.tanh(x / scale)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, scale = inputs
        ctx.scale = scale
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_output):
        y, = ctx.saved_tensors
        return grad_output * (1 - (y / ctx.scale) ** 2), None


def scaled_tanh(x, scale=3.0):
    return ScaledTanh.apply(x, scale)
