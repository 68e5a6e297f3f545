# exit: 0
import numpy as np


class MLP:
    def __init__(self, dim_in, hidden_units, dim_out):
        assert len(hidden_units) > 0
        dims = [dim_in] + hidden_units + [dim_out]
        self.ws = [np.random.uniform(-1, 1, (a, b)) for a, b in zip(dims, dims[1:])]
        self.bs = [np.zeros(b) for b in dims[1:]]

    def forward(self, x):
        self.zs, self.hs = [], []
        for i, (w, b) in enumerate(zip(self.ws, self.bs)):
            self.hs.append(x)
            x = x @ w + b
            self.zs.append(x)
            if i < len(self.ws) - 1:
                x = np.maximum(x, 0)
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def backward(self, y_hat, y):
        n = len(y)
        delta = y_hat.copy()
        delta[np.arange(n), y] -= 1
        dws, dbs = [], []
        for t in range(len(self.zs) - 1, -1, -1):
            dws.append(self.hs[t].T @ delta / n)
            dbs.append(delta.mean(axis=0))
            if t > 0:
                delta = delta @ self.ws[t].T * (self.zs[t - 1] > 0)
        return dws[::-1], dbs[::-1]
