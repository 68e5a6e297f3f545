# exit: 2
import numpy as np


def cost_gradient(w, X, y):
    return X.T @ (X @ w - y) / len(y)


def cost_hvp(w, X, y, v, eps=1e-5):
    return (cost_gradient(w + eps * v, X, y) - cost_gradient(w - eps * v, X, y)) / (2 * eps)


def cost(w, X, y):
    r = X @ w - y
    return 0.5 * r @ r / len(y)
