# exit: 0
import numpy as np


def logistic_loss(w, X, y):
    return np.mean(np.log1p(np.exp(-y * (X @ w))))


def logistic_loss_grad(w, X, y):
    s = 1 / (1 + np.exp(y * (X @ w)))
    return -(X.T @ (y * s)) / len(y)


def logistic_loss_hvp(w, X, y, v):
    s = 1 / (1 + np.exp(y * (X @ w)))
    return X.T @ (s * (1 - s) * (X @ v)) / len(y)


def logistic_loss_hessian(w, X, y):
    s = 1 / (1 + np.exp(y * (X @ w)))
    return (X.T * (s * (1 - s))) @ X / len(y)
