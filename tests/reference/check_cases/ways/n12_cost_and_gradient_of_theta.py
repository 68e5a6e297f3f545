# exit: 0
# expect: right: cost(theta, X, y, lam) and gradient(theta, X, y, lam) as scipy.optimize wants them; theta[0] is not regularised
import numpy as np


def h(theta, X):
    return 1 / (1 + np.exp(-X.dot(theta)))


def cost(theta, X, y, lam=1.0):
    m = len(y)
    p = h(theta, X)
    J = -(y.dot(np.log(p)) + (1 - y).dot(np.log(1 - p))) / m
    return J + lam / (2 * m) * np.sum(theta[1:] ** 2)


def gradient(theta, X, y, lam=1.0):
    m = len(y)
    grad = X.T.dot(h(theta, X) - y) / m
    grad[1:] = grad[1:] + lam / m * theta[1:]
    return grad
