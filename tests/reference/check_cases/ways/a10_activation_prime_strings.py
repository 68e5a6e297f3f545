# exit: 0
# expect: right: one class, the activation's name is a string in the constructor; activation(z) and activation_prime(z) are methods
import numpy as np


class Layer:
    def __init__(self, n_in, n_out, activation="selu"):
        self.w = np.random.randn(n_out, n_in)
        self.b = np.random.randn(n_out, 1)
        self.act = activation

    def activation(self, z):
        if self.act == "selu":
            return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1))
        elif self.act == "tanh":
            return np.tanh(z)
        return z

    def activation_prime(self, z):
        if self.act == "selu":
            return 1.0507009873554805 * np.where(z > 0, 1.0, 1.6732632423543772 * np.exp(z))
        elif self.act == "tanh":
            return 1 - np.tanh(z) ** 2
        return np.ones_like(z)

    def feed_forward(self, a):
        self.a = a
        self.z = self.w @ a + self.b
        return self.activation(self.z)

    def feed_backward(self, da):
        dz = da * self.activation_prime(self.z)
        self.dw, self.db = dz @ self.a.T, dz.sum(axis=1, keepdims=True)
        return self.w.T @ dz
