# exit: 1
import numpy as np


class Lookup:
    def __init__(self, vocab_size, dim):
        rng = np.random.default_rng(0)
        self.E = rng.standard_normal((vocab_size, dim)) * 0.1
        self.grads = {}

    def forward(self, indices):
        self.indices = indices
        out = self.E[indices]
        return out

    def backward(self, dout):
        self.grads["E"] = np.zeros_like(self.E)
        for i, k in enumerate(self.indices): self.grads["E"][k] = dout[i]

