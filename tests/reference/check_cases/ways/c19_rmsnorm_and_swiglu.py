# exit: 0
# expect: right: the last axis of any rank; backward gives dx first and the rest after it, or dx and a dict
import numpy as np


class RMSNorm:
    def __init__(self, dim, eps=1e-6):
        self.eps = eps
        self.g = np.ones(dim)

    def __call__(self, x):
        self.x = x
        self.r = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x * self.r * self.g

    def backward(self, dy):
        D = self.x.shape[-1]
        dg = (dy * self.x * self.r).reshape(-1, D).sum(axis=0)
        dn = dy * self.g
        dx = self.r * dn - self.x * self.r ** 3 * np.mean(dn * self.x, axis=-1, keepdims=True)
        return dx, dg


class SwiGLU:
    def __init__(self, dim, hidden):
        self.w1 = np.random.randn(dim, hidden) * 0.3
        self.w2 = np.random.randn(dim, hidden) * 0.3

    def __call__(self, x):
        self.x, self.a, self.b = x, x @ self.w1, x @ self.w2
        self.s = 1 / (1 + np.exp(-self.a))
        return self.a * self.s * self.b

    def backward(self, dy):
        da = dy * self.b * (self.s + self.a * self.s * (1 - self.s))
        db = dy * self.a * self.s
        return da @ self.w1.T + db @ self.w2.T, {"w1": self.x.T @ da, "w2": self.x.T @ db}
