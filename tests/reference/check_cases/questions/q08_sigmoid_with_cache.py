# exit: 1
# mistake: the cache is Z, but dA * Z * (1 - Z) is the formula of the activation A
# expect: formula|of (the|its) (output|value|activation)|pre-?activation|given the input|evaluated at|in place of
import numpy as np


def sigmoid_activation(Z):
    """Returns the activation and the cache for the way back (Z)."""
    A = 1.0 / (1.0 + np.exp(-Z))
    return A, Z


def sigmoid_activation_backward(dA, activation_cache):
    Z = activation_cache
    dZ = dA * Z * (1 - Z)
    return dZ


def tanh_activation(Z):
    return np.tanh(Z), Z


def tanh_activation_backward(dA, activation_cache):
    Z = activation_cache
    return dA * (1 - np.tanh(Z) ** 2)
