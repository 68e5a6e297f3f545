# exit: 1
# expect: cosine
import numpy as np


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def cross_entropy(z, y):
    return -np.sum(y * np.log(softmax(z)))


def cross_entropy_grad(z, y):
    return softmax(z) - y


def cross_entropy_hvp(z, y, v):
    return softmax(z) * v
