# exit: !0
# mistake: the backward pass of the second layer is still the skeleton: it returns None
# expect: not exit 0: sigmoid is right, affine_backward gives nothing back and is not checked
import numpy as np


def sigmoid_forward(x):
    out = 1 / (1 + np.exp(-x))
    return out, out


def sigmoid_backward(dout, cache):
    out = cache
    return dout * out * (1 - out)


def affine_forward(x, w, b):
    out = x.reshape(len(x), -1) @ w + b
    cache = (x, w, b)
    return out, cache


def affine_backward(dout, cache):
    x, w, b = cache
    dx, dw, db = None, None, None
    # *****START OF YOUR CODE*****
    pass
    # *****END OF YOUR CODE*****
    return dx, dw, db
