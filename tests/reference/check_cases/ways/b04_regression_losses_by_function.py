# exit: 0
# expect: right: targets first, a parameter with a default, the gradient entry by entry of a mean
import numpy as np


def huber(y_true, y_pred, delta=1.0):
    r = y_pred - y_true
    small = np.abs(r) <= delta
    return np.mean(np.where(small, 0.5 * r ** 2, delta * (np.abs(r) - 0.5 * delta)))


def huber_derivative(y_true, y_pred, delta=1.0):
    return np.clip(y_pred - y_true, -delta, delta) / y_true.size


def log_cosh(y_true, y_pred):
    return np.mean(np.log(np.cosh(y_pred - y_true)))


def log_cosh_derivative(y_true, y_pred):
    return np.tanh(y_pred - y_true) / y_true.size


def quantile(y_true, y_pred, q=0.9):
    e = y_true - y_pred
    return np.mean(np.maximum(q * e, (q - 1) * e))


def quantile_derivative(y_true, y_pred, q=0.9):
    return np.where(y_true > y_pred, -q, 1 - q) / y_true.size


def msle(y_true, y_pred):
    return np.mean((np.log1p(y_pred) - np.log1p(y_true)) ** 2)


def msle_derivative(y_true, y_pred):
    return 2 * (np.log1p(y_pred) - np.log1p(y_true)) / (1 + y_pred) / y_true.size
