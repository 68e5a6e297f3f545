# exit: 1
# expect: another|swap|exchang
import numpy as np


class Scale:
    def __init__(self, g, b):
        self.g, self.b = g, b

    def forward(self, x):
        self.x = x
        return x * self.g + self.b

    def backward(self, dout):
        return dout * self.g, dout.sum(axis=0), (dout * self.x).sum(axis=0)
