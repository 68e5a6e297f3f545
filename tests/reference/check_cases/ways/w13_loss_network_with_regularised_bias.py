# exit: !0
# mistake: db2 holds reg * b2, but the loss regularises only the weights; with biases of 0, as they are made, nothing is seen
# expect: not called right: the biases have to be drawn, too, and reg must not be 0
import numpy as np


class Net:
    def __init__(self, D, H, C):
        rng = np.random.default_rng(1)
        self.params = dict(W1=rng.normal(size=(D, H)), b1=np.zeros(H), W2=rng.normal(size=(H, C)), b2=np.zeros(C))

    def loss(self, X, y, reg=0.1):
        W1, b1, W2, b2 = self.params.values()
        h = np.tanh(X @ W1 + b1)
        z = h @ W2 + b2
        logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        loss = -logp[np.arange(len(y)), y].mean() + 0.5 * reg * (np.sum(W1 ** 2) + np.sum(W2 ** 2))
        dz = np.exp(logp)
        dz[np.arange(len(y)), y] -= 1
        dz /= len(y)
        dh = dz @ W2.T * (1 - h ** 2)
        grads = {"W1": X.T @ dh + reg * W1, "b1": dh.sum(0),
                 "W2": h.T @ dz + reg * W2, "b2": dz.sum(0) + reg * b2}
        return loss, grads
