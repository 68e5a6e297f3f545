"""A NumPy forward of the user, run on numbers that carry an error bound and a derivative.

A `BallArray` is a NumPy object array whose entries are `Number`s: balls (a midpoint and a
rigorous radius) on a reverse tape. With `numpy_on_balls(modules)` a module's own code makes and
takes such arrays unchanged, and `gradient` gives its derivative with a rigorous error bound:

    with Session() as session, numpy_on_balls([module], seed=0):
        x, w = lift(x0), lift(w0)
        out = module.forward(x, w)
        dx, dw = gradient([out], [dout], [x, w])   # each: midpoint, radius, scale
"""

from ._activation import numpy_on_balls
from ._array import BallArray, as_balls, is_tracked
from ._gradient import BallDerivative, gradient, gradient_balls, lift, radii, values
from ._number import Number
from ._tape import CloseComparison, LeftTheTape, Session, TooManyNodes

__all__ = [
    "BallArray",
    "BallDerivative",
    "CloseComparison",
    "LeftTheTape",
    "Number",
    "Session",
    "TooManyNodes",
    "as_balls",
    "gradient",
    "gradient_balls",
    "is_tracked",
    "lift",
    "numpy_on_balls",
    "radii",
    "values",
]
