# exit: 1
# mistake: the output gate's delta is multiplied by o, the gate itself; its slope o(1 - o) belongs there
# expect: slope|1 . o|derivative is left out|gate itself|skip
import numpy as np

sig = lambda v: 1 / (1 + np.exp(-v))


def lstm_cell(x, h, c, W, U, b):
    zi, zf, zo, zg = np.split(W @ x + U @ h + b, 4)
    i, f, o, g = sig(zi), sig(zf), sig(zo), np.tanh(zg)
    c_new = f * c + i * g
    h_new = o * np.tanh(c_new)
    return h_new, c_new, (x, h, c, W, U, i, f, o, g, c_new)


def lstm_cell_backward(dh_new, dc_new, cache):
    x, h, c, W, U, i, f, o, g, c_new = cache
    t = np.tanh(c_new)
    dc_new = dc_new + dh_new * o * (1 - t ** 2)
    dzo = dh_new * t * o
    dzi = dc_new * g * i * (1 - i)
    dzf = dc_new * c * f * (1 - f)
    dzg = dc_new * i * (1 - g ** 2)
    dz = np.concatenate([dzi, dzf, dzo, dzg])
    return W.T @ dz, U.T @ dz, dc_new * f, np.outer(dz, x), np.outer(dz, h), dz
