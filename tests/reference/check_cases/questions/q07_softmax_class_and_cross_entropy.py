# exit: 1
# mistake: softmax's backward as if it worked entry by entry: grad * p(1 - p), without the entries off the diagonal
# expect: Jacobian|off.(the.)?diagonal|p ?\(1 . p\)|sum over the row
import numpy as np


class Softmax:
    def __init__(self):
        self.probs = None

    def __call__(self, logits):
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        self.probs = exps / exps.sum(axis=1, keepdims=True)
        return self.probs

    def backward(self, grad):
        p = self.probs
        return grad * p * (1 - p)


class CrossEntropy:
    def __call__(self, probs, onehot):
        return -np.sum(onehot * np.log(probs)) / len(probs)

    def backward(self, probs, onehot):
        return -onehot / probs / len(probs)
