"""Models of rounding: how far one operation, given its inputs, may be off.

Nothing is carried from one operation to the next. An operation's value and slopes are right to a
stated number of units in the last place, whatever formula made them; a sum of n terms is right to
n u Σ|terms|.
"""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rounding:
    """A model: how many ulps an operation may err, of what, and whether small numbers vanish.

    strict: `ulps` of the value and of the slope. conventional: value to
    ulps · max(|f(x)|, min(|x|, 1)), slope to ulps · max(|f'|, 1, min(|x|, -log u)): what is lost
    when a slope is taken from the rounded output (1 - y², p - 1) and, in x σ(x), when that is
    multiplied by x; of a layer in a graph, instead, `formula` times what its definition loses when
    each primitive rounds, a library function to `function` units. flush: numbers below
    the normal range may become 0, going in and coming out.
    """

    ulps: float
    conventional: bool = False
    flush: bool = False
    formula: float = 0.0
    function: float = 0.0

    @property
    def name(self) -> str:
        """The model in words."""
        name = "conventional" if self.conventional else "strict"
        return f"{name} with flush to zero" if self.flush else name


class RoundingUnit:
    """The numbers of a dtype under a model; "bfloat16" is one."""

    def __init__(self, dtype: npt.DTypeLike, model: Rounding) -> None:
        self.dtype = np.dtype(dtype)
        info: Any = ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]
        self.u = float(info.eps) / 2
        self.largest = float(info.max)
        self.tiny = float(info.tiny)
        self.floor = self.tiny if model.flush else float(info.smallest_subnormal)
        self.model = model
        self.k = model.ulps

    def ulps(self, values: Any) -> Any:
        """Return k ulps of numbers, given magnitudes."""
        return self.k * (self.u * values + self.floor)

    def value(self, values: Any, inputs: Any) -> Any:
        """Return how far an operation's value may be rounded, given magnitudes."""
        if self.model.conventional:
            values = np.maximum(values, np.minimum(inputs, 1.0))
        return self.ulps(values)

    def slope(self, slopes: Any, inputs: Any) -> Any:
        """Return how far a slope may be rounded; `inputs` are what it may be multiplied by."""
        if self.model.conventional:
            # x σ'(x), with σ' from a rounded σ, is off by u |x|, while σ' is not yet nothing.
            reach = np.minimum(inputs, -np.log(self.u))
            slopes = np.maximum(slopes, np.maximum(reach, 1.0))
        return self.ulps(slopes)

    def cotangent(self, slopes: Any) -> Any:
        """Return how far k ulps of a cotangent below the normal range move a product with a slope.

        (dy + e) s, where e is k floors: dy is divided, or multiplied by a parameter, before a large
        slope (1/σ of a normalisation) makes it large again. Above the normal range the ulps of dy
        are those of the slope.
        """
        return self.k * self.floor * slopes

    def total(self, n: Any, magnitude: Any) -> Any:
        """Return how far a sum of n terms, whose magnitudes sum to `magnitude`, may be rounded."""
        return n * (self.u * magnitude + self.floor)

    def bounded(self, allowed: Any, magnitude: Any) -> Any:
        """Return what is allowed: anything where a magnitude leaves the range of the dtype."""
        return np.where(magnitude <= self.largest, allowed, np.inf)
