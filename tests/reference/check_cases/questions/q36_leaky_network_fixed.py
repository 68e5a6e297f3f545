# exit: 0
# mistake: the gradients are clipped to -1 .. 1 inside the function: what is returned is no gradient any more where they are larger
# expect: clip
import numpy as np


def loss_and_gradients(X, Y, W1, W2):
    """A network for regression: X (N, D), Y (N, K), sums over everything."""
    H = X @ W1
    A = np.where(H > 0, H, 0.1 * H)
    E = A @ W2 - Y
    loss = 0.5 * np.sum(E ** 2)

    dW2 = A.T @ E
    dH = E @ W2.T * np.where(H > 0, 1, 0.1)
    dW1 = X.T @ dH
    return loss, dW1, dW2
