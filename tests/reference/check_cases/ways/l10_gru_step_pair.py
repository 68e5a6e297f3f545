# exit: 0
# expect: right: gru_cell_forward(x, h, Wx, Wh, b) with the gates r, z, n side by side, the reset gate on h before the product
import numpy as np


def _sig(v):
    return 1.0 / (1.0 + np.exp(-v))


def gru_cell_forward(x, h, Wx, Wh, b):
    H = h.shape[1]
    ax = x @ Wx + b
    r = _sig(ax[:, :H] + h @ Wh[:, :H])
    z = _sig(ax[:, H:2 * H] + h @ Wh[:, H:2 * H])
    n = np.tanh(ax[:, 2 * H:] + (r * h) @ Wh[:, 2 * H:])
    out = z * h + (1 - z) * n
    return out, (x, h, Wx, Wh, r, z, n)


def gru_cell_backward(dout, cache):
    x, h, Wx, Wh, r, z, n = cache
    H = h.shape[1]
    dn = dout * (1 - z) * (1 - n ** 2)
    dz = dout * (h - n) * z * (1 - z)
    drh = dn @ Wh[:, 2 * H:].T
    dr = drh * h * r * (1 - r)
    da = np.concatenate([dr, dz, dn], axis=1)
    dx = da @ Wx.T
    dh = dout * z + drh * r + np.concatenate([dr, dz], axis=1) @ Wh[:, :2 * H].T
    dWx, db = x.T @ da, da.sum(axis=0)
    dWh = np.concatenate([h.T @ dr, h.T @ dz, (r * h).T @ dn], axis=1)
    return dx, dh, dWx, dWh, db
