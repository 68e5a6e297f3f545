# exit: !0
# mistake: the gradients of gamma and beta are returned under each other's names; both have the same shape
# expect: not called right: by the names in the dict dgamma is beta's gradient, and dbeta gamma's
import numpy as np


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    xhat = (x - mean) * inv
    return gamma * xhat + beta, (xhat, inv, gamma)


def layer_norm_backward(dout, cache):
    xhat, inv, gamma = cache
    g = dout * gamma
    dx = inv * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))
    first = dout.sum(axis=0)
    second = (dout * xhat).sum(axis=0)
    return {"dx": dx, "dgamma": first, "dbeta": second}
