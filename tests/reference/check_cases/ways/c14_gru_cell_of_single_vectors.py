# exit: 0
# expect: right: GRUCell of one vector at a time: forward(x, h_prev_t), backward(delta) -> (dx, dh_prev_t), gradients of nine parameters kept as dWrx, dWzx, ...
import numpy as np


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


class GRUCell:
    def __init__(self, input_size, hidden_size):
        for g in "rzn":
            setattr(self, f"W{g}x", np.random.randn(hidden_size, input_size))
            setattr(self, f"W{g}h", np.random.randn(hidden_size, hidden_size))
            setattr(self, f"b{g}", np.random.randn(hidden_size))

    def forward(self, x, h_prev_t):
        self.x, self.hidden = x, h_prev_t
        self.r = sigmoid(self.Wrx @ x + self.Wrh @ h_prev_t + self.br)
        self.z = sigmoid(self.Wzx @ x + self.Wzh @ h_prev_t + self.bz)
        self.q = self.Wnh @ h_prev_t
        self.n = np.tanh(self.Wnx @ x + self.r * self.q + self.bn)
        return (1 - self.z) * self.n + self.z * h_prev_t

    def backward(self, delta):
        dn = delta * (1 - self.z) * (1 - self.n ** 2)
        dz = delta * (self.hidden - self.n) * self.z * (1 - self.z)
        dr = dn * self.q * self.r * (1 - self.r)
        self.dbr, self.dbz, self.dbn = dr, dz, dn
        self.dWrx, self.dWrh = np.outer(dr, self.x), np.outer(dr, self.hidden)
        self.dWzx, self.dWzh = np.outer(dz, self.x), np.outer(dz, self.hidden)
        self.dWnx, self.dWnh = np.outer(dn, self.x), np.outer(dn * self.r, self.hidden)
        dx = self.Wrx.T @ dr + self.Wzx.T @ dz + self.Wnx.T @ dn
        dh_prev_t = delta * self.z + self.Wrh.T @ dr + self.Wzh.T @ dz + self.Wnh.T @ (dn * self.r)
        return dx, dh_prev_t
