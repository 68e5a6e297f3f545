# exit: 0
# expect: right: eps is noise; `return dz, dz * …` are the gradients of mu and logvar, by their place
import numpy as np


def sample_forward(mu, logvar, eps):
    std = np.exp(0.5 * logvar)
    return mu + std * eps, (std, eps)


def sample_backward(dz, cache):
    std, eps = cache
    return dz, dz * eps * std * 0.5
