# exit: 0
# expect: right: functions nobody has in a table: np.linalg.norm along rows, two inputs, one cotangent a row
import numpy as np


def l2_normalize_forward(x):
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    y = x / norm
    return y, (y, norm)


def l2_normalize_backward(dout, cache):
    y, norm = cache
    return (dout - y * np.sum(dout * y, axis=1, keepdims=True)) / norm


def cosine_similarity_forward(a, b):
    na, ca = l2_normalize_forward(a)
    nb, cb = l2_normalize_forward(b)
    return np.sum(na * nb, axis=1), (ca, cb)


def cosine_similarity_backward(dout, cache):
    ca, cb = cache
    da = l2_normalize_backward(dout[:, None] * cb[0], ca)
    db = l2_normalize_backward(dout[:, None] * ca[0], cb)
    return da, db
