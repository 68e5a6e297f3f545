# exit: 0
# mistake: the normal density has 1/sqrt(2 pi) in front; sqrt(2/pi), of the tanh formula, is twice that
# expect: constant|factor|twice|density|too large
import numpy as np
from scipy.special import erf


class GELU:
    def forward(self, x):
        self.x = x
        return x * 0.5 * (1.0 + erf(x / np.sqrt(2.0)))

    def backward(self, dy):
        x = self.x
        cdf = 0.5 * (1.0 + erf(x / np.sqrt(2.0)))
        pdf = 1.0 / np.sqrt(2.0 * np.pi) * np.exp(-0.5 * x ** 2)
        return dy * (cdf + x * pdf)
