"""A network for two classes: the mean binary cross-entropy, and its gradients."""

import numpy as np


def network_backward(x, t, W1, b1, W2, b2):
    z1 = x @ W1 + b1
    h = np.maximum(z1, 0)
    z2 = h @ W2 + b2
    p = 1 / (1 + np.exp(-z2))
    loss = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    dz2 = (p - t) / t.size
    dW2 = h.T @ dz2
    db2 = dz2.sum(axis=0)
    dz1 = (dz2 @ W2.T) * (z1 > 0)
    dW1 = x.T @ dz1
    db1 = dz1.sum(axis=0)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
