"""The dtypes that a kernel is judged in, how operations may round in them, and what was found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from reference.checks.tolerances import DIGITS, FUNCTION_ULPS, LINEAR, ROUTES, SHAKEN, SUMMED
from reference.formats import LOW, format_of
from reference.rounding import Rounding, RoundingUnit

Array = npt.NDArray[np.float64]

FLOAT64, FLOAT32, BFLOAT16, FLOAT16 = "float64", "float32", "bfloat16", "float16"
ROUNDED = (FLOAT32, BFLOAT16, FLOAT16)
"""The dtypes with a bound from rounding; in float64 the bound is a number of digits."""
FORWARD = "its forward"
"""What is compared of a normal call beside its gradient."""

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
                unit = unit + model.sums.sum_rounding(1.0, self.terms)
            if not self.correct:
                unit = unit + FUNCTION_ULPS * model.inside.value(self.result, None)
            columns.append(np.ravel(unit))
        return np.stack(columns, axis=1)


Key = TypeVar("Key")


def is_steady(
    run: Callable[[Mapping[Key, Array]], Sequence[Array]],
    sizes: Mapping[Key, OperationSize],
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


@dataclass
class Findings:
    """What the ways of asking found."""

    failing: list[tuple[str, str]] = field(default_factory=list)
    """(way, what is wrong), the plain ways first."""
    remarks: list[str] = field(default_factory=list)
    lossy: list[str] = field(default_factory=list)
    """Where digits are lost that sums in float32 keep."""
    right: list[str] = field(default_factory=list)
    """Ways in which everything is right, or as in the normal call where that one is wrong."""

    def sentences(self, right: bool) -> list[str]:
        """Return the remarks, first in how many ways it was called with the expected result.

        right: whether the gradient of its normal call is right.
        """
        dtypes = [way for way in self.right if way in ROUNDED]
        count = len(self.right) - len(dtypes) - (FORWARD in self.right)
        if right:
            text = f"also right in {count} other ways of calling it"
            text += f", and in {', '.join(dtypes)}" if dtypes else ""
        else:
            text = f"{count} other ways of calling it give the same wrong gradient"
        text += " (docs/kernels.md lists the ways)"
        return [text, *self.remarks] if self.right else self.remarks

    def add(self, way: str, wrong: list[str]) -> None:
        """Note what is wrong under one way; nothing: it is right."""
        if wrong:
            self.failing.append((way, "; ".join(wrong)))
        else:
            self.right.append(way)


class ReturnedArray(NamedTuple):
    """An array that came back, with what it should be."""

    name: str
    got: Array | None
    true: Array
    bound: Array
    """What rounding may move, by the model."""


class Furthest(NamedTuple):
    """The entry that is furthest outside of what is allowed."""

    times: float
    """How many times what is allowed; at most 1: inside."""
    entry: tuple[int, ...]


def furthest(one: ReturnedArray, model: Model) -> Furthest:
    """Return the entry that is furthest off; entries without a true value are left out."""
    assert one.got is not None
    allowed = ROUTES * one.bound
    if model.dtype == FLOAT64:
        size = np.abs(np.where(np.isfinite(one.true), one.true, 0.0))
        allowed = np.maximum(allowed, DIGITS * (size + SUMMED * np.max(size, initial=0.0)))
    with np.errstate(all="ignore"):
        off = np.abs(one.got - one.true)
        times = np.where(off == 0, 0.0, off / allowed)
        times = np.where(np.isfinite(one.got), times, np.inf)
        times = np.where(one.got == one.true, 0.0, times)
    beyond = np.abs(one.true) + allowed > model.unit.largest
    times = np.where(np.isnan(one.true) | (beyond & np.isinf(one.got)), 0.0, times)
    if not times.size:
        return Furthest(0.0, ())
    at = np.unravel_index(int(np.argmax(times)), times.shape)
    return Furthest(float(times[at]), tuple(int(i) for i in at))


def wrong_texts(named: list[ReturnedArray], model: Model) -> list[str]:
    """Return a sentence for each array that is not what it should be."""
    found = []
    for one in named:
        if one.got is None:
            if np.any(np.nan_to_num(one.true) != 0):
                found.append(f"{one.name} is None, which autograd takes for 0")
            continue
        if one.got.shape != one.true.shape:
            found.append(f"{one.name} has shape {one.got.shape}, not {one.true.shape}")
            continue
        times, entry = furthest(one, model)
        if times > 1:
            found.append(_text(one, model, times, entry))
    return found


def _text(one: ReturnedArray, model: Model, times: float, entry: tuple[int, ...]) -> str:
    assert one.got is not None
    where = f"{one.name}{list(entry)}" if entry else one.name
    digits = 17 if model.dtype == FLOAT64 else 9
    values = f"{where} is {one.got[entry]:.{digits}g}, right {one.true[entry]:.{digits}g}"
    if model.dtype == FLOAT64 or not np.isfinite(times):
        return values
    return (
        f"the error of {one.name} is {times:.2g} times the error that rounding of each operation "
        f"allows ({values} ± {ROUTES * one.bound[entry]:.1e})"
    )
