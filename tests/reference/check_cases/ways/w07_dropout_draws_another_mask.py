# exit: !0
# mistake: backward draws its own mask, so other units get the gradient than those that were kept
# expect: not exit 0: for one forward the gradient is that of another mask
import numpy as np


class Identity:
    def forward(self, x):
        return x

    def backward(self, dout):
        return dout


class Dropout:
    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x, training=True):
        if not training:
            return x
        mask = np.random.rand(*x.shape) > self.p
        return x * mask / (1 - self.p)

    def backward(self, dout):
        mask = np.random.rand(*dout.shape) > self.p
        return dout * mask / (1 - self.p)
