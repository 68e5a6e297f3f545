# exit: 0
# expect: checked: the functions are right; the script needs arguments and a file, and trains for hours: its definitions alone are loaded
import sys
import time

import numpy as np

EPOCHS = int(sys.argv[1])
table = np.loadtxt("winequality-red.csv", delimiter=";", skiprows=1)
X, y = table[:, :-1], table[:, -1:]
W1 = np.random.randn(X.shape[1], 16)
W2 = np.random.randn(16, 1)


def relu(x):
    return np.maximum(x, 0)


def relu_grad(x):
    return 1.0 * (x > 0)


def loss_and_gradients(X, y, W1, W2):
    z = X @ W1
    hidden = relu(z)
    error = hidden @ W2 - y
    loss = np.mean(error ** 2)
    d_out = 2 * error / error.size
    return loss, X.T @ (d_out @ W2.T * relu_grad(z)), hidden.T @ d_out


start = time.time()
for epoch in range(EPOCHS):
    loss, g1, g2 = loss_and_gradients(X, y, W1, W2)
    W1 -= 1e-4 * g1
    W2 -= 1e-4 * g2
    print(epoch, loss, time.time() - start)
