# exit: !0
# mistake: backward of MaxPool uses self.argmax, which forward never kept: it raises
# expect: not exit 0: ReLU is right, MaxPool.backward cannot run, and the result says that the file's own line raises
import numpy as np


class ReLU:
    def forward(self, x):
        self.x = x
        return np.maximum(0, x)

    def backward(self, dout):
        return np.where(self.x > 0, dout, 0)


class MaxPool:
    """Over the last axis, in windows of `size`."""

    def __init__(self, size):
        self.size = size

    def forward(self, x):
        windows = x.reshape(x.shape[0], -1, self.size)
        argmax = windows.argmax(axis=2)
        return np.take_along_axis(windows, argmax[:, :, None], axis=2)[:, :, 0]

    def backward(self, dout):
        dx = np.zeros((*dout.shape, self.size))
        np.put_along_axis(dx, self.argmax[:, :, None], dout[:, :, None], axis=2)
        return dx.reshape(len(dout), -1)
