"""The floating types that problems come in: one table.

A *low* type (bfloat16, float16) is one to store in: every operation is computed in float32 and
rounded at its end. What is added here is drawn, answered, certified, judged and reported.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = np.ndarray
"""An array of any dtype: floats, labels, masks."""


@dataclass(frozen=True)
class Format:
    """A floating type and how problems are drawn in it.

    inside: what an operation on it computes in. reach: how far the exponents of the regimes go,
    beside those of float32. loss_scales: powers of two that the loss may be multiplied by, one of
    them for each problem, so that small cotangents do not underflow (Micikevicius et al., Mixed
    Precision Training, 2018).
    """

    name: str
    inside: str
    reach: float
    prefix: str = ""
    loss_scales: tuple[int, ...] = (0,)

    @property
    def low(self) -> bool:
        """Whether an operation on it computes in another type."""
        return self.inside != self.name

    @cached_property
    def dtype(self) -> np.dtype:
        """The NumPy dtype."""
        return np.dtype(self.name)

    @cached_property
    def _info(self) -> np.finfo:
        return ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]

    @property
    def u(self) -> float:
        """The unit roundoff, half the distance from 1 to the next number."""
        return float(self._info.eps) / 2

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return float(self._info.tiny)

    @property
    def smallest(self) -> float:
        """The smallest subnormal number."""
        return float(self._info.smallest_subnormal)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float(self._info.max)


FORMATS = {
    made.name: made
    for made in (
        Format("float64", "float64", 5),
        Format("float32", "float32", 1),
        Format("bfloat16", "float32", 1, "b"),
        Format("float16", "float32", 1 / 4, "h", loss_scales=(0, 0, 8, 12)),
    )
}
DTYPES = tuple(name for name, made in FORMATS.items() if not made.low)
"""The dtypes that are drawn unless others are asked for."""
LOW = tuple(name for name, made in FORMATS.items() if made.low)
BFLOAT16 = FORMATS["bfloat16"].dtype


def format_of(dtype: npt.DTypeLike) -> Format:
    """Return the format of a dtype, one of `FORMATS`."""
    return _format_of(np.dtype(dtype))


@cache
def _format_of(dtype: np.dtype) -> Format:
    return FORMATS[dtype.name]  # NumPy puts a dtype's name together each time it is asked for


def inside(dtype: npt.DTypeLike) -> np.dtype:
    """Return the type that an operation on a dtype computes in."""
    return np.dtype(format_of(dtype).inside)
