# exit: 2
import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_second_derivative(x):
    s = sigmoid(x)
    return s * (1 - s) * (1 - 2 * s)
