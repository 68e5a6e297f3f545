# exit: 0
# expect: right: backward adds to W_grad and b_grad until zero_grad() is called: the second backward is not twice as large by mistake
import numpy as np


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)


class Linear:
    def __init__(self, in_dim, out_dim):
        self.weight = Parameter(np.random.randn(out_dim, in_dim) / np.sqrt(in_dim))
        self.bias = Parameter(np.zeros(out_dim))

    def parameters(self):
        return [self.weight, self.bias]

    def zero_grad(self):
        for p in self.parameters():
            p.grad = np.zeros_like(p.data)

    def forward(self, x):
        self.x = x
        return x @ self.weight.data.T + self.bias.data

    def backward(self, grad_output):
        self.weight.grad += grad_output.T @ self.x
        self.bias.grad += grad_output.sum(0)
        return grad_output @ self.weight.data
