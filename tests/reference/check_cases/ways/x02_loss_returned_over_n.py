# exit: 0
"""A softmax loss in loops: its `loss` is a sum, and what it returns is that divided by N."""
import numpy as np


def softmax_loss(x, y):
    N, C = x.shape
    loss, dx = 0.0, np.zeros((N, C))
    for i in range(N):
        e = np.exp(x[i] - np.max(x[i]))
        p = e / np.sum(e)
        loss = loss - np.log(p[y[i]])
        for j in range(C):
            dx[i, j] = (p[j] - (j == y[i])) / N
    return loss / N, dx
