# exit: 0
# mistake: the mask is made of the incoming gradient: dZ[dA <= 0] = 0 drops negative gradients, not inactive units
# expect: mask|cotangent|incoming|sign of (dA|the gradient)|of dA
import numpy as np


def relu(Z):
    A = np.maximum(0, Z)
    cache = Z
    return A, cache


def relu_backward(dA, cache):
    Z = cache
    dZ = np.array(dA, copy=True)
    dZ[Z <= 0] = 0
    assert dZ.shape == Z.shape
    return dZ
