# exit: 0
# expect: right: self.b is a plain number
import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class LogisticRegression:
    def __init__(self, n_features):
        self.w = np.zeros((n_features, 1))
        self.b = 0.0

    def loss(self, X, y):
        p = sigmoid(X @ self.w + self.b)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def gradients(self, X, y):
        p = sigmoid(X @ self.w + self.b)
        dw = X.T @ (p - y) / len(y)
        db = np.mean(p - y)
        return dw, db


def logistic_cost(w, b, X, y):
    p = sigmoid(X @ w + b)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def logistic_gradient(w, b, X, y):
    p = sigmoid(X @ w + b)
    dw = X.T @ (p - y) / X.shape[0]
    db = np.sum(p - y) / X.shape[0]
    return dw, db
