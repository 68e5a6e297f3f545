"""With one mistake, which the grade is to name."""

import numpy as np


def network_backward(x, t, W1, b1, W2, b2):
    z1 = x @ W1 + b1
    h = np.where(z1 > 0, z1, 0.0)
    z2 = h @ W2 + b2
    p = 1 / (1 + np.exp(-z2))
    loss = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    dp = (-t / p + (1 - t) / (1 - p)) / t.size
    dz2 = dp * p * (1 - p)
    dW2, db2 = h.T @ dz2, dz2.sum(axis=0)
    dh = dz2 @ W2.T
    dz1 = dh
    dW1, db1 = x.T @ dz1, dz1.sum(axis=0)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
