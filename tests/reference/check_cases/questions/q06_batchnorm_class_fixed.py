# exit: 0
# mistake: dgamma is summed over x; it belongs to the normalised x_hat
# expect: normali[sz]ed|x_?hat|gamma
import numpy as np


class BatchNorm1D:
    def __init__(self, dim, eps=1e-5):
        self.gamma = np.ones(dim)
        self.beta = np.zeros(dim)
        self.eps = eps

    def forward(self, x):
        self.x = x
        self.mu = x.mean(axis=0)
        self.inv_std = 1.0 / np.sqrt(x.var(axis=0) + self.eps)
        self.x_hat = (x - self.mu) * self.inv_std
        return self.gamma * self.x_hat + self.beta

    def backward(self, dout):
        N = dout.shape[0]
        self.dgamma = np.sum(dout * self.x_hat, axis=0)
        self.dbeta = np.sum(dout, axis=0)
        dx_hat = dout * self.gamma
        dx = (N * dx_hat - dx_hat.sum(axis=0) - self.x_hat * np.sum(dx_hat * self.x_hat, axis=0))
        return dx * self.inv_std / N
