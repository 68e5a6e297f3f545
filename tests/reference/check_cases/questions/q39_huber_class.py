# exit: 1
# mistake: outside of delta the slope is delta times the sign; the sign alone is returned
# expect: factor|constant|times the sign|δ ?·|delta ?[*·]|times delta
import numpy as np


class HuberLoss:
    def __init__(self, delta=2.5):
        self.delta = delta

    def __call__(self, y_pred, y_true):
        a = np.abs(y_pred - y_true)
        quadratic = np.minimum(a, self.delta)
        linear = a - quadratic
        return np.sum(0.5 * quadratic ** 2 + self.delta * linear)

    def grad(self, y_pred, y_true):
        r = y_pred - y_true
        return np.where(np.abs(r) <= self.delta, r, np.sign(r))
