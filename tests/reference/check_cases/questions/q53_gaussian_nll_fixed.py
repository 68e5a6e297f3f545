# exit: 0
# mistake: the derivative of r^2/(2 sigma^2) in sigma is -r^2/sigma^3; sigma^2 stands there
# expect: power|exponent|cube|\*\* ?3|\^3|σ³|factor
import numpy as np


def gaussian_nll(mu, sigma, y):
    """-> the mean over samples and its gradients in mu and sigma."""
    n = len(y)
    r = y - mu
    nll = np.sum(np.log(sigma) + r ** 2 / (2 * sigma ** 2)) / n
    d_mu = -r / sigma ** 2 / n
    d_sigma = (1 / sigma - r ** 2 / sigma ** 3) / n
    return nll, d_mu, d_sigma
