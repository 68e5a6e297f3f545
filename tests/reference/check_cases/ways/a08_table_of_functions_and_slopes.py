# exit: 0
# expect: right: a dict from a name to the pair (function, slope); the slopes of sigmoid and tanh are of the output, those of the others of the input, as `layer_delta` calls them
import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def d_sigmoid(a):
    """a is the activation"""
    return a * (1 - a)


def tanh(z):
    return np.tanh(z)


def d_tanh(a):
    """a is the activation"""
    return 1 - a * a


def gaussian(z):
    return np.exp(-z ** 2)


def d_gaussian(z):
    return -2 * z * np.exp(-z ** 2)


ACTIVATIONS = {
    "sigmoid": (sigmoid, d_sigmoid),
    "tanh": (tanh, d_tanh),
    "gaussian": (gaussian, d_gaussian),
}


def layer_delta(name, error, z):
    f, df = ACTIVATIONS[name]
    return error * (df(z) if name == "gaussian" else df(f(z)))
