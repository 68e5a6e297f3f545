# exit: 1
# mistake: the gradients of Wq and Wk are stored under each other's names (both have the same shape)
# expect: swap|exchang|each other|Wk|Wq|other.s
import numpy as np


class SelfAttention:
    def __init__(self, dim):
        self.params = {k: np.random.randn(dim, dim) * 0.3 for k in ("Wq", "Wk", "Wv")}
        self.grads = {}

    def forward(self, x):
        self.x = x
        self.q, self.k, self.v = (x @ self.params[n] for n in ("Wq", "Wk", "Wv"))
        s = self.q @ self.k.T / np.sqrt(x.shape[1])
        e = np.exp(s - s.max(axis=1, keepdims=True))
        self.p = e / e.sum(axis=1, keepdims=True)
        return self.p @ self.v

    def backward(self, dout):
        dv = self.p.T @ dout
        dp = dout @ self.v.T
        ds = self.p * (dp - (dp * self.p).sum(axis=1, keepdims=True)) / np.sqrt(self.x.shape[1])
        dq, dk = ds @ self.k, ds.T @ self.q
        self.grads["Wq"] = self.x.T @ dk
        self.grads["Wk"] = self.x.T @ dq
        self.grads["Wv"] = self.x.T @ dv
        return dq @ self.params["Wq"].T + dk @ self.params["Wk"].T + dv @ self.params["Wv"].T
