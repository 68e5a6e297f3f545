# exit: 0
# mistake: what goes back in time is Whh.T times dh; dhraw, after tanh's slope, belongs there
# expect: skips_activation|activation_skipped|before its derivative|dhraw|slope|tanh|derivative is left out
import numpy as np


class CharRNN:
    def __init__(self, V, H):
        self.Wxh, self.Whh = np.random.randn(H, V) * 0.3, np.random.randn(H, H) * 0.3
        self.Why = np.random.randn(V, H) * 0.3
        self.bh, self.by = np.zeros(H), np.zeros(V)

    def loss(self, inputs, targets, h):
        hs, ps, loss = {-1: h}, {}, 0.0
        for t, i in enumerate(inputs):
            hs[t] = np.tanh(self.Wxh[:, i] + self.Whh @ hs[t - 1] + self.bh)
            y = self.Why @ hs[t] + self.by
            ps[t] = np.exp(y) / np.exp(y).sum()
            loss -= np.log(ps[t][targets[t]])
        g = {k: np.zeros_like(getattr(self, k)) for k in ("Wxh", "Whh", "Why", "bh", "by")}
        dhnext = np.zeros_like(h)
        for t in reversed(range(len(inputs))):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            g["Why"] += np.outer(dy, hs[t])
            g["by"] += dy
            dh = self.Why.T @ dy + dhnext
            dhraw = (1 - hs[t] ** 2) * dh
            g["bh"] += dhraw
            g["Wxh"][:, inputs[t]] += dhraw
            g["Whh"] += np.outer(dhraw, hs[t - 1])
            dhnext = self.Whh.T @ dhraw
        return loss, g
