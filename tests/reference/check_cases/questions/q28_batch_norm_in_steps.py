# exit: 1
# mistake: d(var + eps)**-0.5 / dvar is -0.5 (var + eps)**-1.5; the power stays at -0.5
# expect: power|exponent|1\.5|3/2|var|σ|term
import numpy as np

EPS = 1e-5


def batch_norm(x, gamma, beta):
    mean, var = np.mean(x, axis=0), np.var(x, axis=0)
    x_norm = (x - mean) / np.sqrt(var + EPS)
    out = gamma * x_norm + beta
    return out, (x, x_norm, mean, var, gamma)


def batch_norm_backward(dout, cache):
    x, x_norm, mean, var, gamma = cache
    N = x.shape[0]
    dx_norm = dout * gamma
    dvar = np.sum(dx_norm * (x - mean) * -0.5 * (var + EPS) ** -0.5, axis=0)
    dmean = np.sum(dx_norm * -1 / np.sqrt(var + EPS), axis=0) + dvar * np.mean(-2 * (x - mean), axis=0)
    dx = dx_norm / np.sqrt(var + EPS) + dvar * 2 * (x - mean) / N + dmean / N
    dgamma = np.sum(dout * x_norm, axis=0)
    dbeta = np.sum(dout, axis=0)
    return dx, dgamma, dbeta
