# exit: !0
# mistake: conv_layer_backward forgets that windows overlap: dA_prev is written, not added to
# expect: not exit 0 in silence: the relu pair is right, the convolution beside it (other names for its arguments) is not
import numpy as np


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def conv_layer_forward(A_prev, W, b):
    m, H, Wd, C = A_prev.shape
    f, _, _, n_C = W.shape
    Z = np.zeros((m, H - f + 1, Wd - f + 1, n_C))
    for h in range(H - f + 1):
        for w in range(Wd - f + 1):
            window = A_prev[:, h:h + f, w:w + f, :]
            Z[:, h, w, :] = np.tensordot(window, W, axes=3) + b
    return Z, (A_prev, W, b)


def conv_layer_backward(dZ, cache):
    A_prev, W, b = cache
    f = W.shape[0]
    dA_prev, dW = np.zeros(A_prev.shape), np.zeros(W.shape)
    for h in range(dZ.shape[1]):
        for w in range(dZ.shape[2]):
            window = A_prev[:, h:h + f, w:w + f, :]
            dA_prev[:, h:h + f, w:w + f, :] = np.tensordot(dZ[:, h, w, :], W, axes=([1], [3]))
            dW += np.tensordot(window, dZ[:, h, w, :], axes=([0], [0]))
    return dA_prev, dW, dZ.sum(axis=(0, 1, 2))
