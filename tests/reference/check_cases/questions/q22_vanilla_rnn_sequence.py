# exit: 1
# mistake: dh goes back through Whh as it is; the transpose belongs there (square, so nothing complains)
# expect: transpos
import numpy as np


class VanillaRNN:
    def __init__(self, D, H):
        self.Wxh = np.random.randn(H, D) * 0.1
        self.Whh = np.random.randn(H, H) * 0.1
        self.bh = np.zeros(H)

    def forward(self, xs):
        """xs: (T, D) -> states (T, H)"""
        self.xs, self.hs = xs, [np.zeros(len(self.bh))]
        for x in xs:
            self.hs.append(np.tanh(self.Wxh @ x + self.Whh @ self.hs[-1] + self.bh))
        return np.array(self.hs[1:])

    def backward(self, dhs):
        self.dWxh, self.dWhh, self.dbh = (np.zeros_like(p) for p in (self.Wxh, self.Whh, self.bh))
        dxs, dh_next = np.zeros_like(self.xs), np.zeros(len(self.bh))
        for t in reversed(range(len(self.xs))):
            dz = (dhs[t] + dh_next) * (1 - self.hs[t + 1] ** 2)
            self.dWxh += np.outer(dz, self.xs[t])
            self.dWhh += np.outer(dz, self.hs[t])
            self.dbh += dz
            dxs[t] = self.Wxh.T @ dz
            dh_next = self.Whh @ dz
        return dxs
