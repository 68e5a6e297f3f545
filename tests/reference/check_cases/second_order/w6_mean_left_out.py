# exit: 1
# expect: factor X.shape\[0\] too many
import numpy as np


def cost(w, X, y):
    r = X @ w - y
    return 0.5 * r @ r / len(y)


def cost_gradient(w, X, y):
    return X.T @ (X @ w - y) / len(y)


def cost_hessian(w, X, y):
    return X.T @ X
