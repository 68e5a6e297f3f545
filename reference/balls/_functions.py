"""NumPy's functions on object arrays of scalars, where NumPy's own do not do it.

Every function here takes and gives plain object arrays; `_array` unwraps and wraps them.
What only moves entries (reshape, concatenate, pad, roll …) is left to NumPy.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _products, _reductions
from ._number import Number, Scalar, constant, rounded, value_of
from ._reductions import Axis, Objects, Row, has_number
from ._rules import clipped, scalar_function
from ._table import NO_VALUE, elementwise, floats, implements, objects, reduced
from ._tape import STATE, LeftTheTape

# ---- reductions -----------------------------------------------------------------------------


def _enter_reduction(
    name: str, row_function: Callable[[Row], Scalar], dtype: npt.DTypeLike = object
) -> None:
    signature = inspect.signature(getattr(np, name))

    def implementation(*args: object, **kwargs: object) -> object:
        options = signature.bind(*args, **kwargs).arguments
        kept = {k: options[k] for k in ("axis", "keepdims", "initial", "where") if k in options}
        return reduced(row_function, options["a"], **kept).astype(dtype)

    implements(name)(implementation)


def _without_nan(row_function: Callable[..., Scalar], *options: object) -> Callable[[Row], Scalar]:
    return lambda row: row_function([x for x in row if not value_of(x).is_nan()], *options)


for _name, _function in {
    "sum": _reductions.total,
    "mean": _reductions.mean,
    "prod": _reductions.product,
    "max": _reductions.largest,
    "min": _reductions.smallest,
    "ptp": _reductions.spread,
    "median": _reductions.median,
}.items():
    _enter_reduction(_name, _function)
    if _name != "ptp":
        _enter_reduction(f"nan{_name}", _without_nan(_function))
_enter_reduction("argmax", _reductions.largest_at, np.intp)
_enter_reduction("argmin", _reductions.smallest_at, np.intp)
_enter_reduction("any", lambda row: any(bool(x) for x in row), np.bool_)
_enter_reduction("all", lambda row: all(bool(x) for x in row), np.bool_)
_enter_reduction("count_nonzero", lambda row: sum(bool(x) for x in row), np.intp)


def _enter_moment(name: str, row_function: Callable[..., Scalar]) -> None:
    signature = inspect.signature(getattr(np, name))

    def implementation(*args: object, **kwargs: object) -> object:
        options = signature.bind(*args, **kwargs).arguments
        ddof = options.get("correction", NO_VALUE)
        ddof = options.get("ddof", 0) if ddof is NO_VALUE else ddof
        kept = {k: options[k] for k in ("axis", "keepdims", "where") if k in options}
        return reduced(lambda row: row_function(row, ddof), options["a"], **kept)

    implements(name)(implementation)


_enter_moment("var", _reductions.variance)
_enter_moment("std", _reductions.deviation)
_enter_moment("nanvar", lambda row, ddof: _without_nan(_reductions.variance, ddof)(row))
_enter_moment("nanstd", lambda row, ddof: _without_nan(_reductions.deviation, ddof)(row))


@implements("average")
def average(
    a: object,
    axis: Any = None,
    weights: object = None,
    returned: bool = False,
    *,
    keepdims: object = False,
) -> object:
    """Σ w x / Σ w."""
    array = objects(a)
    if weights is None:
        result = reduced(_reductions.mean, array, axis, keepdims)
        count = array.size / max(result.size, 1)
        return (result, np.full(result.shape, count)) if returned else result
    factors = objects(weights)
    if factors.shape != array.shape:
        moved = np.moveaxis(array, axis, -1)
        factors = np.moveaxis(np.broadcast_to(factors, moved.shape), -1, axis)
    weight = reduced(_reductions.total, np.broadcast_to(factors, array.shape), axis, keepdims)
    result = reduced(_reductions.total, array * factors, axis, keepdims) / weight
    return (result, weight) if returned else result


@implements("cov")
def cov(
    m: object,
    y: object = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    **_: object,
) -> object:
    """(x − μ)(x − μ)ᵀ/(n − ddof), a variable a row."""
    rows = np.atleast_2d(objects(m))
    rows = rows if rowvar or objects(m).ndim == 1 else rows.T
    if y is not None:
        more = np.atleast_2d(objects(y))
        rows = np.concatenate([rows, more if rowvar or objects(y).ndim == 1 else more.T])
    apart = rows - reduced(_reductions.mean, rows, 1, True)
    count = rows.shape[1] - (int(not bias) if ddof is None else ddof)
    return np.squeeze(_products.matmul(apart, apart.T) / float(count))


@implements("quantile")
def quantile(a: object, q: Any, axis: Axis = None, *_: object, keepdims: object = False) -> object:
    """The value below which the share q lies, linear between neighbours."""
    if np.ndim(q) == 0:
        return reduced(lambda row: _reductions.quantile(row, float(q)), a, axis, keepdims)
    return np.array([quantile(a, x, axis, keepdims=keepdims) for x in q], dtype=object)


@implements("percentile")
def percentile(
    a: object, q: object, axis: Axis = None, *_: object, keepdims: object = False
) -> object:
    """`quantile` of q/100."""
    return quantile(a, np.asarray(q) / 100.0, axis, keepdims=keepdims)


# ---- orders ---------------------------------------------------------------------------------


@implements("argsort")
def argsort(a: object, axis: int | None = -1, *_: object, **__: object) -> npt.NDArray[np.intp]:
    """The places from the smallest to the largest, stable."""
    array = objects(a)
    if axis is None:
        array, axis = array.ravel(), 0
    moved = np.moveaxis(array, axis, -1)
    result = np.empty(moved.shape, dtype=np.intp)
    for at in np.ndindex(*moved.shape[:-1]):
        result[at] = _reductions.order(moved[at].tolist())
    return np.moveaxis(result, -1, axis)


@implements("sort")
def sort(a: object, axis: int | None = -1, *_: object, **__: object) -> Objects:
    """From the smallest to the largest."""
    array = objects(a)
    if axis is None:
        array, axis = array.ravel(), 0
    return np.take_along_axis(array, argsort(array, axis), axis)


# Sorted is a partition at every place.
implements("partition")(lambda a, kth, axis=-1, *_: sort(a, axis))
implements("argpartition")(lambda a, kth, axis=-1, *_: argsort(a, axis))

# ---- elementwise ----------------------------------------------------------------------------


@implements("where")
def where(condition: object, *choices: object) -> object:
    """Take x where the condition holds, else y; the chosen plain floats become constants."""
    decided = np.asarray(condition).astype(bool)
    if not choices:
        return np.nonzero(decided)
    chosen = np.where(decided, *map(objects, choices))
    if any(has_number(objects(x).ravel().tolist()) for x in choices):
        return elementwise(constant, chosen)
    return chosen


@implements("select")
def select(
    conditions: Sequence[object], choices: Sequence[object], default: object = 0.0
) -> object:
    """The first choice whose condition holds."""
    result = default
    for condition, choice in zip(conditions[::-1], choices[::-1], strict=True):
        result = where(condition, choice, result)
    return result


@implements("clip")
def clip(
    a: object, a_min: object = None, a_max: object = None, out: object = None, **options: object
) -> object:
    """min(max(a, a_min), a_max)."""
    low = options.get("min", a_min)
    high = options.get("max", a_max)
    arrays = [objects(a), objects(low), objects(high)]
    return elementwise(_clip_one, *arrays)


def _clip_one(x: Scalar, low: Scalar, high: Scalar) -> Scalar:
    if type(x) is Number or type(low) is Number or type(high) is Number:
        return clipped(x, low, high)
    return float(np.clip(x, low, high))


@implements("round", "around")
def round_(a: object, decimals: int = 0, out: object = None) -> object:
    """Rounded to decimals: plain floats."""
    return elementwise(
        lambda x: rounded(x, decimals) if type(x) is Number else float(np.round(x, decimals)), a
    )


for _name, _rule in {"fix": "trunc", "sinc": "sinc"}.items():
    _scalar = scalar_function(_rule, getattr(np, _rule))
    implements(_name)(lambda x, out=None, scalar=_scalar: elementwise(scalar, x))


@implements("nan_to_num")
def nan_to_num(
    x: object,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> object:
    """Finite numbers in the place of nan, inf and −inf."""
    most = np.finfo(np.float64).max

    def one(v: Scalar) -> Scalar:
        ball = value_of(v)
        if ball.is_finite():
            return v
        if ball.is_nan():
            return constant(nan)
        return constant(
            (most if posinf is None else posinf)
            if ball > 0
            else (-most if neginf is None else neginf)
        )

    return elementwise(one, x)


# ---- questions whose answer is a bool -------------------------------------------------------


def _enter_question(name: str) -> None:
    """Enter a comparison of the midpoints; it notes no tie."""
    plain = getattr(np, name)
    implements(name)(lambda a, b, *args, **kwargs: plain(floats(a), floats(b), *args, **kwargs))


for _name in ("isclose", "allclose", "array_equal", "array_equiv"):
    _enter_question(_name)
implements("iscomplexobj")(lambda x: False)
implements("isrealobj")(lambda x: True)


@implements("result_type", "common_type")
def result_type(*arrays: npt.ArrayLike | npt.DTypeLike) -> object:
    """As of float64 in the place of balls."""
    return np.result_type(
        *(np.float64 if isinstance(x, np.ndarray) and x.dtype == object else x for x in arrays)
    )


# ---- the rest -------------------------------------------------------------------------------


@implements("apply_along_axis")
def apply_along_axis(
    func1d: Callable[..., object], axis: int, arr: object, *args: object, **kwargs: object
) -> Objects:
    """The function of each row along the axis."""
    moved = np.moveaxis(objects(arr), axis, -1)
    shape = moved.shape[:-1]
    rows = [objects(func1d(STATE.wrap(moved[at]), *args, **kwargs)) for at in np.ndindex(*shape)]
    stacked = np.stack(rows).reshape(*shape, *rows[0].shape)
    for k in range(rows[0].ndim):
        stacked = np.moveaxis(stacked, len(shape) + k, axis % moved.ndim + k)
    return stacked


@implements("copyto")
def copyto(
    dst: np.ndarray, src: object, casting: object = None, where: npt.ArrayLike = True
) -> None:
    """`dst[where] = src`."""
    mask = np.broadcast_to(where, dst.shape)
    dst[mask] = np.broadcast_to(objects(src), dst.shape)[mask]


@implements("unique")
def unique(ar: object, *args: Any, **kwargs: Any) -> object:
    """Of plain floats only."""
    if has_number(objects(ar).ravel().tolist()):
        raise LeftTheTape("np.unique of numbers that are computed from the inputs")
    return np.unique(floats(ar), *args, **kwargs)
