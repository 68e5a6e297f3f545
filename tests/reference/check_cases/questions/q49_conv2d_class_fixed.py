# exit: 0
# mistake: the padding is cut off at the end only, so dx is shifted by pad rows and columns
# expect: shift|padding|offset|border|moved|window
import numpy as np


class Conv2d:
    def __init__(self, c_in, c_out, k=3, pad=1):
        self.W = np.random.randn(c_out, c_in, k, k) * 0.1
        self.b = np.zeros(c_out)
        self.k, self.pad = k, pad

    def forward(self, x):
        p, k = self.pad, self.k
        self.xp = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        windows = np.lib.stride_tricks.sliding_window_view(self.xp, (k, k), axis=(2, 3))
        return np.einsum("nchwij,ocij->nohw", windows, self.W) + self.b[:, None, None]

    def backward(self, dout):
        k, H, W = self.k, dout.shape[2], dout.shape[3]
        dxp, self.dW = np.zeros_like(self.xp), np.zeros_like(self.W)
        for i in range(k):
            for j in range(k):
                part = self.xp[:, :, i:i + H, j:j + W]
                self.dW[:, :, i, j] = np.einsum("nohw,nchw->oc", dout, part)
                dxp[:, :, i:i + H, j:j + W] += np.einsum("nohw,oc->nchw", dout, self.W[:, :, i, j])
        self.db = dout.sum(axis=(0, 2, 3))
        p = self.pad
        return dxp[:, :, p:dxp.shape[2] - p, p:dxp.shape[3] - p]
