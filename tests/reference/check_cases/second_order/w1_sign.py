# exit: 1
# expect: wrong sign
import numpy as np


def tanh(x):
    return np.tanh(x)


def tanh_prime(x):
    return 1 - np.tanh(x) ** 2


def tanh_double_prime(x):
    t = np.tanh(x)
    return 2 * t * (1 - t**2)
