# exit: 1
# expect: 1 − σ
import numpy as np


def swish(x):
    return x / (1 + np.exp(-x))


def swish_grad(x):
    s = 1 / (1 + np.exp(-x))
    return s + x * s
