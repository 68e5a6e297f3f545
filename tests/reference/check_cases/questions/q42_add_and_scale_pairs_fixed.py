# exit: 0
# mistake: the bias was broadcast over the rows; its gradient has to be summed over them, the whole (N, D) array is returned
# expect: (has|of) (the )?shape|wrong shape|summed|broadcast|sum over
import numpy as np


def add_bias_forward(x, b):
    out = x + b
    cache = (x.shape, b.shape)
    return out, cache


def add_bias_backward(dout, cache):
    dx = dout.copy()
    db = dout.sum(axis=0)
    return dx, db


def scale_forward(x, s):
    return x * s, (x, s)


def scale_backward(dout, cache):
    x, s = cache
    return dout * s, (dout * x).sum(axis=0)
