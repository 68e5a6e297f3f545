# exit: 0
# mistake: swish' = s + x s (1 - s); the factor s of the second term is missing
# expect: factor|s ?\(1 . s\)|inner derivative|left out|missing
import numpy as np


def swish(x, beta=1.0):
    return x / (1 + np.exp(-beta * x))


def swish_prime(x, beta=1.0):
    s = 1 / (1 + np.exp(-beta * x))
    return s + beta * x * s * (1 - s)
