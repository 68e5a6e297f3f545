# exit: 0
import numpy as np


def norm_forward(x, scale, shift, norm_param):
    eps = norm_param.get("eps", 1e-5)
    if norm_param["mode"] != "train":
        raise ValueError("only in training")
    mean, var = x.mean(axis=0), x.var(axis=0)
    hat = (x - mean) / np.sqrt(var + eps)
    return scale * hat + shift, (hat, scale, np.sqrt(var + eps))


def norm_backward(dout, cache):
    hat, scale, std = cache
    dhat = dout * scale
    dx = (dhat - dhat.mean(axis=0) - hat * (dhat * hat).mean(axis=0)) / std
    return dx, (dout * hat).sum(axis=0), dout.sum(axis=0)


def spatial_norm_forward(x, scale, shift, norm_param):
    n, c, h, w = x.shape
    flat = x.transpose(0, 2, 3, 1).reshape(-1, c)
    out, cache = norm_forward(flat, scale, shift, norm_param)
    return out.reshape(n, h, w, c).transpose(0, 3, 1, 2), cache


def spatial_norm_backward(dout, cache):
    n, c, h, w = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, c)
    dx, dscale, dshift = norm_backward(flat, cache)
    return dx.reshape(n, h, w, c).transpose(0, 3, 1, 2), dscale, dshift
