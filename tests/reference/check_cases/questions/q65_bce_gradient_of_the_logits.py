# exit: 1
# expect: logits
import numpy as np


def binary_crossentropy(y, p):
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


def binary_crossentropy_prime(y, p):
    return (p - y) / y.size
