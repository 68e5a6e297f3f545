"""NumPy arrays of Numbers and plain floats: NumPy's functions come here wherever they are called.

`__array_ufunc__` takes np.exp, +, @ …; `__array_function__` takes np.sum, np.where, np.einsum …
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _functions, _linear_functions  # noqa: F401  they fill the table
from ._number import Number, ball_of, constant
from ._products import matmul
from ._reductions import REDUCERS, Axis, Objects
from ._rules import FUNCTIONS, TESTS, scalar_function
from ._table import TABLE, elementwise, floats, objects, reduced
from ._tape import STATE, LeftTheTape

FLOAT64 = np.dtype(np.float64)
NO_VALUE = np._NoValue
# NumPy's own loops over objects call the operators of the scalars: the quickest way.
_NATIVE = {"add", "subtract", "multiply"}


class BallArray(np.ndarray):
    """An object array whose entries are Numbers and plain Python floats or ints.

    Its `dtype` says float64, as the author's array would.
    """

    __array_priority__ = 15.0  # `plain.dot(balls)` gives balls

    @property
    def dtype(self) -> np.dtype[np.float64]:
        """What the author's own array would have."""
        return FLOAT64

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **options: object
    ) -> object:
        return array_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> object:
        return array_function(func, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        if type(key) is Number or isinstance(key, BallArray):
            key = _as_index(key)
        found = super().__getitem__(key)
        if type(found) is float:
            return np.float64(found)
        return found

    def __setitem__(self, key: Any, value: object) -> None:
        if type(key) is Number or isinstance(key, BallArray):
            key = _as_index(key)
        value = stored(value)
        if STATE.recording and not is_tracked(value) and is_tracked(self):
            # `h[h < 0] = 0`: derivatives by these entries can be taken
            value = elementwise(constant, value)
        super().__setitem__(key, value)

    def astype(self, dtype: npt.DTypeLike, *_: object, copy: bool = True, **__: object) -> object:  # type: ignore[override]
        """The same numbers for a kind of float; integers and bools where they are decided."""
        kind = np.dtype(dtype).kind
        if kind in "fO":
            return self.copy() if copy else self
        if kind == "b":
            return elementwise(bool, base(self), dtype=np.bool_)
        if kind in "iu":
            whole = scalar_function("trunc", np.trunc)
            return elementwise(lambda x: int(whole(x)), base(self), dtype=dtype)
        if not is_tracked(self):
            return floats(self).astype(dtype)
        raise LeftTheTape(f"astype({dtype!r}) of numbers that are computed from the inputs")

    def fill(self, value: object) -> None:
        """Put the value everywhere."""
        self[...] = value

    def item(self, *place: object) -> object:
        """One scalar."""
        return scalar(base(self).item(*place))

    def __deepcopy__(self, memo: object) -> "BallArray":
        return self.copy()

    def __repr__(self) -> str:
        return repr(floats(self))

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(floats(self) if self.ndim else float(floats(self)), spec)


def base(x: object) -> Any:
    """The same memory as a plain object array; other things as they are."""
    return x.view(np.ndarray) if isinstance(x, BallArray) else x


def scalar(x: object) -> object:
    """What NumPy gives for one entry: a Number, or np.float64 for a plain float."""
    return np.float64(x) if type(x) is float else x


def wrap(x: Number | Objects) -> BallArray:
    """A BallArray of an object array; a Number becomes a 0-d one."""
    if type(x) is Number:
        return objects(x).view(BallArray)
    return x.view(BallArray)


def result_of(x: object) -> Any:
    """What the author's code sees of a result: BallArrays, and scalars for 0-d."""
    if isinstance(x, np.ndarray):
        if x.dtype != object or isinstance(x, BallArray):
            return x
        return x.view(BallArray) if x.ndim else scalar(x.item())
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(result_of, x))
    if isinstance(x, tuple | list):
        return type(x)(map(result_of, x))
    return scalar(x)


def stored(value: object) -> object:
    """What may stand in a BallArray: Numbers, floats and ints; no bools, no NumPy scalars."""
    if type(value) is Number or type(value) is float or isinstance(value, BallArray):
        return value
    if isinstance(value, np.generic | bool | int):
        return float(value)
    if isinstance(value, np.ndarray):
        return value if value.dtype == object else value.astype(np.float64)
    if isinstance(value, list | tuple):
        return as_balls(value)
    return value


def _as_index(key: object) -> int:
    """No float is an index."""
    if type(key) is Number:
        return operator.index(key)
    if is_tracked(key):
        raise LeftTheTape("numbers that are computed from the inputs are used as an index")
    raise IndexError("arrays used as indices must be of integer (or boolean) type")


def as_balls(x: object) -> BallArray:
    """A new BallArray of anything: arrays, nested lists of Numbers, floats."""
    if isinstance(x, np.ndarray) and x.dtype != object:
        return x.astype(np.float64).astype(object).view(BallArray)
    if isinstance(x, BallArray):
        return x.copy()
    array = np.array(x, dtype=object)
    flat = array.ravel()
    for i, value in enumerate(flat):
        if type(value) is not Number and type(value) is not float:
            if isinstance(value, BallArray) and value.ndim == 0:
                flat[i] = value.item()
            elif ball_of(value) is None:
                raise ValueError(f"not a number: {value!r}")
            else:
                flat[i] = float(value)
    return flat.reshape(array.shape).view(BallArray)


def is_tracked(x: object) -> bool:
    """Whether it holds at least one Number."""
    if type(x) is Number:
        return True
    if isinstance(x, np.ndarray):
        return base(x).dtype == object and any(type(v) is Number for v in base(x).flat)
    if isinstance(x, list | tuple):
        return any(map(is_tracked, x))
    return False


# ---- ufuncs ---------------------------------------------------------------------------------


@functools.cache
def _loop(ufunc: np.ufunc) -> Any:
    """The same function as a loop over scalars; None where we do not know it."""
    name = ufunc.__name__
    made_by_frompyfunc = len(ufunc.types) == 1 and "O" in ufunc.types[0]
    if name in _NATIVE or made_by_frompyfunc:
        return ufunc
    if name in TESTS:
        return np.frompyfunc(TESTS[name], ufunc.nin, 1)
    if name in FUNCTIONS:
        return np.frompyfunc(scalar_function(name, ufunc), ufunc.nin, 1)
    return None


def _call(ufunc: np.ufunc, method: str, inputs: Sequence[object], options: dict[str, Any]) -> Any:
    """The result as a plain object array, or what NumPy gives for plain floats."""
    name = ufunc.__name__
    count = len(inputs) if method in ("__call__", "outer") else 1
    arrays = [objects(base(x)) for x in inputs[:count]]
    if name in ("matmul", "vecdot", "matvec", "vecmat"):
        return _products_by_name(name, arrays)
    loop = _loop(ufunc)
    if loop is None:
        if any(is_tracked(x) for x in inputs):
            raise LeftTheTape(f"np.{name} has no rule for numbers computed from the inputs")
        given = getattr(ufunc, method)(*map(floats, arrays), **options)
        return given.astype(object) if isinstance(given, np.ndarray) else given
    with np.errstate(all="ignore"):
        result = getattr(loop, method)(*arrays, *inputs[count:], **options)
    return np.asarray(result).astype(np.bool_)[()] if name in TESTS else result


def _products_by_name(name: str, arrays: list[Objects]) -> Objects:
    a, b = arrays
    if name == "matmul":
        return matmul(a, b)
    if name == "matvec":
        return matmul(a, b[..., None])[..., 0]
    if name == "vecmat":
        return matmul(a[..., None, :], b)[..., 0, :]
    return matmul(a[..., None, :], b[..., None])[..., 0, 0]


def array_ufunc(
    ufunc: np.ufunc, method: str, inputs: Sequence[object], options: dict[str, Any]
) -> object:
    """One call of a ufunc, or of its reduce, accumulate, outer, at."""
    out = options.pop("out", None)
    where = options.pop("where", True)
    for name in ("dtype", "casting", "order", "subok", "axes", "signature"):
        options.pop(name, None)
    if method == "at":
        _at(ufunc, *inputs)
        return None
    if method == "reduce":
        result = _reduce(ufunc, inputs[0], where=where, **options)
    elif method == "__call__":
        result = _call(ufunc, method, inputs, {})
        if where is not True:
            result = _masked(result, where, out)
    else:
        result = _call(ufunc, method, inputs, options)
    if out is not None:
        target = out[0] if isinstance(out, tuple) else out
        store(target, result, f"np.{ufunc.__name__}(…, out=…)")
        return target
    return result_of(result)


def _masked(result: npt.ArrayLike, where: npt.ArrayLike, out: tuple[object, ...] | None) -> object:
    """The result where the mask holds; elsewhere what `out` held, or 0."""
    before = np.zeros(np.shape(result)) if out is None else base(out[0])
    mask = np.asarray(where).astype(bool)
    return np.where(mask, objects(result), objects(before))


def _reduce(
    ufunc: np.ufunc,
    array: object,
    axis: Axis = 0,
    keepdims: bool = False,
    initial: Any = NO_VALUE,
    where: object = True,
) -> object:
    name = ufunc.__name__
    if name in REDUCERS:
        given = NO_VALUE if where is True else where
        result = reduced(REDUCERS[name], base(array), axis, keepdims, initial, given)
        return result.astype(np.bool_) if name in TESTS else result
    loop = _loop(ufunc)
    if loop is None:
        raise LeftTheTape(f"np.{name}.reduce has no rule for numbers computed from the inputs")
    return loop.reduce(objects(base(array)), axis=axis, keepdims=keepdims)


def _at(ufunc: np.ufunc, target: object, indices: Any, *values: object) -> None:
    """`ufunc.at`: unbuffered, in place."""
    if base(target).dtype != object and any(map(is_tracked, values)):
        raise LeftTheTape(
            f"np.{ufunc.__name__}.at would put numbers computed from the inputs "
            "into an array of plain floats"
        )
    loop = _loop(ufunc) if base(target).dtype == object else ufunc
    loop.at(base(target), indices, *(objects(base(v)) for v in values))


def store(target: object, result: object, asked: str) -> None:
    """`target[...] = result`, never rounding a Number."""
    plain = base(target)
    if plain.dtype == object:
        plain[...] = stored(result)
    elif is_tracked(result):
        raise LeftTheTape(
            f"{asked} would put numbers computed from the inputs into an array of plain floats"
        )
    else:
        plain[...] = np.asarray(result).astype(plain.dtype)


# ---- functions ------------------------------------------------------------------------------


def unwrapped(x: Any) -> Any:
    """Arguments as NumPy's own code may have them: plain object arrays."""
    if isinstance(x, BallArray):
        return base(x)
    if type(x) is Number:
        return objects(x)
    if type(x) in (list, tuple):
        return type(x)(map(unwrapped, x))
    return x


# Their first argument is a sequence of arrays: an array there is taken apart.
_OF_SEQUENCES = {
    getattr(np, name)
    for name in "concatenate stack hstack vstack dstack column_stack block".split()
}


def array_function(
    func: Callable[..., object], args: Sequence[object], kwargs: dict[str, object]
) -> object:
    """One call of a NumPy function: ours where there is one, else NumPy's on plain objects."""
    out = kwargs.get("out")
    if args and func in _OF_SEQUENCES and isinstance(args[0], np.ndarray):
        args = [list(args[0]), *args[1:]]
    plain_args = [unwrapped(x) for x in args]
    plain_kwargs = {name: unwrapped(x) for name, x in kwargs.items()}
    rule = TABLE.get(func)
    if rule is None:
        return result_of(_numpys_own(func, plain_args, plain_kwargs))
    if out is None:
        return result_of(rule(*plain_args, **plain_kwargs))
    plain_kwargs.pop("out")
    target = out[0] if isinstance(out, tuple) else out
    store(target, rule(*plain_args, **plain_kwargs), f"np.{func.__name__}(…, out=…)")
    return target


def _numpys_own(
    func: Callable[..., object], args: list[object], kwargs: dict[str, object]
) -> object:
    try:
        return func(*args, **kwargs)
    except LeftTheTape:
        raise
    except TypeError as error:
        if not is_tracked(args):
            return func(*map(_as_floats, args), **{k: _as_floats(x) for k, x in kwargs.items()})
        raise LeftTheTape(
            f"np.{func.__name__} has no rule for numbers computed from the inputs ({error})"
        ) from error


def _as_floats(x: object) -> object:
    return floats(x) if isinstance(x, np.ndarray) and x.dtype == object else x


# ---- methods --------------------------------------------------------------------------------


def _method(function: Callable[..., object]) -> Callable[..., object]:
    def method(self: BallArray, *args: object, **kwargs: object) -> object:
        return array_function(function, (self, *args), kwargs)

    method.__name__ = function.__name__
    method.__doc__ = f"`np.{function.__name__}` of this array."
    return method


for _name in (
    "sum mean prod max min ptp any all var std argmax argmin argsort clip round dot trace "
    "cumsum cumprod"
).split():
    setattr(BallArray, _name, _method(getattr(np, _name)))


def _sort_in_place(self: BallArray, axis: int = -1, *_: object, **__: object) -> None:
    self[...] = np.sort(self, axis)


BallArray.sort = _sort_in_place  # type: ignore[method-assign, assignment]
BallArray.conj = BallArray.conjugate = lambda self: self  # type: ignore[method-assign]

STATE.array_ufunc = array_ufunc
STATE.array_function = array_function
STATE.wrap = wrap
