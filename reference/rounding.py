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

    strict (not `textbook`): `ulps` ulps of the value and of the slope. textbook: value to
    ulps · max(|f(x)|, min(|x|, 1)), slope to ulps · max(|f'|, 1, min(|x|, -log u)). Textbook
    formulas lose this: they take a slope from the rounded output (1 - y², p - 1), and in x σ(x)
    multiply that by x. For a layer in a graph it is instead `formula` times what its definition
    loses when each primitive rounds, a library function by `function` units. flush: inputs and
    results below the normal range may become 0.

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
    textbook: bool = False
    flush: bool = False
    formula: float = 0.0
    function: float = 0.0
    low_ulps: float = 0.0
    accumulated: bool = False
    joined: bool = False
    nested: str = ""

    @property
    def applies_to_manual(self) -> bool:
        """Whether it may excuse the hand-written side.

        NumPy neither flushes nor joins operations, and in a low dtype it computes in float32.
        """
        return not (self.flush or self.joined or self.accumulated or self.nested)

    @property
    def name(self) -> str:
        """The model in words."""
        name = "textbook" if self.textbook else "strict"
        name = f"{name}, accumulated in the dtype itself" if self.accumulated else name
        name = f"{name}, nested forward mode" if self.nested else name
        return f"{name} with flush to zero" if self.flush else name


class RoundingUnit:
    """What rounding may do in a dtype ("bfloat16" is one) under a model.

    Its methods take magnitudes (numbers or arrays, not negative) and return allowed errors.

    | attribute | meaning |
    |---|---|
    | `low` | whether the dtype is bfloat16 or float16 |
    | `u` | unit roundoff of the type that an operation computes in (float32: 2⁻²⁴) |
    | `k` | how many ulps a value or a slope may be off |
    | `tiny` | smallest normal number of the type that an operation computes in |
    | `floor` | error allowed at 0: its smallest subnormal number, or `tiny` if flushed |
    | `largest` | its largest finite number |
    | `input_dtype` | of whose ulps each input may lose one before the operation |
    | `input_u` | unit roundoff of `input_dtype` |
    | `has_no_effect` | whether the model allows nothing more than another one in this dtype |
    | `applies_to_sums` | whether it may excuse a sum of products |

    Example: float32, strict, k = 8. A value near 1 may be off by `ulps(1.0)` = 8 · 2⁻²⁴.
    """

    def __init__(self, dtype: npt.DTypeLike, model: Rounding) -> None:
        self.dtype, self.model = np.dtype(dtype), model
        self._result = format_of(dtype)
        self.low = self._result.low
        itself = self.low and model.accumulated
        inside = self._result if itself else FORMATS[self._result.inside]
        self.u, self.largest = inside.u, inside.largest
        self.tiny = FORMATS[self._result.inside].tiny
        self.floor = max(self.tiny, inside.smallest) if model.flush else inside.smallest
        self.k = model.low_ulps if itself else model.ulps
        self._joins = not self.low or itself or model.joined
        self.input_dtype = (self._result if self._joins else inside).dtype
        self.input_u = format_of(self.input_dtype).u
        joins = model.joined and not model.flush
        self.has_no_effect = not self.low and (joins or model.accumulated)
        # A textbook formula loses no digits of a sum, unless it is accumulated in a low dtype.
        self.applies_to_sums = not self.has_no_effect and (itself or not model.textbook)

    def ulps(self, values: Magnitude) -> Magnitude:
        """Return k ulps of numbers of these magnitudes."""
        return self.k * (self.u * values + self.floor)

    def value(self, values: Magnitude, inputs: Magnitude) -> Magnitude:
        """Return how far values f(x) may be off; `values` are |f(x)|, `inputs` are |x|."""
        if self.model.textbook:
            values = np.maximum(values, np.minimum(inputs, 1.0))
        return self.ulps(values)

    def slope(self, slopes: Magnitude, inputs: Magnitude) -> Magnitude:
        """Return how far slopes may be off; `inputs` are |x|, which σ'(x) may be multiplied by."""
        if self.model.textbook:
            # x σ'(x), with σ' from a rounded σ, is off by u |x| until σ' underflows.
            reach = np.minimum(inputs, -np.log(self.u))
            slopes = np.maximum(slopes, np.maximum(reach, 1.0))
        return self.ulps(slopes)

    def cotangent_underflow(self, slopes: Magnitude) -> Magnitude:
        """Return what dy · slope loses where dy underflows on the way: k · floor · |slope|.

        A normalisation first divides dy, or multiplies it by a parameter, and then multiplies by a
        large slope 1/σ. Above the normal range an ulp of dy is covered by an ulp of the slope.
        """
        return self.k * self.floor * slopes

    def sum_rounding(self, n: Magnitude, magnitude: Magnitude) -> Magnitude:
        """Return how far a sum of n terms may be off: n · u · Σ|terms|; `magnitude` is Σ|terms|."""
        return n * (self.u * magnitude + self.floor)

    def input_rounding(self, magnitude: Magnitude) -> Magnitude:
        """Return what a sum of products loses if both factors of each are rounded to a low dtype.

        0 in float32 and float64, and under models that neither join nor accumulate.
        """
        return 2 * self.input_u * magnitude if self.low and self._joins else 0.0

    def result_rounding(self, results: Magnitude, times: float = 1.0) -> Magnitude:
        """Return what rounding a result from float32 to a low dtype adds, `times` times.

        0 in float32 and float64; infinite where a result leaves the range of a low dtype.
        """
        if not self.low:
            return np.zeros_like(results)
        smallest = self._result.smallest
        smallest = max(self.tiny, smallest) if self.model.flush else smallest
        allowed = times * (self._result.u * results + smallest)
        return np.where(results <= self._result.largest, allowed, np.inf)

    def allow_overflow(self, allowed: Magnitude, magnitude: Magnitude) -> Magnitude:
        """Return `allowed`, or infinity where a magnitude leaves the range of the dtype."""
        return np.where(magnitude <= self.largest, allowed, np.inf)
