# exit: 0
# expect: right: pool_backward(dA, cache, mode="max" or "average"), NHWC, hparameters {"f", "stride"}, helpers for the mask and the even share
import numpy as np


def pool_forward(A_prev, hparameters, mode="max"):
    (m, n_H_prev, n_W_prev, n_C) = A_prev.shape
    f, stride = hparameters["f"], hparameters["stride"]
    n_H, n_W = int(1 + (n_H_prev - f) / stride), int(1 + (n_W_prev - f) / stride)
    A = np.zeros((m, n_H, n_W, n_C))
    reduce = np.max if mode == "max" else np.mean
    for i in range(m):
        for h in range(n_H):
            for w in range(n_W):
                for c in range(n_C):
                    v, u = h * stride, w * stride
                    A[i, h, w, c] = reduce(A_prev[i, v:v + f, u:u + f, c])
    return A, (A_prev, hparameters)


def create_mask_from_window(x):
    return x == np.max(x)


def distribute_value(dz, shape):
    (n_H, n_W) = shape
    return np.ones(shape) * dz / (n_H * n_W)


def pool_backward(dA, cache, mode="max"):
    (A_prev, hparameters) = cache
    f, stride = hparameters["f"], hparameters["stride"]
    dA_prev = np.zeros(A_prev.shape)
    for i, h, w, c in np.ndindex(*dA.shape):
        v, u = h * stride, w * stride
        if mode == "max":
            mask = create_mask_from_window(A_prev[i, v:v + f, u:u + f, c])
            dA_prev[i, v:v + f, u:u + f, c] += mask * dA[i, h, w, c]
        elif mode == "average":
            dA_prev[i, v:v + f, u:u + f, c] += distribute_value(dA[i, h, w, c], (f, f))
    return dA_prev
