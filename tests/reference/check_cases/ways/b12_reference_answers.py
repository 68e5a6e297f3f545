# exit: 0
# expect: right: the labels are known by how they pick a column, whatever they are called
import numpy as np


def xent(logits, picks):
    return -logits[np.arange(len(logits)), picks] + np.log(np.sum(np.exp(logits), axis=-1))


def grad_xent(logits, picks):
    ones = np.zeros_like(logits)
    ones[np.arange(len(logits)), picks] = 1
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return (p - ones) / logits.shape[0]
