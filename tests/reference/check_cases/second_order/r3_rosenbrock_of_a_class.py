# exit: 0
import numpy as np


class Rosenbrock:
    def __init__(self, a=1.0, b=2.0):
        self.a, self.b = a, b

    def value(self, x):
        return np.sum(self.b * (x[1:] - x[:-1] ** 2) ** 2 + (self.a - x[:-1]) ** 2)

    def gradient(self, x):
        g = np.zeros_like(x)
        r = x[1:] - x[:-1] ** 2
        g[:-1] += -4 * self.b * r * x[:-1] - 2 * (self.a - x[:-1])
        g[1:] += 2 * self.b * r
        return g

    def hessian(self, x):
        n = len(x)
        H = np.zeros((n, n))
        for i in range(n - 1):
            H[i, i] += 12 * self.b * x[i] ** 2 - 4 * self.b * x[i + 1] + 2
            H[i + 1, i + 1] += 2 * self.b
            H[i, i + 1] -= 4 * self.b * x[i]
            H[i + 1, i] -= 4 * self.b * x[i]
        return H

    def hessp(self, x, p):
        return self.hessian(x) @ p
