"""What a row of scalars becomes: sums, means, maxima, orders. One node each where it is smooth."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt
from flint import arb

from ._number import CONSTANT, ONE, ZERO, Number, Scalar, constant, tie, value_of
from ._rules import larger, log_add_exp, smaller, smooth
from ._tape import STATE

Objects = npt.NDArray[np.object_]
"""An array of Numbers and plain floats."""
Row = Sequence[Scalar]
Axis = int | tuple[int, ...] | None


def has_number(row: Row) -> bool:
    """Whether one of the scalars is a Number."""
    return any(type(x) is Number for x in row)


def plain(function: Callable[[npt.NDArray[np.float64]], SupportsFloat], row: Row) -> float:
    """NumPy's own answer for plain numbers."""
    with np.errstate(all="ignore"):
        return float(function(np.array(row, dtype=np.float64)))


def combination(value: arb, row: Row, slopes: Callable[[], Sequence[arb]]) -> Number:
    """A Number made from those of a row which are Numbers."""
    if not STATE.recording:
        return Number(value, CONSTANT, ())
    pairs = [(x, d) for x, d in zip(row, slopes(), strict=True) if type(x) is Number]
    return Number(value, tuple(x for x, _ in pairs), tuple(d for _, d in pairs))


def total(row: Row) -> Scalar:
    """Σ x."""
    if not has_number(row):
        return plain(np.sum, row)
    value = sum([value_of(x) for x in row], ZERO)
    return combination(value, row, lambda: [ONE] * len(row))


def mean(row: Row) -> Scalar:
    """Σ x / n."""
    if not has_number(row):
        return plain(np.mean, row)
    value = sum([value_of(x) for x in row], ZERO) / len(row)
    return combination(value, row, lambda: [ONE / len(row)] * len(row))


def variance(row: Row, ddof: float = 0) -> Scalar:
    """Σ (x − μ)² / (n − ddof); ∂x = 2 (x − μ)/(n − ddof), since Σ (x − μ) = 0."""
    if not has_number(row):
        return plain(np.var, row) * len(row) / (len(row) - ddof) if len(row) > ddof else np.nan
    balls = [value_of(x) for x in row]
    middle = sum(balls, ZERO) / len(row)
    apart = [ball - middle for ball in balls]
    count = arb(len(row) - ddof)
    value = sum([d * d for d in apart], ZERO) / count
    return combination(value, row, lambda: [2 * d / count for d in apart])


def deviation(row: Row, ddof: float = 0) -> Scalar:
    """√ variance."""
    result = variance(row, ddof)
    return smooth("sqrt", result) if type(result) is Number else float(np.sqrt(result))


def product(row: Row) -> Scalar:
    """Π x."""
    return functools.reduce(operator.mul, row, 1.0)


def length(row: Row) -> Scalar:
    """√ Σ x²; ∂x = x/‖x‖, and 0 with a tie where all are 0."""
    if not has_number(row):
        return plain(np.linalg.norm, row)
    balls = [value_of(x) for x in row]
    value = sum([ball * ball for ball in balls], ZERO).sqrt()
    if value == 0:
        tie("norm", next(x for x in row if type(x) is Number), 0.0, True)
        return combination(value, row, lambda: balls)
    return combination(value, row, lambda: [ball / value for ball in balls])


def log_sum_exp(row: Row) -> Scalar:
    """The logarithm of Σ e^x."""
    if not has_number(row):
        return plain(np.logaddexp.reduce, row)
    balls = [value_of(x) for x in row]
    top = functools.reduce(lambda a, b: b if a < b else a, balls)
    if not top.is_finite():
        return functools.reduce(log_add_exp, row)
    weights = [(ball - top).exp() for ball in balls]
    mass = sum(weights, ZERO)
    return combination(mass.log() + top, row, lambda: [w / mass for w in weights])


# ---- choosing -------------------------------------------------------------------------------


def _best(row: Row, sign: int, operation: str) -> int:
    """The first place of the largest (sign 1) or smallest; ties of the winner are noted."""
    balls = [value_of(x) for x in row]
    for i, ball in enumerate(balls):
        if ball.is_nan():
            return i
    best = 0
    for i in range(1, len(balls)):
        first, second = (balls[best], balls[i]) if sign > 0 else (balls[i], balls[best])
        if first < second or (not first > second and first.mid() < second.mid()):
            best = i
    winner = balls[best]
    for i, ball in enumerate(balls):
        if i != best and not (ball < winner or ball > winner) and row[i] is not row[best]:
            tie(operation, row[best], row[i], bool(ball.is_exact() and winner.is_exact()))
    return best


def largest_at(row: Row) -> int:
    """The place of the largest."""
    return _best(row, 1, "argmax") if has_number(row) else int(np.argmax(row))


def smallest_at(row: Row) -> int:
    """The place of the smallest."""
    return _best(row, -1, "argmin") if has_number(row) else int(np.argmin(row))


def largest(row: Row) -> Scalar:
    """The largest."""
    if not has_number(row):
        return plain(np.max, row)
    return constant(row[_best(row, 1, "maximum")])


def smallest(row: Row) -> Scalar:
    """The smallest."""
    if not has_number(row):
        return plain(np.min, row)
    return constant(row[_best(row, -1, "minimum")])


def spread(row: Row) -> Scalar:
    """Largest less smallest: np.ptp."""
    return largest(row) - smallest(row)


def order(row: Row) -> list[int]:
    """The places from the smallest to the largest; neighbours that are equal are noted."""
    if not has_number(row):
        return [int(i) for i in np.argsort(np.array(row, dtype=np.float64), kind="stable")]
    balls = [value_of(x).mid() for x in row]

    def compared(i: int, j: int) -> int:
        return _sign(balls[i], balls[j])

    places = sorted(range(len(row)), key=functools.cmp_to_key(compared))
    for i, j in itertools.pairwise(places):
        a, b = value_of(row[i]), value_of(row[j])
        if not a < b and not (a.is_nan() or b.is_nan()) and row[i] is not row[j]:
            tie("sort", row[i], row[j], bool(a.is_exact() and b.is_exact()))
    return places


def _sign(a: arb, b: arb) -> int:
    """−1, 0, 1; nan is the largest."""
    if a.is_nan() or b.is_nan():
        return int(a.is_nan()) - int(b.is_nan())
    return -1 if a < b else int(a > b)


def quantile(row: Row, share: float) -> Scalar:
    """The value below which that share of the row lies, linear between neighbours."""
    places = order(row)
    position = share * (len(row) - 1)
    lower = int(np.floor(position))
    rest = position - lower
    low = row[places[lower]]
    if rest == 0:
        return low
    return low * (1 - rest) + row[places[lower + 1]] * rest


def median(row: Row) -> Scalar:
    """The middle one, or the mean of the two in the middle."""
    return quantile(row, 0.5)


REDUCERS: dict[str, Callable[[Row], Scalar]] = {  # `ufunc.reduce`
    "add": total,
    "multiply": product,
    "maximum": largest,
    "minimum": smallest,
    "fmax": lambda row: functools.reduce(larger, row),
    "fmin": lambda row: functools.reduce(smaller, row),
    "logaddexp": log_sum_exp,
    "logical_or": lambda row: any(bool(x) for x in row),
    "logical_and": lambda row: all(bool(x) for x in row),
    "hypot": length,
}


def reduce_rows(
    array: npt.ArrayLike,
    row_function: Callable[[Row], Scalar],
    axis: Axis = None,
    keepdims: bool = False,
) -> Objects:
    """Each row along the axes becomes one scalar: a plain object array.

    axis: an integer, a tuple of them, or None for all.
    """
    array = np.asarray(array)
    if array.ndim == 0 and axis in (0, -1):
        axis = None  # as NumPy allows it of a scalar
    axes = range(array.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = sorted({operator.index(i) + (array.ndim if i < 0 else 0) for i in axes})
    if any(not 0 <= i < array.ndim for i in gone):
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds for {array.ndim} dimensions")
    kept = [i for i in range(array.ndim) if i not in gone]
    shape = tuple(array.shape[i] for i in kept)
    rows = (
        array.transpose(*kept, *gone).reshape(int(np.prod(shape, dtype=int)), -1).tolist()
        if array.size
        else [[] for _ in range(int(np.prod(shape, dtype=int)))]
    )
    result = np.empty(len(rows), dtype=object)
    result[:] = [row_function(row) for row in rows]
    if keepdims:
        shape = tuple(1 if i in gone else n for i, n in enumerate(array.shape))
    return result.reshape(shape)
