"""Models of rounding: how far one operation, given its inputs, may be off.

Nothing is carried from one operation to the next. An operation's value and slopes are right to a
stated number of units in the last place, whatever formula made them; a sum of n terms is right to
n u Σ|terms|.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.formats import FORMATS, format_of

Magnitude = Any
"""A magnitude, or an array of them."""


@dataclass(frozen=True)
class Rounding:
    """A model: how many ulps an operation may err, of what, and whether small numbers vanish.

    strict: `ulps` ulps of the value and of the slope. conventional: value to
    ulps · max(|f(x)|, min(|x|, 1)), slope to ulps · max(|f'|, 1, min(|x|, -log u)). This is lost
    when a slope is taken from the rounded output (1 - y², p - 1) and, in x σ(x), when that is
    multiplied by x. For a layer in a graph it is instead `formula` times what its definition loses
    when each primitive rounds, a library function by `function` units. flush: inputs and results
    below the normal range may become 0.

    In a low dtype a model means *computed in float32, result rounded to the dtype*: `ulps` ulps of
    float32, and the rounding of the result. accumulated: computed in the low dtype itself, to
    `low_ulps` ulps of it. joined: what goes from one operation to the next may be rounded once more
    or not at all, as a compiler splits or joins operations. In float32 and float64 accumulated and
    joined change nothing.

    nested: the name of the side that computes second order by nested forward mode; the model
    applies to this side alone. Each product may also be off by the rounding of the number that is
    differentiated, whose polynomials may be multiplied out.
    """

    ulps: float
    conventional: bool = False
    flush: bool = False
    formula: float = 0.0
    function: float = 0.0
    low_ulps: float = 0.0
    accumulated: bool = False
    joined: bool = False
    nested: str = ""

    @property
    def everybody(self) -> bool:
        """Whether the hand-written side may use it.

        NumPy neither flushes nor joins operations, and in a low dtype it computes in float32.
        """
        return not (self.flush or self.joined or self.accumulated or self.nested)

    @property
    def name(self) -> str:
        """The model in words."""
        name = "conventional" if self.conventional else "strict"
        name = f"{name}, accumulated in the dtype itself" if self.accumulated else name
        name = f"{name}, nested forward mode" if self.nested else name
        return f"{name} with flush to zero" if self.flush else name


class RoundingUnit:
    """What rounding may do in a dtype ("bfloat16" is one) under a model.

    `u`, `floor` and `largest` are of the type that an operation computes in. Each input may lose an
    ulp before the operation: an ulp of `of_inputs`, which is the dtype where operations are joined.
    """

    def __init__(self, dtype: npt.DTypeLike, model: Rounding) -> None:
        self.dtype, self.model = np.dtype(dtype), model
        self._end = format_of(dtype)
        self.low = self._end.low
        itself = self.low and model.accumulated
        inside = self._end if itself else FORMATS[self._end.inside]
        self.u, self.largest = inside.u, inside.largest
        self.tiny = FORMATS[self._end.inside].tiny
        self.floor = max(self.tiny, inside.smallest) if model.flush else inside.smallest
        self.k = model.low_ulps if itself else model.ulps
        self._joins = not self.low or itself or model.joined
        self.of_inputs = (self._end if self._joins else inside).dtype
        self.u_of_inputs = format_of(self.of_inputs).u
        joins = model.joined and not model.flush
        self.idle = not self.low and (joins or model.accumulated)
        # A sum loses digits by convention in a low dtype alone: where it is accumulated in it.
        self.of_sums = not self.idle and (itself or not model.conventional)

    def ulps(self, values: Magnitude) -> Magnitude:
        """Return k ulps of numbers, given magnitudes."""
        return self.k * (self.u * values + self.floor)

    def value(self, values: Magnitude, inputs: Magnitude) -> Magnitude:
        """Return how far an operation's value may be rounded, given magnitudes."""
        if self.model.conventional:
            values = np.maximum(values, np.minimum(inputs, 1.0))
        return self.ulps(values)

    def slope(self, slopes: Magnitude, inputs: Magnitude) -> Magnitude:
        """Return how far a slope may be rounded; `inputs` are what it may be multiplied by."""
        if self.model.conventional:
            # x σ'(x), with σ' from a rounded σ, is off by u |x|, while σ' is not yet nothing.
            reach = np.minimum(inputs, -np.log(self.u))
            slopes = np.maximum(slopes, np.maximum(reach, 1.0))
        return self.ulps(slopes)

    def cotangent(self, slopes: Magnitude) -> Magnitude:
        """Return how far k ulps of a cotangent below the normal range move a product with a slope.

        (dy + e) s, where e is k floors: dy is divided, or multiplied by a parameter, before a large
        slope (1/σ of a normalisation) makes it large again. Above the normal range the ulps of dy
        are those of the slope.
        """
        return self.k * self.floor * slopes

    def total(self, n: Magnitude, magnitude: Magnitude) -> Magnitude:
        """Return how far a sum of n terms, whose magnitudes sum to `magnitude`, may be rounded."""
        return n * (self.u * magnitude + self.floor)

    def inputs(self, magnitude: Magnitude) -> Magnitude:
        """Return what a sum of products may lose as half an ulp of each factor is lost before it.

        Nothing where the factors are of the type that the operation computes in.
        """
        return 2 * self.u_of_inputs * magnitude if self.low and self._joins else 0.0

    def end(self, results: Magnitude, times: float = 1.0) -> Magnitude:
        """Return what rounding at the end of an operation adds, given magnitudes of results.

        Nothing in float32 and float64; anything where a result leaves the range of a low dtype.
        `times`: how many operations end on the way to a number.
        """
        if not self.low:
            return np.zeros_like(results)
        smallest = max(self.tiny, self._end.smallest) if self.model.flush else self._end.smallest
        allowed = times * (self._end.u * results + smallest)
        return np.where(results <= self._end.largest, allowed, np.inf)

    def bounded(self, allowed: Magnitude, magnitude: Magnitude) -> Magnitude:
        """Return what is allowed: anything where a magnitude leaves the range of the dtype."""
        return np.where(magnitude <= self.largest, allowed, np.inf)
