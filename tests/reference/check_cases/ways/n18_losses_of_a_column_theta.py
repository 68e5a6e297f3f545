# exit: 0
# expect: right: theta has one column, loss.flat[0] is no gradient, np.int is what it used to be
import numpy as np


def logistic_loss(X, y, theta, reg_beta=0.0):
    k, n = X.shape
    p = 1 / (1 + np.exp(-X.dot(theta)))
    loss = np.mean(np.where(y == 1, -np.log(p), -np.log(1 - p)))
    loss += np.dot(theta.T, theta) * reg_beta / 2
    hot = (y == 1).astype(np.int)
    dtheta = np.dot((p - hot).T, X).T / k + reg_beta * theta
    return loss.flat[0], dtheta
