# exit: 0
# mistake: none: right, but fragile: the largest number of the whole batch is subtracted, so a row far below it becomes 0/0
# expect: fragile|nan|row|maximum
import numpy as np


class SoftmaxLayer:
    def forward(self, x):
        e = np.exp(x - np.max(x))
        self.y = e / np.sum(e, axis=1, keepdims=True)
        return self.y

    def backward(self, dy):
        return self.y * (dy - np.sum(dy * self.y, axis=1, keepdims=True))
