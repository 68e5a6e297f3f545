# exit: 0
# mistake: the correct class gets -1 times the input once; it must be once for each class that violates the margin
# expect: \bcounts?\b|correct class|number of|each class|violat
import numpy as np


def svm_loss(W, X, y, reg):
    n = len(X)
    scores = X @ W
    margins = scores - scores[np.arange(n), y].reshape(-1, 1) + 1.0
    margins[np.arange(n), y] = 0
    loss = np.sum(np.maximum(0, margins)) / n + reg * np.sum(W ** 2)

    indicator = np.where(margins > 0, 1.0, 0.0)
    indicator[np.arange(n), y] = -indicator.sum(axis=1)
    dW = X.T @ indicator / n + 2 * reg * W
    return loss, dW
