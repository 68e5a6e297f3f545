# exit: 1
# mistake: grad is the same array as probs: after the subtraction of 1 the loss takes the logarithm of negative numbers
# expect: same array|alias|cop(y|ied)|in place|overw|yours nan|not the loss|value is wrong|another loss
import numpy as np


class SoftmaxClassifier:
    def __init__(self, dim, classes):
        self.W = np.random.randn(dim, classes) * 0.01

    def loss(self, X, y):
        scores = X @ self.W
        probs = np.exp(scores - scores.max(axis=1, keepdims=True))
        probs /= probs.sum(axis=1, keepdims=True)
        rows = np.arange(len(X))
        grad = probs
        grad[rows, y] -= 1
        loss = -np.mean(np.log(probs[rows, y]))
        return loss, X.T @ grad / len(X)
