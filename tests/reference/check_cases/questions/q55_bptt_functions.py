# exit: 1
# mistake: dWhh takes h[t], the step's own result, where h[t-1], what Whh was multiplied with, belongs
# expect: own (output|activation|state)|off by one|h\[t|previous|layer.s input|input of|step before|h_prev
import numpy as np


def rnn_forward_pass(xs, U, W, V):
    """xs (T, D), U (H, D), W (H, H), V (K, H)"""
    T = len(xs)
    s = np.zeros((T + 1, len(U)))  # s[-1] is the state at the start
    o = np.zeros((T, len(V)))
    for t in range(T):
        s[t] = np.tanh(U @ xs[t] + W @ s[t - 1])
        o[t] = V @ s[t]
    return o, s


def loss(o, y):
    return 0.5 * np.sum((o - y) ** 2)


def bptt(xs, y, U, W, V):
    o, s = rnn_forward_pass(xs, U, W, V)
    dU, dW, dV = np.zeros_like(U), np.zeros_like(W), np.zeros_like(V)
    carry = np.zeros(len(U))
    for t in range(len(xs))[::-1]:
        do = o[t] - y[t]
        dV += np.outer(do, s[t])
        dz = (V.T @ do + carry) * (1 - s[t] ** 2)
        dU += np.outer(dz, xs[t])
        dW += np.outer(dz, s[t])
        carry = W.T @ dz
    return dU, dW, dV
