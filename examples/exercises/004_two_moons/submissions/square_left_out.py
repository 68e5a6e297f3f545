"""With one mistake, which the grade is to name."""

import numpy as np


def two_moons_backward(x, y, W1, b1, W2, b2):
    z1 = x.dot(W1) + b1
    a1 = np.tanh(z1)
    z2 = a1.dot(W2) + b2
    scores = np.exp(z2)
    p = scores / np.sum(scores, axis=1, keepdims=True)
    n = len(y)
    loss = np.sum(-np.log(p[range(n), y]))
    delta3 = p.copy()
    delta3[range(n), y] -= 1
    dW2 = a1.T.dot(delta3)
    db2 = np.sum(delta3, axis=0)
    delta2 = delta3.dot(W2.T) * (1 - a1)
    dW1 = x.T.dot(delta2)
    db1 = np.sum(delta2, axis=0)
    return loss, {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
