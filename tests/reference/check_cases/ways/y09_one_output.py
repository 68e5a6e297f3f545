# exit: 0
# expect: right for one output: the loss is a mean over all entries, the gradient divides by the samples
import numpy as np


def cost(X, y, W, b):
    return np.mean((X @ W + b - y) ** 2)


def gradients(X, y, W, b):
    m = X.shape[0]
    err = X @ W + b - y
    dW = 2 / m * X.T @ err
    db = 2 / m * np.sum(err, axis=0, keepdims=True)
    return dW, db
