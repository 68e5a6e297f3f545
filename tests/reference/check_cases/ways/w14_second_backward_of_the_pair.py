# exit: !0
# mistake: of the two inputs of the product only the first gets its gradient; the second's has the wrong operand
# expect: not exit 0: static backward(ctx, grad) of the operation Mul returns y * grad twice
import numpy as np


class Context:
    def save_for_backward(self, *x):
        self.saved_tensors = x


class Exp:
    @staticmethod
    def forward(ctx, x):
        out = np.exp(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx, grad_output):
        out, = ctx.saved_tensors
        return grad_output * out


class Mul:
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, grad_output):
        x, y = ctx.saved_tensors
        return y * grad_output, y * grad_output
