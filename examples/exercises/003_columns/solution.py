"""Z = W A + b, a sample a column."""


def linear_forward(A, W, b):
    return W @ A + b, (A, W, b)


def linear_backward(dZ, cache):
    A, W, _ = cache
    dW = dZ @ A.T
    db = dZ.sum(axis=1, keepdims=True)
    dA = W.T @ dZ
    return dA, dW, db
