# exit: 0
# expect: right: only mode "train" keeps what the backward needs
import numpy as np


def standardise_forward(x, gamma, beta, bn_param):
    mode = bn_param["mode"]
    eps = bn_param.get("eps", 1e-5)
    mean = bn_param.get("running_mean", np.zeros(x.shape[1]))
    cache = None
    if mode == "train":
        mean = x.mean(axis=0)
        inv = 1 / np.sqrt(x.var(axis=0) + eps)
        xhat = (x - mean) * inv
        cache = (xhat, gamma, inv)
    elif mode == "test":
        xhat = x - mean
    return gamma * xhat + beta, cache


def standardise_backward(dout, cache):
    xhat, gamma, inv = cache
    d = dout * gamma
    dx = inv * (d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0))
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)
