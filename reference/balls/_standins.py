"""Stand-ins for numpy, math and SciPy's modules, whose new float arrays are BallArrays.

A name that is not replaced is NumPy's own; a function gets its lists of Numbers as BallArrays.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from ._array import as_balls, base, is_tracked, result_of
from ._creation import ballify, numpy_table
from ._math import math_table
from ._scipy import scipy_table
from ._table import floats
from ._tape import LeftTheTape
from ._vectorize import Vectorize

_MODULES = (
    "numpy numpy.linalg numpy.random numpy.lib numpy.lib.stride_tricks numpy.testing math "
    "scipy scipy.special scipy.stats scipy.signal"
).split()


class Called:
    """A NumPy function or ufunc, called with BallArrays in the place of lists of Numbers."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: object, **kwargs: object) -> object:
        if kwargs.get("dtype") is not None and is_tracked(args):
            kwargs = {k: v for k, v in kwargs.items() if k != "dtype"}
        return result_of(self._function(*map(ballify, args), **kwargs))

    def __getattr__(self, name: str) -> object:
        return getattr(self._function, name)

    def __repr__(self) -> str:
        return repr(self._function)


class StandIn(ModuleType):
    """A module of which some names are replaced; functions of it take lists of Numbers."""

    def __init__(self, real: ModuleType, replaced: Mapping[str, object], owner: "StandIns") -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(replaced)
        self.__dict__["_real"] = real
        self.__dict__["_owner"] = owner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if isinstance(found, ModuleType):
            found = self._owner.of(found) or found
        elif callable(found) and not isinstance(found, type):
            found = Called(found)
        self.__dict__[name] = found
        return found

    def __repr__(self) -> str:
        return f"<stand-in for {self._real!r}>"


@functools.cache
def _names(module: str) -> dict[int, str]:
    """What a module's names are bound to, by identity."""
    return {id(value): name for name, value in vars(sys.modules[module]).items()}


class StandIns:
    """All of them, for one activation: random draws start at the same seed each time."""

    def __init__(self, seed: int | None = None) -> None:
        self._seed = seed
        self._modules: dict[str, StandIn] = {}

    def module(self, name: str) -> StandIn:
        """The stand-in for a module that is loaded."""
        if name not in self._modules:
            self._modules[name] = StandIn(sys.modules[name], self._table(name), self)
        return self._modules[name]

    def _table(self, name: str) -> Mapping[str, object]:
        if name == "numpy":
            return numpy_table()
        if name == "math":
            return math_table()
        if name == "numpy.testing":
            return _testing()
        return _random(self._seed) if name == "numpy.random" else scipy_table(name)

    def of(self, value: object) -> object:
        """What takes the place of a module's global; None where it stays."""
        if isinstance(value, ModuleType):
            name = value.__name__
            known = name in _MODULES and sys.modules.get(name) is value
            return self.module(name) if known else None
        if isinstance(value, np.vectorize):
            return Vectorize(value)
        for module in _MODULES:
            if module in sys.modules and id(value) in _names(module):
                found = getattr(self.module(module), _names(module)[id(value)])
                if found is not value and getattr(found, "_function", value) is value:
                    return found
        return None


def _random(seed: int | None) -> dict[str, object]:
    """The functions of np.random, of one generator."""
    generator = np.random.RandomState(seed)
    names = [name for name in dir(generator) if not name.startswith("_")]
    return {name: _drawn(getattr(generator, name)) for name in names}


@functools.cache
def _testing() -> dict[str, object]:
    """The assertions of np.testing, of the midpoints."""

    def asserting(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def compare(*args: object, **kwargs: object) -> object:
            return function(*(floats(base(x)) if is_tracked(x) else x for x in args), **kwargs)

        return compare

    names = [name for name in dir(np.testing) if name.startswith("assert_")]
    return {name: asserting(getattr(np.testing, name)) for name in names}


def _drawn(function: Callable[..., object]) -> Callable[..., object]:
    """A draw, as a BallArray of plain floats: an update in place may put Numbers into it.

    It may move tracked arrays (shuffle), but takes no parameter from them.
    """

    @functools.wraps(function)
    def draw(*args: object, **kwargs: object) -> object:
        try:
            drawn = function(*args, **kwargs)
            floats = isinstance(drawn, np.ndarray) and drawn.dtype.kind == "f"
            return as_balls(drawn) if floats else ballify(drawn)
        except TypeError as error:
            if is_tracked(args) or is_tracked(list(kwargs.values())):
                raise LeftTheTape(f"np.random.{function.__name__}: {error}") from error
            raise

    return draw
