# exit: 0
# mistake: h_prev also stands in the sum z * h_prev + (1 - z) * n: this path, dh * z, is missing in dh_prev
# expect: path|lacks|missing|term
import numpy as np


class GRU:
    def __init__(self, D, H):
        self.Wz, self.Wr, self.Wn = (np.random.randn(D + H, H) * 0.3 for _ in range(3))

    def forward(self, x, h_prev):
        self.x, self.h = x, h_prev
        self.xh = np.concatenate([x, h_prev], axis=1)
        self.z = 1 / (1 + np.exp(-self.xh @ self.Wz))
        self.r = 1 / (1 + np.exp(-self.xh @ self.Wr))
        self.xrh = np.concatenate([x, self.r * h_prev], axis=1)
        self.n = np.tanh(self.xrh @ self.Wn)
        return self.z * h_prev + (1 - self.z) * self.n

    def backward(self, dh):
        D = self.x.shape[1]
        dn = dh * (1 - self.z) * (1 - self.n ** 2)
        dxrh = dn @ self.Wn.T
        dr = dxrh[:, D:] * self.h * self.r * (1 - self.r)
        dz = dh * (self.h - self.n) * self.z * (1 - self.z)
        self.dWn, self.dWr, self.dWz = self.xrh.T @ dn, self.xh.T @ dr, self.xh.T @ dz
        dxh = dr @ self.Wr.T + dz @ self.Wz.T
        dx = dxrh[:, :D] + dxh[:, :D]
        dh_prev = dh * self.z + dxrh[:, D:] * self.r + dxh[:, D:]
        return dx, dh_prev
