# exit: 0
# mistake: tanh's slope is 1 - a**2; the square is left out
# expect: square|a ?\*\* ?2|a²|1 . a|tanh
import numpy as np


class MLP:
    def __init__(self, sizes=(2, 8, 1)):
        self.W = [np.random.randn(a, b) for a, b in zip(sizes, sizes[1:])]
        self.b = [np.random.randn(b) for b in sizes[1:]]

    def forward(self, x):
        self.a = [x]
        for W, b in zip(self.W[:-1], self.b[:-1]):
            self.a.append(np.tanh(self.a[-1] @ W + b))
        return self.a[-1] @ self.W[-1] + self.b[-1]

    def loss(self, x, y):
        return np.mean((self.forward(x) - y) ** 2)

    def gradients(self, x, y):
        delta = 2 * (self.forward(x) - y) / y.size
        dW, db = [], []
        for k in range(len(self.W) - 1, -1, -1):
            dW.insert(0, self.a[k].T @ delta)
            db.insert(0, delta.sum(axis=0))
            delta = (delta @ self.W[k].T) * (1 - self.a[k] ** 2)
        return dW, db
