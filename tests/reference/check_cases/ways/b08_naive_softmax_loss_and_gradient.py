# exit: 0
# expect: right: word vectors: (loss, gradient of the centre vector, gradient of all outside vectors) in one function whose name says so
import numpy as np


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


def naiveSoftmaxLossAndGradient(centerWordVec, outsideWordIdx, outsideVectors, dataset=None):
    """
    centerWordVec -- (D,), outsideWordIdx -- an integer, outsideVectors -- (V, D), rows are words
    """
    y_hat = softmax(outsideVectors @ centerWordVec)
    loss = -np.log(y_hat[outsideWordIdx])

    y_hat[outsideWordIdx] -= 1
    gradCenterVec = outsideVectors.T @ y_hat
    gradOutsideVecs = np.outer(y_hat, centerWordVec)
    return loss, gradCenterVec, gradOutsideVecs
