# exit: 0
import numpy as np


def cost(w, X, y):
    r = X @ w - y
    return 0.5 * r @ r / len(y)


def gradient(w, X, y):
    return X.T @ (X @ w - y) / len(y)


def hessian(w, X, y):
    return X.T @ X / len(y)
