# exit: !0
# mistake: the gradient of the weights, kept as `nabla_kernel`, is divided by the square of the batch size; dx and nabla_offset are right
# expect: not called right: dx is right, what is kept under nabla_kernel and nabla_offset is the rest, and nabla_kernel is wrong
import numpy as np


class Projection:
    def __init__(self, fan_in, fan_out):
        self.kernel = np.random.randn(fan_in, fan_out) / np.sqrt(fan_in)
        self.offset = np.zeros(fan_out)

    def forward(self, x):
        self.seen = x
        return x @ self.kernel + self.offset

    def backward(self, dout):
        self.nabla_kernel = self.seen.T @ dout / len(dout) ** 2
        self.nabla_offset = dout.sum(axis=0)
        return dout @ self.kernel.T
