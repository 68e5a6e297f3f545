# exit: 1
# mistake: dW[x] = dout: a word that occurs twice keeps only its last gradient; np.add.at adds them
# expect: add\.at|overwrit|\+=|repeat|twice|last
import numpy as np


def word_embedding_forward(x, W):
    """x: integers (N, T), W: (V, D) -> (N, T, D)"""
    out = W[x, :]
    cache = x, W
    return out, cache


def word_embedding_backward(dout, cache):
    x, W = cache
    dW = np.zeros_like(W)
    dW[x] = dout
    return dW
