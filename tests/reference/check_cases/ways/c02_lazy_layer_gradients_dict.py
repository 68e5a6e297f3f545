# exit: 0
# expect: right: only n_out is known at the start, parameters come with the first forward; gradients in self.gradients; activation is an object with forward(Z) and backward(Z, dY)
from collections import OrderedDict

import numpy as np


class ReLU:
    def forward(self, Z):
        return np.maximum(0, Z)

    def backward(self, Z, dY):
        return dY * (Z > 0)


class FullyConnected:
    def __init__(self, n_out):
        self.n_in = None
        self.n_out = n_out
        self.activation = ReLU()

    def _init_parameters(self, X_shape):
        self.n_in = X_shape[1]
        W = np.random.normal(scale=np.sqrt(2 / self.n_in), size=(self.n_in, self.n_out))
        b = np.zeros((1, self.n_out))
        self.parameters = OrderedDict({"W": W, "b": b})
        self.gradients = OrderedDict({"W": np.zeros_like(W), "b": np.zeros_like(b)})
        self.cache = OrderedDict()

    def forward(self, X):
        if self.n_in is None:
            self._init_parameters(X.shape)
        Z = X @ self.parameters["W"] + self.parameters["b"]
        self.cache["X"], self.cache["Z"] = X, Z
        return self.activation.forward(Z)

    def backward(self, dLdY):
        dZ = self.activation.backward(self.cache["Z"], dLdY)
        self.gradients["W"] = self.cache["X"].T @ dZ
        self.gradients["b"] = dZ.sum(axis=0, keepdims=True)
        return dZ @ self.parameters["W"].T
