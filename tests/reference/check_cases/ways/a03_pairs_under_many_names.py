# exit: 0
# expect: right: dsilu, gradTanh, softsign_der, deriv_softplus, arctanPrime: every way to name a slope of x
import numpy as np


def silu(x): return x / (1 + np.exp(-x))
def dsilu(x):
    s = 1 / (1 + np.exp(-x))
    return s + x * s * (1 - s)


def Tanh(x): return np.tanh(x)
def gradTanh(x): return 1 / np.cosh(x) ** 2


def softsign(x): return x / (1 + np.abs(x))
def softsign_der(x): return 1 / (1 + np.abs(x)) ** 2


def softplus(x): return np.log(1 + np.exp(x))
def deriv_softplus(x): return 1 / (1 + np.exp(-x))


def arctan(x): return np.arctan(x)
def arctanPrime(x): return 1 / (1 + x * x)
