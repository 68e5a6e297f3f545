# exit: 0
# mistake: the forward's std has N - 1 in it (ddof=1), the backward takes the mean over N
# expect: (N|D) ?[-−–] ?1\b|unbiased|ddof|Bessel|variance|standard deviation|factor
import numpy as np


class LayerNorm:
    def __init__(self, features, eps=1e-6):
        self.a = np.ones(features)
        self.b = np.zeros(features)
        self.eps = eps

    def forward(self, x):
        self.mean = x.mean(-1, keepdims=True)
        self.std = x.std(-1, keepdims=True, ddof=1)
        self.norm = (x - self.mean) / (self.std + self.eps)
        self.centred = x - self.mean
        return self.a * self.norm + self.b

    def backward(self, dout):
        n = dout.shape[-1]
        self.da, self.db = (dout * self.norm).sum(axis=0), dout.sum(axis=0)
        g = dout * self.a / (self.std + self.eps)
        inner = (g * self.norm).sum(-1, keepdims=True)
        dx = g - self.centred / self.std * inner / (n - 1)
        return dx - dx.mean(-1, keepdims=True)
