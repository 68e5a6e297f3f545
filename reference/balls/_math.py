"""`math` for a user's code: its functions also take Numbers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

import numpy as np

from ._array import BallArray, as_balls, is_tracked
from ._number import Number, Scalar, value_of
from ._rules import smooth


def _math(ufunc: np.ufunc, own: Callable[..., object]) -> Callable[..., object]:
    """A function of math: NumPy's ufunc of that kind where an argument is a Number."""

    @functools.wraps(own)
    def call(*args: object) -> object:
        args = tuple(x.item() if isinstance(x, BallArray) and x.size == 1 else x for x in args)
        return ufunc(*args) if any(type(x) is Number for x in args) else own(*args)

    return call


def _math_log(x: Scalar, by: Scalar | None = None) -> object:
    if type(x) is not Number and type(by) is not Number:
        return math.log(x) if by is None else math.log(x, by)
    return np.log(x) if by is None else np.log(x) / np.log(by)


def _special(name: str, rule: str) -> Callable[..., object]:
    """A function of math that is SciPy's, not NumPy's."""
    own = getattr(math, name)
    return functools.wraps(own)(lambda x: smooth(rule, x) if type(x) is Number else own(x))


def _fsum(items: Iterable[Scalar]) -> object:
    items = list(items)
    return np.sum(as_balls(items)) if is_tracked(items) else math.fsum(items)


def _whole(name: str) -> Callable[..., object]:
    own, ufunc = getattr(math, name), getattr(np, name)
    return functools.wraps(own)(lambda x: int(ufunc(x)) if type(x) is Number else own(x))


def _is_close(a: Scalar, b: Scalar, **options: float) -> bool:
    return math.isclose(*(float(value_of(x)) for x in (a, b)), **options)


_SAME = (
    "exp exp2 expm1 log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh isnan isinf isfinite "
    "hypot copysign fabs degrees radians"
)
_NAMES = {  # math's: NumPy's
    **{name: name for name in _SAME.split()},
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "atan2": "arctan2",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "pow": "power",
}


@functools.cache
def math_table() -> dict[str, object]:
    """What takes the place of math's names."""
    table: dict[str, object] = {
        name: _math(getattr(np, numpys), getattr(math, name))
        for name, numpys in _NAMES.items()
        if hasattr(math, name)
    }
    table |= {"log": _math_log, "fsum": _fsum, "isclose": _is_close}
    table |= {name: _special(name, name) for name in ("erf", "erfc", "gamma")}
    table["lgamma"] = _special("lgamma", "gammaln")
    table |= {name: _whole(name) for name in ("floor", "ceil", "trunc")}
    table["prod"] = lambda items, *, start=1: functools.reduce(lambda a, b: a * b, items, start)
    table["dist"] = lambda p, q: np.linalg.norm(
        as_balls([a - b for a, b in zip(p, q, strict=True)])
    )
    return table
