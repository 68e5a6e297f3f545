# exit: 0
# expect: right: the best of k affine pieces: W (k, D, H), b (k, H); only the winning piece gets a gradient
import numpy as np


def maxout_forward(x, W, b):
    z = np.einsum("nd,kdh->nkh", x, W) + b
    best = z.argmax(axis=1)
    out = np.take_along_axis(z, best[:, None, :], axis=1)[:, 0, :]
    return out, (x, W, best)


def maxout_backward(dout, cache):
    x, W, best = cache
    dz = np.zeros((len(x), len(W), dout.shape[1]))
    np.put_along_axis(dz, best[:, None, :], dout[:, None, :], axis=1)
    dx = np.einsum("nkh,kdh->nd", dz, W)
    dW = np.einsum("nd,nkh->kdh", x, dz)
    db = dz.sum(axis=0)
    return dx, dW, db
