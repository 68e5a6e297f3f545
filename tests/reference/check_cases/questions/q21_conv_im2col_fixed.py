# exit: 0
# mistake: dout (N, F, H, W) is reshaped to (F, -1) without moving F to the front: for more than one sample the entries are mixed up
# expect: transpos|order|reshape|axes|axis|layout|permut|sample
import numpy as np


def unfold(x, k):
    N, C, H, W = x.shape
    cols = [x[:, :, i:i + H - k + 1, j:j + W - k + 1] for i in range(k) for j in range(k)]
    return np.stack(cols, axis=2).reshape(N, C * k * k, -1).transpose(1, 0, 2).reshape(C * k * k, -1)


def conv_forward_im2col(x, w, b):
    F, C, k, _ = w.shape
    N, oh, ow = len(x), x.shape[2] - k + 1, x.shape[3] - k + 1
    col = unfold(x, k)
    out = (w.reshape(F, -1) @ col + b[:, None]).reshape(F, N, oh, ow).transpose(1, 0, 2, 3)
    return out, (x.shape, w, col)


def conv_backward_im2col(dout, cache):
    (N, C, H, W), w, col = cache
    F, _, k, _ = w.shape
    flat = dout.transpose(1, 0, 2, 3).reshape(F, -1)
    dw = (flat @ col.T).reshape(w.shape)
    dcol = (w.reshape(F, -1).T @ flat).reshape(C, k, k, N, H - k + 1, W - k + 1)
    dx = np.zeros((N, C, H, W))
    for i in range(k):
        for j in range(k):
            dx[:, :, i:i + H - k + 1, j:j + W - k + 1] += dcol[:, i, j].transpose(1, 0, 2, 3)
    return dx, dw, dout.sum(axis=(0, 2, 3))
