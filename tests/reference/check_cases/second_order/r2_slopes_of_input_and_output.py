# exit: 0
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_prime(y):
    return y * (1 - y)


def sigmoid_second(x):
    s = sigmoid(x)
    return s * (1 - s) * (1 - 2 * s)


def tanh(x):
    return np.tanh(x)


def tanh_derivative(x):
    return 1 - np.tanh(x) ** 2


def tanh_second_derivative(y):
    return -2 * y * (1 - y * y)


def softplus(x):
    return np.logaddexp(0, x)


def dsoftplus(x):
    return 1 / (1 + np.exp(-x))


def d2softplus(x):
    s = 1 / (1 + np.exp(-x))
    return s * (1 - s)
