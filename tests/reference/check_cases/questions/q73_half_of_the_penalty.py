# exit: 1
# mistake: the penalty is lam * W ** 2, its gradient 2 lam W
# expect: regularis|decay
"""Algorithms 6.3 and 6.4 of Deep Learning (Goodfellow, Bengio, Courville)."""

import numpy as np


def f(a):
    return np.maximum(a, 0)


def forward_propagation(x, y, W, b, lam):
    h = [x]
    a = []
    for k in range(len(W)):
        a.append(b[k] + W[k] @ h[k])
        h.append(f(a[k]))
    y_hat = h[-1]
    omega = sum(np.sum(w**2) for w in W)
    J = 0.5 * np.sum((y_hat - y) ** 2) + lam * omega
    return J, a, h


def backward_computation(x, y, W, b, lam):
    J, a, h = forward_propagation(x, y, W, b, lam)
    grad_b = [None] * len(W)
    grad_W = [None] * len(W)
    g = h[-1] - y
    for k in reversed(range(len(W))):
        g = g * (a[k] > 0)
        grad_b[k] = g
        grad_W[k] = np.outer(g, h[k]) + lam * W[k]
        g = W[k].T @ g
    return grad_W, grad_b
