# exit: 2
# expect: not checked: dense is not in the file, and its gradient is not that of softmax_layer
import numpy as np


def softmax_layer(x, W):
    e = np.exp(x @ W)
    return e / e.sum(axis=1, keepdims=True)


def dense_gradient(x, W):
    return x.T @ np.ones((x.shape[0], W.shape[1]))
