# exit: 0
# expect: right: words by number, a matrix of columns for them, no truncation within the sequence
import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


class RNN:
    def __init__(self, word_dim, hidden_dim=100, bptt_truncate=2):
        self.hidden_dim, self.bptt_truncate = hidden_dim, bptt_truncate
        self.U = np.random.uniform(-0.1, 0.1, (hidden_dim, word_dim))
        self.V = np.random.uniform(-0.1, 0.1, (word_dim, hidden_dim))
        self.W = np.random.uniform(-0.1, 0.1, (hidden_dim, hidden_dim))

    def forward_propagation(self, x):
        s = np.zeros((len(x) + 1, self.hidden_dim))
        o = [None] * len(x)
        for t in range(len(x)):
            s[t] = np.tanh(self.U[:, x[t]] + self.W.dot(s[t - 1]))
            o[t] = softmax(self.V.dot(s[t]))
        return np.array(o), s

    def calculate_total_loss(self, x, y):
        o, s = self.forward_propagation(x)
        return -np.sum(np.log(o[np.arange(len(y)), y]))

    def bptt(self, x, y):
        o, s = self.forward_propagation(x)
        dLdU, dLdV, dLdW = (np.zeros(m.shape) for m in (self.U, self.V, self.W))
        o[np.arange(len(y)), y] -= 1.0
        for t in reversed(range(len(y))):
            dLdV += np.outer(o[t], s[t])
            delta = self.V.T.dot(o[t]) * (1 - s[t] ** 2)
            for step in reversed(range(max(0, t - self.bptt_truncate), t + 1)):
                dLdW += np.outer(delta, s[step - 1])
                dLdU[:, x[step]] += delta
                delta = self.W.T.dot(delta) * (1 - s[step - 1] ** 2)
        return [dLdU, dLdV, dLdW]
