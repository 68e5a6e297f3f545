# exit: 0
# expect: right: one sample, the Jacobian as a matrix, computed from the softmax's output
import numpy as np


def softmax(z):
    shifted = z - np.max(z)
    ez = np.exp(shifted)
    return ez / np.sum(ez)


def softmax_grad(s):
    # s: output of softmax for one sample, shape (C,)
    s = s.reshape(-1, 1)
    return np.diagflat(s) - np.dot(s, s.T)
