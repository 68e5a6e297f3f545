# exit: 0
# expect: right: tanh is not in the file, and its name says enough
import numpy as np


def sigmoid(x):
    return 1.0 / (1 + np.exp(-x))


def sigmoid_derivative(values):
    return values * (1 - values)


def tanh_derivative(values):
    return 1.0 - values**2
