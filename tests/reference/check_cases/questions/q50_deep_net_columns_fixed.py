# exit: 0
# mistake: the biases are divided by m, the weights are not, though the cost is a mean
# expect: 1/m|1/N|divid|factor|batch size
import numpy as np


class DeepNet:
    def __init__(self, dims):
        self.L = len(dims) - 1
        self.params = {}
        for l in range(1, self.L + 1):
            self.params[f"W{l}"] = np.random.randn(dims[l], dims[l - 1]) * 0.5
            self.params[f"b{l}"] = np.zeros((dims[l], 1))

    def forward(self, X):
        self.cache = {"A0": X}
        for l in range(1, self.L + 1):
            Z = self.params[f"W{l}"] @ self.cache[f"A{l - 1}"] + self.params[f"b{l}"]
            self.cache[f"A{l}"] = 1 / (1 + np.exp(-Z))
        return self.cache[f"A{self.L}"]

    def cost(self, A, Y):
        return -np.mean(np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A), axis=0))

    def backward(self, Y):
        m, grads = Y.shape[1], {}
        dZ = self.cache[f"A{self.L}"] - Y
        for l in range(self.L, 0, -1):
            A_prev = self.cache[f"A{l - 1}"]
            grads[f"dW{l}"] = dZ @ A_prev.T / m
            grads[f"db{l}"] = np.sum(dZ, axis=1, keepdims=True) / m
            dZ = self.params[f"W{l}"].T @ dZ * A_prev * (1 - A_prev)
        return grads
