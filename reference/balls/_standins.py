"""Stand-ins for numpy, math and scipy.special whose new float arrays are BallArrays.

A name that is not replaced is NumPy's own; a function gets its lists of Numbers as BallArrays.
"""

from __future__ import annotations

import functools
import importlib
import math
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from ._array import BallArray, as_balls, base, is_tracked, result_of
from ._functions import floats, objects, reduced
from ._number import Number, compare, constant, value_of
from ._reductions import log_sum_exp
from ._tape import LeftTheTape

_FLOATS = "fO"  # kinds of dtype whose arrays become BallArrays


def _is_float(dtype: Any) -> bool:
    return dtype is None or np.dtype(dtype).kind in _FLOATS


def ballify(x: Any) -> Any:
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


class Called:
    """A NumPy function or ufunc, called with BallArrays in the place of lists of Numbers."""

    def __init__(self, function: Any) -> None:
        self._function = function
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("dtype") is not None and is_tracked(args):
            kwargs = {k: v for k, v in kwargs.items() if k != "dtype"}
        return result_of(self._function(*map(ballify, args), **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return repr(self._function)


def _creation(function: Callable[..., Any]) -> Callable[..., Any]:
    """`zeros`, `ones`, `eye` …: a BallArray for kinds of float, else NumPy's own."""

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        made = function(*map(_plain_like, args), **kwargs)
        return as_balls(made) if made.dtype.kind == "f" else made

    return make


def _plain_like(x: Any) -> Any:
    """A float array of the same shape, for `zeros_like`; plain floats for a `fill_value`."""
    if isinstance(x, BallArray) or type(x) is Number:
        return np.zeros(np.shape(objects(base(x)))) if is_tracked(x) else floats(base(x))
    return x


def _full(shape: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    if is_tracked(fill_value):
        result = np.empty(shape, dtype=object).view(BallArray)
        result[...] = ballify(fill_value)
        return result
    made = np.full(shape, fill_value, dtype)
    return as_balls(made) if made.dtype.kind == "f" else made


def _full_like(a: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    plain = isinstance(a, np.ndarray) and not isinstance(a, BallArray)
    return _full(np.shape(objects(base(a))), fill_value, dtype or (a.dtype if plain else float))


def _array(x: Any, dtype: Any = None, *_: Any, copy: Any = True, ndmin: int = 0, **__: Any) -> Any:
    """`np.array`: a BallArray for kinds of float, a copy."""
    if isinstance(x, BallArray) or is_tracked(x) or _holds_balls(x):
        made: Any = as_balls(_listed(x) if isinstance(x, list | tuple) else x)
        if dtype is not None:
            made = made.astype(dtype, copy=False)
    else:
        made = np.array(x, dtype=dtype)
        if made.dtype.kind == "f":
            made = as_balls(made)
        elif made.dtype == object and all(isinstance(v, float | int) for v in made.ravel()):
            made = as_balls(made)
    return made[(None,) * max(0, ndmin - made.ndim)] if ndmin > made.ndim else made


def _holds_balls(x: Any) -> bool:
    if isinstance(x, BallArray):
        return True
    return type(x) in (list, tuple) and any(map(_holds_balls, x))


def _listed(x: Any) -> Any:
    """Nested lists of BallArrays and Numbers as nested lists of scalars."""
    if isinstance(x, np.ndarray):
        return base(x).tolist()
    return [_listed(item) for item in x] if isinstance(x, list | tuple) else x


def _asarray(x: Any, dtype: Any = None, *_: Any, **__: Any) -> Any:
    """`np.asarray`: the same BallArray where it is one."""
    if isinstance(x, BallArray):
        return x if dtype is None else x.astype(dtype, copy=False)
    return _array(x, dtype)


def _at_least_one(x: Any, dtype: Any = None, **_: Any) -> Any:
    made = _asarray(x, dtype)
    return made if made.ndim else made.reshape(1)


def _arange(*args: Any, **kwargs: Any) -> Any:
    made = np.arange(*map(float_if_number, args), **kwargs)
    return as_balls(made) if made.dtype.kind == "f" else made


def float_if_number(x: Any) -> Any:
    """A constant as a float; raises for what depends on a leaf."""
    return float(x) if type(x) is Number else x


class _ScalarType(type):
    """`np.float64` and its like: a Number stays itself when it is called with one."""

    real: type

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args and (type(args[0]) is Number or is_tracked(args[0])):
            return result_of(base(ballify(args[0])))
        return cls.real(*map(base, args), **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return type(instance) is Number or isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __eq__(cls, other: object) -> bool:
        return other is cls.real or other is cls

    def __hash__(cls) -> int:
        return hash(cls.real)


def _scalar_type(real: type) -> type:
    """A type that stands for one of NumPy's kinds of float, also as a dtype."""
    return _ScalarType(real.__name__, (real,), {"real": real})


def _astype(x: Any, dtype: Any, **kwargs: Any) -> Any:
    return x.astype(dtype, **kwargs)


class _Concatenator:
    """`np.c_`, `np.r_`."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getitem__(self, key: Any) -> Any:
        items = key if isinstance(key, tuple) else (key,)
        if not any(isinstance(x, BallArray) or is_tracked(x) for x in items):
            return ballify(self._real[key])
        plain = tuple(x if isinstance(x, slice | str) else objects(base(x)) for x in items)
        return result_of(self._real[plain])


def _nditer(op: Any, flags: Any = (), *args: Any, **kwargs: Any) -> Any:
    """`np.nditer` of object arrays."""
    return np.nditer(base(op), [*flags, "refs_ok"], *args, **kwargs)


def _isscalar(x: Any) -> bool:
    return type(x) is Number or np.isscalar(x)


class Vectorize:
    """`np.vectorize`, whose results may be Numbers."""

    def __init__(self, pyfunc: Any = None, otypes: Any = None, **options: Any) -> None:
        if isinstance(pyfunc, np.vectorize):
            options = {"excluded": pyfunc.excluded, "signature": pyfunc.signature}
            otypes, pyfunc = pyfunc.otypes, pyfunc.pyfunc
        self._pyfunc, self._otypes, self._options = pyfunc, otypes, options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._pyfunc is None:  # used as a decorator with options
            return Vectorize(args[0], self._otypes, **self._options)
        several = isinstance(
            self._pyfunc(*[np.ravel(objects(base(x)))[0] for x in args], **kwargs), tuple
        )
        loop = np.frompyfunc(self._pyfunc, len(args), 2 if several else 1)
        if kwargs or self._options.get("signature"):
            loop = np.vectorize(self._pyfunc, otypes=[object], **self._options)
        given = loop(*[objects(base(x)) for x in args], **kwargs)
        return result_of(given) if is_tracked(given) else _decided(given)


def _decided(x: Any) -> Any:
    """Objects without a Number as NumPy would give them: bools, ints, or a BallArray."""
    if isinstance(x, np.ndarray) and x.dtype == object:
        plain = np.array(x.tolist())
        return plain if plain.dtype.kind in "bi" else result_of(x)
    return result_of(x)


def _apply_over(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function of scipy.special that is no ufunc, by our own."""
    function.__name__ = name
    return function


# ---- scipy.special --------------------------------------------------------------------------


def _logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    if return_sign:
        raise LeftTheTape("scipy.special.logsumexp(return_sign=True) has no rule")
    if b is not None:
        a = ballify(a) + np.log(_asarray(b))
    return result_of(reduced(log_sum_exp, objects(base(ballify(a))), axis, keepdims))


def _log_softmax(x: Any, axis: Any = None) -> Any:
    x = _asarray(x)
    return x - _logsumexp(x, axis=axis, keepdims=True)


def _softmax(x: Any, axis: Any = None) -> Any:
    return np.exp(_log_softmax(x, axis))


SPECIAL: dict[str, Any] = {
    "logsumexp": _logsumexp,
    "log_softmax": _log_softmax,
    "softmax": _softmax,
}

# ---- math -----------------------------------------------------------------------------------


def _math(ufunc: Any, own: Callable[..., Any]) -> Callable[..., Any]:
    """A function of math: NumPy's ufunc of that kind where an argument is a Number."""

    @functools.wraps(own)
    def call(*args: Any) -> Any:
        args = tuple(x.item() if isinstance(x, BallArray) and x.size == 1 else x for x in args)
        return ufunc(*args) if any(type(x) is Number for x in args) else own(*args)

    return call


def _math_log(x: Any, by: Any = None) -> Any:
    if type(x) is not Number and type(by) is not Number:
        return math.log(x) if by is None else math.log(x, by)
    return np.log(x) if by is None else np.log(x) / np.log(by)


def _erf(name: str) -> Callable[..., Any]:
    from ._rules import smooth

    own = getattr(math, name)
    return functools.wraps(own)(lambda x: smooth(name, x) if type(x) is Number else own(x))


def _fsum(items: Any) -> Any:
    items = list(items)
    return np.sum(as_balls(items)) if is_tracked(items) else math.fsum(items)


def _whole(name: str) -> Callable[..., Any]:
    own, ufunc = getattr(math, name), getattr(np, name)
    return functools.wraps(own)(lambda x: int(ufunc(x)) if type(x) is Number else own(x))


def _is_close(a: Any, b: Any, **options: Any) -> bool:
    return math.isclose(*(float(value_of(x)) for x in (a, b)), **options)


_MATH_NAMES = {  # math: numpy
    **dict.fromkeys(()),
    **{
        name: name
        for name in "exp exp2 expm1 log2 log10 log1p sqrt cbrt sin cos tan sinh cosh".split()
    },
    **{
        name: name
        for name in "tanh isnan isinf isfinite hypot copysign fabs degrees radians".split()
    },
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "atan2": "arctan2",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "pow": "power",
    "fmod": "remainder",
}


def _math_table() -> dict[str, Any]:
    table = {
        name: _math(getattr(np, numpys), getattr(math, name))
        for name, numpys in _MATH_NAMES.items()
        if hasattr(math, name)
    }
    table |= {"log": _math_log, "fsum": _fsum, "isclose": _is_close}
    table |= {"erf": _erf("erf"), "erfc": _erf("erfc")}
    table |= {name: _whole(name) for name in ("floor", "ceil", "trunc")}
    table["prod"] = lambda items, *, start=1: functools.reduce(lambda a, b: a * b, items, start)
    table["dist"] = lambda p, q: np.linalg.norm(_array([a - b for a, b in zip(p, q, strict=True)]))
    return table


# ---- the modules ----------------------------------------------------------------------------


class StandIn(ModuleType):
    """A module of which some names are replaced; functions of it take lists of Numbers."""

    def __init__(self, real: ModuleType, replaced: Mapping[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__["_real"] = real
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if callable(found) and not isinstance(found, type):
            found = Called(found)
        self.__dict__[name] = found
        return found

    def __repr__(self) -> str:
        return f"<stand-in for {self._real!r}>"


class StandIns:
    """All of them, for one activation: random draws start at the same seed each time."""

    def __init__(self, seed: int | None = None) -> None:
        self.random = _random(seed)
        self.stride_tricks = StandIn(np.lib.stride_tricks, {})
        self.lib = StandIn(np.lib, {"stride_tricks": self.stride_tricks})
        self.linalg = StandIn(np.linalg, {})
        self.math = StandIn(math, _math_table())
        replaced = {**_numpy_table(), "linalg": self.linalg, "random": self.random, "lib": self.lib}
        self.numpy = StandIn(np, replaced)
        self._modules = {
            id(np): self.numpy,
            id(np.linalg): self.linalg,
            id(np.random): self.random,
            id(np.lib): self.lib,
            id(np.lib.stride_tricks): self.stride_tricks,
            id(math): self.math,
        }
        special = sys.modules.get("scipy.special")
        if special is not None:
            self.special = StandIn(special, SPECIAL)
            self._modules[id(special)] = self.special
            scipy = importlib.import_module("scipy")
            self._modules[id(scipy)] = StandIn(scipy, {"special": self.special})

    def of(self, value: Any) -> Any:
        """What takes the place of a module's global; None where it stays."""
        if isinstance(value, ModuleType):
            return self._modules.get(id(value))
        if isinstance(value, np.vectorize):
            return Vectorize(value)
        if not callable(value):
            return None
        name = getattr(value, "__name__", None)
        for module in self._homes(value):
            if isinstance(name, str) and getattr(module._real, name, None) is value:
                found = getattr(module, name)
                return None if found is value else found
        return None

    def _homes(self, value: Any) -> list[StandIn]:
        if isinstance(value, np.ufunc):
            return list(self._modules.values())
        home = getattr(value, "__module__", None) or type(value).__module__
        if getattr(value, "__self__", None) is not None and not isinstance(
            value.__self__, ModuleType
        ):
            return [self.random]  # np.random.randn is a method of a hidden generator
        if not isinstance(home, str) or home.split(".")[0] not in ("numpy", "math", "scipy"):
            return []
        return list(self._modules.values())


def _random(seed: int | None) -> StandIn:
    """np.random whose functions are those of one generator."""
    generator = np.random.RandomState(seed)
    names = [name for name in dir(generator) if not name.startswith("_")]
    return StandIn(np.random, {name: getattr(generator, name) for name in names})


@functools.cache
def _numpy_table() -> dict[str, Any]:
    table: dict[str, Any] = {
        name: _creation(getattr(np, name))
        for name in (
            "zeros empty ones eye identity zeros_like empty_like ones_like linspace logspace "
            "geomspace tri fromiter fromfunction loadtxt genfromtxt vander hanning hamming"
        ).split()
    }
    table |= {"full": _full, "full_like": _full_like, "array": _array, "copy": _array}
    table |= dict.fromkeys(("asarray", "asanyarray", "asarray_chkfinite", "require"), _asarray)
    table |= dict.fromkeys(("ascontiguousarray", "asfortranarray"), _at_least_one)
    table |= {"arange": _arange, "astype": _astype, "isscalar": _isscalar, "vectorize": Vectorize}
    table |= {"c_": _Concatenator(np.c_), "r_": _Concatenator(np.r_), "nditer": _nditer}
    for name in "float64 float32 float16 longdouble floating double single half".split():
        real = getattr(np, name)
        table[name] = _scalar_type(real)
    table["floating"] = _abstract(np.floating)
    table["inexact"] = _abstract(np.inexact)
    table["number"] = _abstract(np.number)
    return table


def _abstract(real: type) -> type:
    return _ScalarType(real.__name__, (real,), {"real": real})


__all__ = ["StandIns", "compare", "constant"]
