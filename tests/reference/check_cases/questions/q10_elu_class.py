# exit: 1
# mistake: for x < 0 the slope is alpha e^x = value + alpha; the value itself, alpha(e^x - 1), is returned
# expect: \+ ?(alpha|α)|value itself|its value|alpha e|α ?e|inner|constant
import numpy as np


class Elu:
    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def value(self, x):
        return np.where(x > 0, x, self.alpha * (np.exp(x) - 1.0))

    def derivative(self, x):
        return np.where(x > 0, 1.0, self.alpha * (np.exp(x) - 1.0))
