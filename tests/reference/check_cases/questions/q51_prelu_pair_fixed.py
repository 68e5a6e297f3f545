# exit: 0
# mistake: the slope's gradient is the sum of dout over the negative entries; each has to be multiplied by its x
# expect: factor|times x|its (input|x)|multiplied|x is (missing|left out)
import numpy as np


def prelu_forward(x, a):
    out = np.where(x > 0, x, a * x)
    return out, (x, a)


def prelu_backward(dout, cache):
    x, a = cache
    dx = np.where(x > 0, dout, a * dout)
    da = np.sum(np.where(x > 0, 0, dout * x), axis=0)
    return dx, da
