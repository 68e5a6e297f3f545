# exit: 0
import numpy as np


def time_dense_forward(h, w, b):
    (n, t, d) = h.shape
    (c,) = b.shape
    out = (h.reshape(n * t, d) @ w + b).reshape(n, t, c)
    return out, (h, w, b, out)


def time_dense_backward(dout, cache):
    h, w, b, out = cache
    n, t, d = h.shape
    flat = dout.reshape(n * t, b.shape[0])
    dh = (flat @ w.T).reshape(n, t, d)
    return dh, h.reshape(n * t, d).T @ flat, flat.sum(axis=0)
