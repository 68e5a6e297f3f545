# exit: !0
# mistake: the gradient's array takes the dtype of the integer targets: everything is cut to whole numbers, most of it to 0
# expect: not exit 0: what is returned is an integer array
import numpy as np


def softmax_cross_entropy(logits, onehot):
    """onehot: integers 0 and 1, (N, C)"""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.sum(onehot * np.log(p)) / len(logits)
    grad = np.zeros(onehot.shape, dtype=int)
    for i in range(len(logits)):
        for j in range(logits.shape[1]):
            grad[i, j] = (p[i, j] - onehot[i, j]) / len(logits)
    return loss, grad
