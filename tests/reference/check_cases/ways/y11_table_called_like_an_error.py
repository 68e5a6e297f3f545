# exit: 0
# expect: right: a table that is called E, as an error is elsewhere, is updated in backward
import numpy as np


class Lookup:
    def __init__(self, vocab_size, dim, lr=0.1):
        rng = np.random.default_rng(0)
        self.E = rng.standard_normal((vocab_size, dim)) * 0.1
        self.lr = lr

    def forward(self, indices):
        self.indices = indices
        out = self.E[indices]
        return out

    def backward(self, dout):
        dE = np.zeros_like(self.E)
        np.add.at(dE, self.indices, dout)
        self.E -= self.lr * dE

