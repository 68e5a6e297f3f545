# exit: 0
# expect: right: a signal (N, T) and a kernel (K,)
import numpy as np


def conv1d_forward(x, w, dilation=2):
    T = x.shape[1] - dilation * (len(w) - 1)
    y = np.zeros((len(x), T))
    for t in range(T):
        for k in range(len(w)):
            y[:, t] += x[:, t + dilation * k] * w[k]
    return y, (x, w, dilation)


def conv1d_backward(dy, cache):
    x, w, dilation = cache
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for t in range(dy.shape[1]):
        for k in range(len(w)):
            dx[:, t + dilation * k] += dy[:, t] * w[k]
            dw[k] += np.sum(dy[:, t] * x[:, t + dilation * k])
    return dx, dw
