# exit: 0
# expect: right: fn, grad and the second derivative grad2 of an activation with parameters in its constructor
import numpy as np


class ELU:
    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def __str__(self):
        return "ELU(alpha={})".format(self.alpha)

    def __call__(self, z):
        if z.ndim == 1:
            z = z.reshape(1, -1)
        return self.fn(z)

    def fn(self, z):
        return np.where(z > 0, z, self.alpha * (np.exp(z) - 1))

    def grad(self, x):
        return np.where(x >= 0, np.ones_like(x), self.alpha * np.exp(x))

    def grad2(self, x):
        return np.where(x >= 0, np.zeros_like(x), self.alpha * np.exp(x))


class Exponential:
    def fn(self, z):
        return np.exp(z)

    def grad(self, x):
        return np.exp(x)

    def grad2(self, x):
        return np.exp(x)
