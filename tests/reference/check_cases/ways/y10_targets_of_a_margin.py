# exit: 0
# expect: right with a margin of -1 and 1
import numpy as np


def squared_hinge(scores, t):
    """t is -1 or 1"""
    return np.mean(np.maximum(0, 1 - t * scores) ** 2)


def squared_hinge_grad(scores, t):
    return -2 * t * np.maximum(0, 1 - t * scores) / t.size
