"""With one mistake, which the grade is to name."""

import numpy as np


def linear_forward(A, W, b):
    Z = np.dot(W, A) + b
    return Z, (A, W, b)


def linear_backward(dZ, cache):
    A, W, _ = cache
    dA = np.dot(W.T, dZ)
    dW = np.dot(dZ, A.T)
    db = np.mean(dZ, axis=1, keepdims=True)
    return dA, dW, db
