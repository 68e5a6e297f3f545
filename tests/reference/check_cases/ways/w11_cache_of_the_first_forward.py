# exit: !0
# mistake: the output is kept only the first time forward is called; from the second batch on backward uses the old one
# expect: not exit 0: right for the first forward, wrong for every later one
import numpy as np


class Tanh:
    def __init__(self):
        self.out = None

    def forward(self, x):
        out = np.tanh(x)
        if self.out is None:
            self.out = out
        return out

    def backward(self, dout):
        return dout * (1 - self.out ** 2)
