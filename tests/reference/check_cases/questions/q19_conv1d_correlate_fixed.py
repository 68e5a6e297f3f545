# exit: 0
# mistake: the gradient of the signal is the full convolution with the kernel; np.correlate slides the kernel unflipped
# expect: flip|revers|rotat|180|convol|mirror
import numpy as np


def conv1d_forward(x, k):
    """Valid cross-correlation of a signal (L,) with a kernel (K,)."""
    return np.correlate(x, k, mode="valid"), (x, k)


def conv1d_backward(dout, cache):
    x, k = cache
    dk = np.correlate(x, dout, mode="valid")
    dx = np.convolve(dout, k, mode="full")
    return dx, dk
