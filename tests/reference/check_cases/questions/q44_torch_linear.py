# exit: 1
# mistake: grad_bias is the mean over the batch; the forward adds the bias to every row, so it is the sum
# expect: mean (over|of)|the sum|factor|1/N|batch size|divided
import torch
from torch.autograd import Function


class MyLinear(Function):
    @staticmethod
    def forward(ctx, x, w, b):
        ctx.save_for_backward(x, w)
        return x @ w + b

    @staticmethod
    def backward(ctx, grad_out):
        x, w = ctx.saved_tensors
        grad_x = grad_out @ w.T
        grad_w = x.T @ grad_out
        grad_b = grad_out.mean(dim=0)
        return grad_x, grad_w, grad_b
