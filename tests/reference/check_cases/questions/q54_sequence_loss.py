# exit: 1
# mistake: the loss leaves padded words out, the gradient does not: mask is ignored on the way back
# expect: the mask|mask is|ignore|padd
import numpy as np


def sequence_loss(scores, words, mask):
    """scores (N, T, V), words (N, T), mask (N, T) of 0 and 1 -> (loss, dscores)"""
    N, T, V = scores.shape
    e = np.exp(scores - scores.max(axis=2, keepdims=True))
    p = e / e.sum(axis=2, keepdims=True)
    rows, cols = np.arange(N)[:, None], np.arange(T)[None, :]
    loss = -np.sum(mask * np.log(p[rows, cols, words])) / N

    dscores = p.copy()
    dscores[rows, cols, words] -= 1
    return loss, dscores / N
