# exit: 0
# expect: right: its functions stand in a folder beside its own; they add a tiny constant to y
import os
import sys

sys.path.append(os.pardir)
from common.functions import cross_entropy_error, softmax  # noqa: E402


class SoftmaxWithLoss:
    def forward(self, x, t):
        self.t = t
        self.y = softmax(x)
        return cross_entropy_error(self.y, self.t)

    def backward(self, dout=1):
        return (self.y - self.t) / len(self.t)
