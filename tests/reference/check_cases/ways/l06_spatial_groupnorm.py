# exit: 0
# expect: right: spatial_groupnorm_forward(x, gamma, beta, G, gn_param): groups of channels of (N, C, H, W); gamma and beta of shape (1, C, 1, 1)
import numpy as np


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    eps = gn_param.get("eps", 1e-5)
    N, C, H, W = x.shape
    xg = x.reshape(N, G, -1)
    mean = xg.mean(axis=2, keepdims=True)
    istd = 1 / np.sqrt(xg.var(axis=2, keepdims=True) + eps)
    xn = ((xg - mean) * istd).reshape(N, C, H, W)
    out = gamma * xn + beta
    return out, (G, xn, istd, gamma)


def spatial_groupnorm_backward(dout, cache):
    G, xn, istd, gamma = cache
    N, C, H, W = dout.shape
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
    dgamma = (dout * xn).sum(axis=(0, 2, 3), keepdims=True)
    dxn = (dout * gamma).reshape(N, G, -1)
    xg = xn.reshape(N, G, -1)
    M = dxn.shape[2]
    dx = istd / M * (M * dxn - dxn.sum(axis=2, keepdims=True)
                     - xg * (dxn * xg).sum(axis=2, keepdims=True))
    return dx.reshape(N, C, H, W), dgamma, dbeta
