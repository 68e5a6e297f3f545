# exit: 0
# expect: right: a batch of Jacobians (N, C, C) from gradient(), and a backward that multiplies by them
import numpy as np


class Softmax:
    def forward(self, x):
        x = x - x.max(axis=1, keepdims=True)
        self.a = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        return self.a

    def gradient(self):
        a = self.a
        return np.einsum("ij,jk->ijk", a, np.eye(a.shape[1])) - np.einsum("ij,ik->ijk", a, a)

    def backward(self, da):
        return np.einsum("ij,ijk->ik", da, self.gradient())
