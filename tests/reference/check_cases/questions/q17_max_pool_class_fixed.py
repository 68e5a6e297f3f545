# exit: 0
# mistake: windows overlap where the stride is smaller than the window: dx has to be added to, = keeps the last window's gradient
# expect: overlap|\+=|overwrit|accumulat|added up|lacks
import numpy as np


class MaxPool2D:
    def __init__(self, pool=3, stride=2):
        self.pool, self.stride = pool, stride

    def forward(self, X):
        self.X = X
        n, c, h, w = X.shape
        p, s = self.pool, self.stride
        out = np.zeros((n, c, (h - p) // s + 1, (w - p) // s + 1))
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                out[:, :, i, j] = np.max(X[:, :, i * s:i * s + p, j * s:j * s + p], axis=(2, 3))
        return out

    def backward(self, dY):
        p, s = self.pool, self.stride
        dX = np.zeros_like(self.X)
        for n, c, i, j in np.ndindex(*dY.shape):
            window = self.X[n, c, i * s:i * s + p, j * s:j * s + p]
            mask = window == window.max()
            view = dX[n, c, i * s:i * s + p, j * s:j * s + p]
            view[mask] += dY[n, c, i, j]
        return dX
