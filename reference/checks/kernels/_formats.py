"""The dtypes that a kernel is judged in, and the ways to round in them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reference.formats import LOW, format_of
from reference.rounding import Rounding, RoundingUnit

Array = npt.NDArray[np.float64]

FLOAT64, FLOAT32, BFLOAT16, FLOAT16 = "float64", "float32", "bfloat16", "float16"
ROUNDED = (FLOAT32, BFLOAT16, FLOAT16)
"""The dtypes with a bound from rounding; in float64 the bound is a number of digits."""

# Half an ulp, of a low dtype too: the result of an operation is correctly rounded.
_ONCE = Rounding(1.0, low_ulps=1.0, accumulated=True)


@dataclass(frozen=True)
class Model:
    """How a computation in a dtype rounds.

    accumulated: False: computed in float32, each result rounded at its operation's end. True: sums
    are accumulated in the dtype itself, so that each of n terms may move the sum by half an ulp.
    """

    dtype: str
    accumulated: bool = False

    @property
    def unit(self) -> RoundingUnit:
        """The unit of a result."""
        return RoundingUnit(self.dtype, _ONCE)

    @property
    def sums(self) -> RoundingUnit:
        """The unit that sums are accumulated in."""
        return self.unit if self.accumulated else self.inside

    @property
    def inside(self) -> RoundingUnit:
        """The unit of what an operation computes in inside."""
        return RoundingUnit(format_of(self.dtype).inside, _ONCE)


MODELS = (
    *(Model(d) for d in (FLOAT64, *ROUNDED)),
    *(Model(d, accumulated=True) for d in LOW),
)


Bounds = dict[Model, tuple[Array, ...]]
"""How far rounding may move each entry of several arrays, by model."""


def in_dtype(array: npt.ArrayLike, dtype: str) -> Array:
    """Return the numbers near these that a dtype holds."""
    return np.asarray(np.asarray(array).astype(format_of(dtype).dtype), dtype=np.float64)
