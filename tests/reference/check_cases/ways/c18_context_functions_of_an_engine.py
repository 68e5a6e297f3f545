# exit: 0
# expect: right: static forward(ctx, ...) and backward(ctx, grad_output) of a small engine on NumPy arrays; ctx.save_for_backward
import numpy as np


class Context:
    def save_for_backward(self, *x):
        self.saved_tensors = x


class Mul:
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, grad_output):
        x, y = ctx.saved_tensors
        return y * grad_output, x * grad_output


class Dot:
    @staticmethod
    def forward(ctx, input, weight):
        ctx.save_for_backward(input, weight)
        return input.dot(weight)

    @staticmethod
    def backward(ctx, grad_output):
        input, weight = ctx.saved_tensors
        return grad_output.dot(weight.T), input.T.dot(grad_output)


class LogSoftmax:
    @staticmethod
    def forward(ctx, input):
        c = input.max(axis=1, keepdims=True)
        output = input - (c + np.log(np.exp(input - c).sum(axis=1, keepdims=True)))
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output - np.exp(ctx.saved_tensors[0]) * grad_output.sum(axis=1, keepdims=True)
