# exit: 1
# mistake: the cell's gradient goes back in time as it is: dc_prev = dc, the forget gate f is left out
# expect: forget|carry|factor|left out|missing
import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


class LSTMCell:
    def __init__(self, d_in, d_h):
        self.W = np.random.randn(d_in + d_h, 4 * d_h) * 0.1
        self.b = np.zeros(4 * d_h)

    def forward(self, x, h_prev, c_prev):
        self.z = np.hstack((x, h_prev))
        self.c_prev = c_prev
        i, f, o, g = np.split(self.z @ self.W + self.b, 4, axis=1)
        self.i, self.f, self.o, self.g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
        self.c = self.f * c_prev + self.i * self.g
        self.tc = np.tanh(self.c)
        return self.o * self.tc, self.c

    def backward(self, dh, dc):
        n = self.z.shape[1] - dh.shape[1]
        dc = dc + dh * self.o * (1 - self.tc ** 2)
        di = dc * self.g * self.i * (1 - self.i)
        df = dc * self.c_prev * self.f * (1 - self.f)
        do = dh * self.tc * self.o * (1 - self.o)
        dg = dc * self.i * (1 - self.g ** 2)
        da = np.hstack((di, df, do, dg))
        self.dW = self.z.T @ da
        self.db = da.sum(axis=0)
        dz = da @ self.W.T
        dc_prev = dc
        return dz[:, :n], dz[:, n:], dc_prev
