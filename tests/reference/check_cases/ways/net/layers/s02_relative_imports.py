# exit: 0
# expect: right: a module of a package, with imports from the package above it and a base class from there
import numpy as np

from ..initializers import glorot
from ..module import Layer


class Dense(Layer):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.w = glorot(n_in, n_out)
        self.b = np.zeros(n_out)

    def forward(self, x):
        self.cache["x"] = x
        return x @ self.w + self.b

    def backward(self, grad):
        self.grads["w"] = self.cache["x"].T @ grad
        self.grads["b"] = grad.sum(axis=0)
        return grad @ self.w.T


class Softplus(Layer):
    def forward(self, x):
        self.cache["x"] = x
        return np.logaddexp(0, x)

    def backward(self, grad):
        return grad / (1 + np.exp(-self.cache["x"]))
