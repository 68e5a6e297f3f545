# exit: 1
# expect: a factor 2 is left out
import numpy as np


def tanh(x):
    return np.tanh(x)


def tanh_prime(x):
    return 1 - np.tanh(x) ** 2


def tanh_second(x):
    t = np.tanh(x)
    return -t * (1 - t**2)
