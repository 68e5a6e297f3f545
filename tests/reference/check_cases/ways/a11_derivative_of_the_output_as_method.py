# exit: 0
# expect: right: derivative(output) takes what __call__ gave back, as its argument's name says
import numpy as np


class Logistic:
    def __call__(self, x):
        return 1 / (1 + np.exp(-x))

    def derivative(self, output):
        return output * (1 - output)


class HyperbolicTangent:
    def __call__(self, x):
        return np.tanh(x)

    def derivative(self, output):
        return (1 - output) * (1 + output)


class Elu:
    def __call__(self, x):
        return np.where(x > 0, x, np.expm1(x))

    def derivative(self, output):
        return np.where(output > 0, 1.0, output + 1)
