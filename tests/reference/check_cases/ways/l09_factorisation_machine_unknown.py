# exit: 0
# expect: right: a layer nobody knows by name: shapes x (N, D), w0 (a number), w (D,), V (D, K) found by trying; gradients in another order, in a dict
import numpy as np


def fm_forward(x, w0, w, V):
    linear = w0 + x @ w
    xv = x @ V
    pairs = 0.5 * np.sum(xv ** 2 - (x ** 2) @ (V ** 2), axis=1)
    return linear + pairs, (x, w, V, xv)


def fm_backward(dout, cache):
    x, w, V, xv = cache
    d = dout[:, None]
    dV = x.T @ (d * xv) - V * ((x ** 2).T @ d)
    dx = d * (w + xv @ V.T - x * np.sum(V ** 2, axis=1))
    return {"V": dV, "w": x.T @ dout, "w0": dout.sum(), "x": dx}
