# exit: 0
# mistake: y_pred -= y_true changes the caller's prediction in place
# expect: in place|overw|change[sd]?|mutat|modif
import numpy as np


def mse_loss(y_pred, y_true):
    return ((y_pred - y_true) ** 2).mean()


def mse_loss_grad(y_pred, y_true):
    grad = y_pred - y_true
    grad *= 2 / y_pred.size
    return grad
