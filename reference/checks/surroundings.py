"""What is around a run: warnings, NumPy and the stand-in for it, the arrays of the module."""

import builtins
import contextlib
import math
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from reference.balls import Session, numpy_on_balls, values
from reference.checks.outcome import Reading
from reference.checks.routine import Path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nothing be warned of: a target far out divides by zero on purpose."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


class Library:
    """The functions that a target shares with its judge, as they were before it ran.

    Both are in one process: a target that puts its own function in the place of numpy.abs would
    be judged with that function.
    """

    MODULES = (np, np.linalg, np.random, np.fft, math, builtins)

    def __init__(self, modules: Iterable[types.ModuleType] = MODULES) -> None:
        self._before = [(m, name, f) for m in modules for name, f in _functions(m).items()]

    def replaced(self) -> list[str]:
        """Return the names of the functions that are others now: "numpy.abs"."""
        return [
            f"{module.__name__}.{name}"
            for module, name, function in self._before
            if getattr(module, name, None) is not function
        ]


def _functions(module: types.ModuleType) -> dict[str, Any]:
    return {n: f for n, f in vars(module).items() if callable(f) and not n.startswith("_")}


@contextlib.contextmanager
def on_tape(reading: Reading, session: Session | None, seed: int) -> Iterator[None]:
    """Seed what a target draws; with a session, put the stand-in in the place of NumPy."""
    import random

    random.seed(seed)
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        if session is None:
            yield
        else:
            with numpy_on_balls(reading.modules, seed=seed):
                yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


Put = Callable[[Path, Any, str], Any]
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
            scale = 0.7 if type(rng) is np.random.Generator else 1.0
            drawn = rng.standard_normal(value.shape) * scale
            space[name] = put(("global", name), drawn, "normal")
        yield
    finally:
        space.update(kept)


def floats(outcome_values: Mapping[Path, Any]) -> dict[Path, Any]:
    """Return the plain values of tracked or plain arrays."""
    return {k: values(v) for k, v in outcome_values.items()}
