# exit: 1
# mistake: t * t is 1 for t of -1 and 1; the inner derivative is -t
# expect: inner derivative|left
import numpy as np


def squared_hinge(scores, t):
    """t is -1 or 1"""
    return np.mean(np.maximum(0, 1 - t * scores) ** 2)


def squared_hinge_grad(scores, t):
    return -2 * np.maximum(0, 1 - t * scores) / t.size
