# exit: 0
# expect: right: images (N, H, W, C), kernels (KH, KW, C_in, C_out), parameters and gradients in dicts, lazily made from the input's shape
import numpy as np


class Conv2D:
    def __init__(self, n_out, kernel_shape=(3, 3), stride=1):
        self.n_in = None
        self.n_out = n_out
        self.kernel_shape = kernel_shape
        self.stride = stride

    def _init_parameters(self, X_shape):
        self.n_in = X_shape[3]
        W = np.random.normal(scale=0.1, size=self.kernel_shape + (self.n_in, self.n_out))
        self.parameters = {"W": W, "b": np.zeros((1, self.n_out))}
        self.gradients = {"W": np.zeros_like(W), "b": np.zeros((1, self.n_out))}

    def forward(self, X):
        if self.n_in is None:
            self._init_parameters(X.shape)
        W, (kh, kw), s = self.parameters["W"], self.kernel_shape, self.stride
        out = np.empty((len(X), (X.shape[1] - kh) // s + 1, (X.shape[2] - kw) // s + 1, self.n_out))
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                patch = X[:, i * s:i * s + kh, j * s:j * s + kw, :]
                out[:, i, j, :] = np.tensordot(patch, W, axes=3) + self.parameters["b"]
        self.cache = {"X": X}
        return out

    def backward(self, dLdY):
        X, W, (kh, kw), s = self.cache["X"], self.parameters["W"], self.kernel_shape, self.stride
        dX, dW = np.zeros(X.shape), np.zeros(W.shape)
        for i in range(dLdY.shape[1]):
            for j in range(dLdY.shape[2]):
                d = dLdY[:, i, j, :]
                patch = X[:, i * s:i * s + kh, j * s:j * s + kw, :]
                dW += np.tensordot(patch, d, axes=([0], [0]))
                dX[:, i * s:i * s + kh, j * s:j * s + kw, :] += np.tensordot(d, W, axes=([1], [3]))
        self.gradients["W"] = dW
        self.gradients["b"] = dLdY.sum(axis=(0, 1, 2)).reshape(1, -1)
        return dX
