# exit: 0
# expect: right: derivative=True gives the slope at the input
import numpy as np


def sigmoid(z, derivative=False):
    s = 1.0 / (1.0 + np.exp(-z))
    if derivative:
        return s * (1.0 - s)
    return s


def relu(z, derivative=False):
    return (z > 0).astype(float) if derivative else np.maximum(z, 0.0)


def softplus(z, derivative=False):
    if derivative:
        return sigmoid(z)
    return np.log1p(np.exp(z))
