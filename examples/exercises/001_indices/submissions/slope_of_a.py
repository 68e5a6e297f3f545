"""With one mistake, which the grade is to name."""

import numpy as np


def loss_and_gradients(x, t, W1, W2):
    a = x @ W1
    h = 1 / (1 + np.exp(-a))
    y = h @ W2
    loss = ((y - t) ** 2).sum() / 2
    delta2 = y - t
    dW2 = np.einsum("nj,nk->jk", h, delta2)
    delta1 = np.einsum("nk,jk->nj", delta2, W2) * a * (1 - a)
    dW1 = np.einsum("ni,nj->ij", x, delta1)
    return loss, {"W1": dW1, "W2": dW2}
