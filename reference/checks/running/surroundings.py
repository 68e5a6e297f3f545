"""The surroundings of a run: warnings, NumPy and its stand-in, the arrays of the module."""

import builtins
import contextlib
import math
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator

from reference.balls import Session, numpy_on_balls
from reference.checks.code import Path
from reference.checks.code.instances import scale_of
from reference.checks.running.outcome import Reading


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off warnings: a target with extreme inputs divides by zero on purpose."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


_OF_TARGETS = np.random.MT19937()
"""What NumPy's functions draw from while a target runs: to copy the state of the other one, and
back, takes longer than many a target."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what a target's own code draws from; the generators are as before afterwards.

    All but the second normal number of a pair, which NumPy keeps: see `generators_kept`.
    """
    mine, state = get_bit_generator(), random.getstate()
    set_bit_generator(_OF_TARGETS)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        set_bit_generator(mine)
        random.setstate(state)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Leave NumPy's generator as it was before a check, to the last number."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class Library:
    """What a target shares with its judge, as it was before it ran.

    Both are in one process: a target that replaces numpy.abs, or a tolerance of the judge, would be
    judged with the replacement. A module that is imported later is known from then on.
    """

    MODULES = (np, np.linalg, np.random, np.fft, math, builtins)

    def __init__(self) -> None:
        self._spaces: dict[str, tuple[Mapping[str, object], dict[str, object]]] = {}
        for module in self.MODULES:
            self._keep(module.__name__, vars(module))
        self._keep_ours()

    def _keep(self, name: str, space: Mapping[str, object]) -> None:
        self._spaces[name] = space, _constant(space)

    def _keep_ours(self) -> None:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in ("manual_backprop", "reference"):
                known = name in self._spaces
                if not known and isinstance(module, types.ModuleType):
                    self._keep(name, vars(module))
                    for cls in _own_classes(module):
                        self._keep(f"{name}.{cls.__qualname__}", vars(cls))

    def replaced(self) -> list[str]:
        """Return the names of the functions that were replaced: "numpy.abs"."""
        gone = [m.__name__ for m in self.MODULES if sys.modules.get(m.__name__) is not m]
        found = [
            f"{place}.{name}"
            for place, (space, before) in self._spaces.items()
            for name, value in before.items()
            if space.get(name) is not value
        ]
        added = [
            f"{place}.{name}"
            for place, (space, before) in self._spaces.items()
            if isinstance(space, types.MappingProxyType)  # a class: nobody adds to one later
            for name in _constant(space)
            if name not in before
        ]
        self._keep_ours()
        return gone + found + added


def _constant(space: Mapping[str, object]) -> dict[str, object]:
    """Return what no program changes: functions, classes, descriptors, numbers in capitals."""
    return {
        name: value
        for name, value in space.items()
        if (callable(value) or isinstance(value, _DESCRIPTORS) or name.isupper())
        # A private name may hold a function for a while; one that is defined there stays.
        and (not name.startswith("_") or getattr(value, "__name__", "") == name)
    }


_DESCRIPTORS = (property, staticmethod, classmethod)


def _own_classes(module: types.ModuleType) -> list[type]:
    return [
        c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__
    ]


@contextlib.contextmanager
def on_tape(reading: Reading, session: Session | None, seed: int) -> Iterator[None]:
    """Seed what a target draws; with a session, replace NumPy by the stand-in."""
    plain = contextlib.nullcontext()
    with seeded(seed), numpy_on_balls(reading.modules, seed=seed) if session is not None else plain:
        yield


Put = Callable[[Path, object, str], object]
"""Registers what goes in, and lifts it on the tape."""


@contextlib.contextmanager
def weights_of_the_module(reading: Reading, rng: np.random.Generator, put: Put) -> Iterator[None]:
    """Draw the module's own arrays that the code reads: Wxh = …, used inside lossFun."""
    function = reading.first.function
    code = getattr(function, "__code__", None)
    space = getattr(function, "__globals__", {})
    names = [
        n
        for n in (code.co_names if code else ())
        if isinstance(space.get(n), np.ndarray) and space[n].dtype.kind == "f" and space[n].size
    ]
    kept = {n: space[n] for n in names}
    try:
        for name, value in kept.items():
            drawn = rng.standard_normal(value.shape) * scale_of(rng)
            space[name] = put(("global", name), drawn, "normal")
        yield
    finally:
        space.update(kept)
