# exit: 1
# expect: off the diagonal
import numpy as np


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def cross_entropy(z, y):
    return -np.sum(y * np.log(softmax(z)))


def cross_entropy_grad(z, y):
    return softmax(z) * y.sum() - y


def cross_entropy_hessian(z, y):
    p = softmax(z)
    return np.diag(p * (1 - p)) * y.sum()
