# exit: 0
# mistake: every input of a window gets the whole gradient; each has a share of 1/(k k)
# expect: divid|share|factor|average|times too (large|big)
import numpy as np


def avgpool_forward(x, k):
    N, C, H, W = x.shape
    out = x.reshape(N, C, H // k, k, W // k, k).mean(axis=(3, 5))
    return out, (x.shape, k)


def avgpool_backward(dout, cache):
    shape, k = cache
    dx = np.repeat(np.repeat(dout, k, axis=2), k, axis=3)
    return dx.reshape(shape) / (k * k)
