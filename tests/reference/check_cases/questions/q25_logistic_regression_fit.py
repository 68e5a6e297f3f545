# exit: 1
# mistake: y - p instead of p - y: the gradient has the wrong sign, and w -= rate * gradient climbs
# expect: sign|negat
import numpy as np


class LogisticRegression:
    def __init__(self, lr=0.01, n_iters=1000):
        self.lr = lr
        self.n_iters = n_iters

    def _probabilities(self, X, w, b):
        return 1 / (1 + np.exp(-(X @ w + b)))

    def _loss(self, X, y, w, b):
        p = self._probabilities(X, w, b)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def _gradients(self, X, y, w, b):
        error = y - self._probabilities(X, w, b)
        return X.T @ error / len(y), np.mean(error)

    def fit(self, X, y):
        self.w, self.b = np.zeros(X.shape[1]), 0.0
        for _ in range(self.n_iters):
            dw, db = self._gradients(X, y, self.w, self.b)
            self.w -= self.lr * dw
            self.b -= self.lr * db
