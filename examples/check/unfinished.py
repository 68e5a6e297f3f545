"""A backward without its forward: it cannot be checked, and the check says what to add."""

import numpy as np


def scale_backward(dout, cache):
    """Of which forward? The cache tells nothing."""
    dout = np.asarray(dout)
    return dout * cache[0]
