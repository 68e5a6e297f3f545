# exit: 1
# mistake: for x > 0 the slope is the scale 1.0507, not 1
# expect: scale|lambda|λ|1\.05|constant|factor
import numpy as np

LAMBDA = 1.0507009873554804934193349852946
ALPHA = 1.6732632423543772848170429916717


def f_selu(x):
    return LAMBDA * np.where(x > 0, x, ALPHA * np.expm1(x))


def df_selu(x):
    return np.where(x > 0, 1.0, LAMBDA * ALPHA * np.exp(x))
