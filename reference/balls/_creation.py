"""New arrays for a user's code: `np.zeros`, `np.array` … whose float arrays are BallArrays."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._array import BallArray, as_balls, base, is_tracked, result_of
from ._number import Number
from ._table import objects
from ._vectorize import Vectorize


def ballify(x: object) -> object:
    """Lists that hold Numbers, and object arrays that hold them, as BallArrays."""
    if isinstance(x, np.ndarray):
        return x.view(BallArray) if x.dtype == object and type(x) is np.ndarray else x
    if type(x) in (list, tuple) and _holds_numbers(x):
        return as_balls(x)
    return x


def _holds_numbers(x: Any) -> bool:
    for item in x:
        if type(item) is Number:
            return True
        if type(item) in (list, tuple) and _holds_numbers(item):
            return True
        if isinstance(item, BallArray):
            return False
    return False


def _balls(made: object) -> object:
    """A BallArray of an array of floats; ints, bools and scalars as they are."""
    return as_balls(made) if isinstance(made, np.ndarray) and made.dtype.kind == "f" else made


def _creation(function: Callable[..., object]) -> Callable[..., object]:
    """`zeros`, `ones`, `eye` …: a BallArray for kinds of float, else NumPy's own."""

    @functools.wraps(function)
    def make(*args: object, **kwargs: object) -> object:
        return _balls(function(*map(ballify, args), **kwargs))

    return make


def _creation_like(function: Callable[..., object]) -> Callable[..., object]:
    """`zeros_like` and its like."""

    @functools.wraps(function)
    def make(a: Any, *args: object, **kwargs: object) -> object:
        a = ballify(a)
        tracked = isinstance(a, BallArray) or type(a) is Number
        return _balls(function(np.zeros(np.shape(a)) if tracked else a, *args, **kwargs))

    return make


def _full(
    shape: int | Sequence[int], fill_value: object, dtype: npt.DTypeLike | None = None, **_: object
) -> object:
    if is_tracked(fill_value):
        result = np.empty(shape, dtype=object).view(BallArray)
        result[...] = ballify(fill_value)
        return result
    return _balls(np.full(shape, fill_value, dtype))


def _full_like(
    a: Any, fill_value: object, dtype: npt.DTypeLike | None = None, **_: object
) -> object:
    plain = isinstance(a, np.ndarray) and not isinstance(a, BallArray)
    return _full(np.shape(objects(base(a))), fill_value, dtype or (a.dtype if plain else float))


def _array(
    x: object,
    dtype: npt.DTypeLike | None = None,
    *_: object,
    copy: object = True,
    ndmin: int = 0,
    **__: object,
) -> object:
    """`np.array`: a BallArray for kinds of float, a copy."""
    if dtype is not None and np.dtype(dtype) == object and isinstance(x, list | tuple):
        made: Any = np.array(x, dtype=object)  # lists of layers, ragged lists of arrays
        scalars = all(type(v) is Number or isinstance(v, float) for v in made.flat)
        made = made.view(BallArray) if scalars and made.size else made
    elif isinstance(x, BallArray) or is_tracked(x) or _holds_balls(x):
        made = as_balls(_listed(x) if isinstance(x, list | tuple) else x)
        if dtype is not None:
            made = made.astype(dtype, copy=False)
    else:
        made = _balls(np.array(x, dtype=dtype))
    return made[(None,) * max(0, ndmin - made.ndim)] if ndmin > made.ndim else made


def _holds_balls(x: Any) -> bool:
    if isinstance(x, BallArray):
        return True
    return type(x) in (list, tuple) and any(map(_holds_balls, x))


def _listed(x: object) -> object:
    """Nested lists of BallArrays and Numbers as nested lists of scalars."""
    if isinstance(x, np.ndarray):
        return base(x).tolist()
    return [_listed(item) for item in x] if isinstance(x, list | tuple) else x


def _asarray(x: object, dtype: npt.DTypeLike | None = None, *_: object, **__: object) -> Any:
    """`np.asarray`: the same BallArray where it is one."""
    if isinstance(x, BallArray):
        return x if dtype is None else x.astype(dtype, copy=False)
    return _array(x, dtype)


def _at_least_one(x: object, dtype: npt.DTypeLike | None = None, **_: object) -> object:
    made = _asarray(x, dtype)
    return made if made.ndim else made.reshape(1)


def _arange(*args: object, **kwargs: Any) -> object:
    return _balls(np.arange(*map(_float_if_number, args), **kwargs))


def _float_if_number(x: object) -> Any:
    """A constant as a float; raises for what depends on a leaf."""
    return float(x) if type(x) is Number else x


class _ScalarType(type):
    """`np.float64` and its like, also as a dtype: called with a Number it returns that."""

    real: type

    def __call__(cls, *args: object, **kwargs: object) -> object:
        if args and (type(args[0]) is Number or is_tracked(args[0])):
            return result_of(base(ballify(args[0])))
        return cls.real(*map(base, args), **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return type(instance) is Number or isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __eq__(cls, other: object) -> bool:
        return other is cls.real or other is cls

    def __hash__(cls) -> int:
        return hash(cls.real)


class _Concatenator:
    """`np.c_`, `np.r_`."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getitem__(self, key: object) -> object:
        items = key if isinstance(key, tuple) else (key,)
        if not any(isinstance(x, BallArray) or is_tracked(x) for x in items):
            return ballify(self._real[key])
        plain = tuple(x if isinstance(x, slice | str) else objects(base(x)) for x in items)
        return result_of(self._real[plain])


def _nditer(op: object, flags: Sequence[Any] = (), *args: Any, **kwargs: Any) -> object:
    """`np.nditer` of object arrays."""
    return np.nditer(base(op), [*flags, "refs_ok"], *args, **kwargs)


def _isscalar(x: object) -> bool:
    return type(x) is Number or np.isscalar(x)


class _FloatType(_ScalarType):
    """Python's own `float`: a Number stays itself, as np.float64 stays what it is."""

    def __call__(cls, *args: Any, **_: object) -> object:
        x = args[0] if args else 0.0
        if isinstance(x, BallArray) and x.size == 1:
            x = x.item()
        return x if type(x) is Number else float(x)


# NumPy reads a class's `dtype` where it is given as one: `np.zeros(3, dtype=float)`.
PYTHON_FLOAT = _FloatType("float", (float,), {"real": float, "dtype": np.dtype(np.float64)})


@functools.cache
def numpy_table() -> dict[str, object]:
    """What takes the place of NumPy's names."""
    made = "zeros empty ones eye identity linspace logspace geomspace tri fromiter fromfunction"
    table: dict[str, object] = {name: _creation(getattr(np, name)) for name in made.split()}
    for name in ("zeros_like", "empty_like", "ones_like"):
        table[name] = _creation_like(getattr(np, name))
    table |= {"full": _full, "full_like": _full_like, "array": _array, "copy": _array}
    table |= dict.fromkeys(("asarray", "asanyarray", "asarray_chkfinite", "require"), _asarray)
    table |= dict.fromkeys(("ascontiguousarray", "asfortranarray"), _at_least_one)
    table |= {"arange": _arange, "isscalar": _isscalar, "vectorize": Vectorize}
    table["astype"] = lambda x, dtype, **kwargs: x.astype(dtype, **kwargs)
    table |= {"c_": _Concatenator(np.c_), "r_": _Concatenator(np.r_), "nditer": _nditer}
    kinds = "float64 float32 float16 longdouble double single half floating inexact number"
    reals: list[type] = [getattr(np, name) for name in kinds.split()]
    types = [_ScalarType(real.__name__, (real,), {"real": real}) for real in reals]
    return table | dict(zip(kinds.split(), types, strict=True))
