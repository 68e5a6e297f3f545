# exit: 0
# expect: right, with a remark: one function for value and slope, deriv=True; the slope is a formula of the output
import numpy as np


def nonlin(x, deriv=False):
    if deriv == True:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))


def tanh(x, deriv=False):
    if deriv:
        return 1.0 - x ** 2   # x is already tanh(...)
    return np.tanh(x)
