# exit: 0
# expect: right: each forward returns its backward
import numpy as np


def sigmoid(X):
    Y = 1 / (1 + np.exp(-X))

    def backprop(dY):
        return dY * Y * (1 - Y)

    return Y, backprop


def linear(X, W, b):
    def backprop(dY):
        return dY @ W.T, X.T @ dY, dY.sum(axis=0)

    return X @ W + b, backprop
