"""The dtypes that a kernel is judged in, and how far each operation of it may round in them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from reference.checks.tolerances import FUNCTION_ULPS, LINEAR, SHAKEN
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


class OperationSize(NamedTuple):
    """How large the result of an operation is, for its rounding."""

    result: Array
    terms: Array | None
    """Of a sum: n Σ|terms|."""
    correct: bool
    """Whether the operation rounds correctly."""

    def units(self) -> Array:
        """Return how far the result may be rounded, a column for each model."""
        columns = []
        for model in MODELS:
            unit = model.unit.value(self.result, None)
            if self.terms is not None:
                unit = unit + model.sums.total(1.0, self.terms)
            if not self.correct:
                unit = unit + FUNCTION_ULPS * model.inside.value(self.result, None)
            columns.append(np.ravel(unit))
        return np.stack(columns, axis=1)


def is_steady(
    run: Callable[[Mapping[Any, Array]], Sequence[Array]],
    sizes: Mapping[Any, OperationSize],
    bounds: Bounds,
    seed: int,
) -> bool:
    """Whether roundings of random sign move some results as the first order says.

    They do not where a decision stands on an edge: then there are two right answers.

    run: from what is added to each operation's result to the results.
    """
    model = next(m for m in MODELS if m.accumulated)
    rng = np.random.default_rng(seed)
    values = run({})
    for _ in range(SHAKEN):
        shifts = {}
        for key, size in sizes.items():
            unit = size.units()[:, MODELS.index(model)].reshape(size.result.shape)
            shifts[key] = LINEAR * unit * rng.choice((-1.0, 1.0), unit.shape)
        for one, true, bound in zip(run(shifts), values, bounds[model], strict=True):
            if not np.all((np.abs(one - true) <= 2 * LINEAR * bound) | ~np.isfinite(true)):
                return False
    return True
