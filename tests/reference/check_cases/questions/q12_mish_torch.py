# exit: 1
# mistake: the derivative of softplus inside the tanh, the sigmoid of x, is missing in the second term
# expect: inner derivative|chain|factor|left out|missing
import torch


def mish(x):
    return x * torch.tanh(torch.log1p(torch.exp(x)))


class Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return mish(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        t = torch.tanh(torch.log1p(torch.exp(x)))
        return grad_output * (t + x * (1 - t * t))
