"""The activations: one class is one operation, with its mathematics, its NumPy pair and its twins.

- `piecewise`: straight lines and their kinks (relu, hardtanh, hard_swish, softshrink, …);
- `exponential`: an exponential below zero (elu, selu, celu);
- `sigmoid`: the logistic function, its integral, its logarithm, and tanh;
- `gated`: x times a sigmoid-like gate (silu, mish, gelu);
- `rowwise`: over the last axis (softmax, log_softmax).

All are NumPy ufuncs in a straight line, so that a leading axis broadcasts through and `x` may be
complex in `forward` (the complex step). Where the textbook's form loses digits, in the tails or
near zero, the form that keeps them is used and the docstring says why: value and slope are right
to a few units in the last place on the whole line, but for gelu_tanh's far tail, as it says.
"""

from manual_backprop.activations import exponential, gated, piecewise, rowwise, sigmoid
from manual_backprop.operation import ACTIVATIONS

__all__ = ["ACTIVATIONS", "exponential", "gated", "piecewise", "rowwise", "sigmoid"]
