# exit: 0
# mistake: forward divides by the share kept, backward only applies the mask: gradients are too small by keep_prob
# expect: scale|factor|divid|1/keep|too small
import numpy as np


class DropoutLayer:
    def __init__(self, keep_prob=0.8, seed=0):
        self.keep_prob = keep_prob
        self.rng = np.random.default_rng(seed)

    def forward(self, A, training=True):
        if not training:
            self.D, self.scale = np.ones(A.shape), 1.0
        else:
            self.D, self.scale = self.rng.random(A.shape) < self.keep_prob, self.keep_prob
        return A * self.D / self.scale

    def backward(self, dA):
        return dA * self.D / self.scale
