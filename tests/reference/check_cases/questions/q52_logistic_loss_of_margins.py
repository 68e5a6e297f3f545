# exit: 1
# mistake: for log(1 + exp(-m)) the slope is -1/(1 + exp(m)); the exponent has the wrong sign
# expect: \bsigns?\b|exponent|1 . s\b|complement|negat
import numpy as np


def logistic_loss(w, X, y, lam):
    """y is -1 or 1"""
    margin = y * (X @ w)
    return np.mean(np.log(1 + np.exp(-margin))) + lam / 2 * w @ w


def logistic_loss_gradient(w, X, y, lam):
    margin = y * (X @ w)
    s = 1 / (1 + np.exp(-margin))
    return -X.T @ (y * s) / len(y) + lam * w


def gradient_descent(w, X, y, lam, eta=0.1, steps=100):
    for _ in range(steps):
        w = w - eta * logistic_loss_gradient(w, X, y, lam)
    return w
