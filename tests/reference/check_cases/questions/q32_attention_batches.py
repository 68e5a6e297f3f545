# exit: 1
# mistake: the scores are divided by sqrt(d), the gradients of Q and K are not
# expect: scale|sqrt|√|factor|divid
import numpy as np


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


class Attention:
    def forward(self, Q, K, V):
        self.Q, self.K, self.V = Q, K, V
        self.d = Q.shape[-1]
        self.A = softmax(Q @ K.swapaxes(-1, -2) / np.sqrt(self.d))
        return self.A @ V

    def backward(self, dO):
        dV = self.A.swapaxes(-1, -2) @ dO
        dA = dO @ self.V.swapaxes(-1, -2)
        dS = self.A * (dA - np.sum(dA * self.A, axis=-1, keepdims=True))
        dQ = dS @ self.K
        dK = dS.swapaxes(-1, -2) @ self.Q
        return dQ, dK, dV
