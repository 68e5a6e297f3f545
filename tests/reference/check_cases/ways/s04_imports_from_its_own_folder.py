# exit: 0
# expect: right: a plain import of a file that stands in the same folder; what is imported is computed on the same numbers
import numpy as np
from s04_functions import cross_entropy, sigmoid, softmax


class SigmoidLayer:
    def forward(self, x):
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout):
        return dout * (1.0 - self.out) * self.out


class SoftmaxLoss:
    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        return cross_entropy(self.y, self.t)

    def backward(self, dout=1.0):
        return dout * (self.y - self.t) / self.t.shape[0]
