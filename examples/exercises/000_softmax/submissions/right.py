"""Written otherwise: with one-hot rows."""

import numpy as np


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def cross_entropy_forward(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y]).sum() / len(y)


def cross_entropy_backward(z, y):
    dz = (softmax(z) - np.eye(z.shape[1])[y]) / len(y)
    return dz
