# exit: 0
# expect: right: pool_w is a size, no weight; X_dim is taken apart into channels, height and width
import numpy as np


class MaxPool:
    def __init__(self, X_dim, pool_h, pool_w, stride=1):
        self.d, self.h, self.w = X_dim
        self.pool_h, self.pool_w, self.stride = pool_h, pool_w, stride
        self.out_h = (self.h - pool_h) // stride + 1
        self.out_w = (self.w - pool_w) // stride + 1

    def windows(self):
        for i in range(self.out_h):
            for j in range(self.out_w):
                top, left = i * self.stride, j * self.stride
                yield i, j, slice(top, top + self.pool_h), slice(left, left + self.pool_w)

    def forward(self, X):
        self.X = X
        out = np.zeros((X.shape[0], self.d, self.out_h, self.out_w))
        for i, j, rows, columns in self.windows():
            out[:, :, i, j] = X[:, :, rows, columns].max(axis=(2, 3))
        return out

    def backward(self, dout):
        dX = np.zeros_like(self.X)
        for i, j, rows, columns in self.windows():
            part = self.X[:, :, rows, columns]
            mask = part == part.max(axis=(2, 3), keepdims=True)
            dX[:, :, rows, columns] += mask * dout[:, :, i : i + 1, j : j + 1]
        return dX
