"""Reads a target with its tiny constants dropped: ε in a logarithm, bounds of a clip.

log(p + 1e-7) with the gradient of log p is right except for 1e-7. Without the constant it is
right, and a mistake of that size would remain.
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reference.checks.code import Target
from reference.checks.tolerances import STABILISER


@contextmanager
def tiny_ones_dropped(target: Target) -> Iterator[list[str]]:
    """Replace constants in (0, 1e-4] by 0, and those as near to 1 by 1, in all code of a target.

    Yields them as they are spelled; the code is as before afterwards.
    """
    found: list[str] = []
    kept: list[tuple[types.FunctionType, types.CodeType, tuple[object, ...] | None]] = []
    for function in _functions(target):
        kept.append((function, function.__code__, function.__defaults__))
        function.__code__ = _replaced(function.__code__, found)
        if function.__defaults__:
            function.__defaults__ = tuple(_dropped(d, found) for d in function.__defaults__)
    try:
        yield list(dict.fromkeys(found))
    finally:
        for function, code, defaults in kept:
            function.__code__, function.__defaults__ = code, defaults


def _functions(target: Target) -> Iterator[types.FunctionType]:
    """Return the functions of a target, and those that it imports from its own folder."""
    for thing in vars(target.module).values():
        mine = thing.__module__ == target.module.__name__ if hasattr(thing, "__module__") else False
        if isinstance(thing, types.FunctionType) and (mine or _beside(thing, target)):
            yield thing
        if isinstance(thing, type) and mine:
            for method in vars(thing).values():
                inner = (
                    method.__func__ if isinstance(method, staticmethod | classmethod) else method
                )
                if isinstance(inner, types.FunctionType):
                    yield inner


def _beside(function: types.FunctionType, target: Target) -> bool:
    """Whether a function stands in a file under one of the target's two folders above it."""
    own = Path(getattr(target.module, "__file__", None) or "/").parent
    file = Path(function.__code__.co_filename)
    return "site-packages" not in file.parts and own.parent in file.parents and own != Path("/")


def _replaced(code: types.CodeType, found: list[str]) -> types.CodeType:
    constants = tuple(
        _replaced(c, found) if isinstance(c, types.CodeType) else _dropped(c, found)
        for c in code.co_consts
    )
    return code.replace(co_consts=constants)


def _dropped(value: object, found: list[str]) -> object:
    if not isinstance(value, float):
        return value
    if 0 < abs(value) <= STABILISER:
        found.append(f"{value:g}")
        return 0.0
    if 0 < abs(value - 1) <= STABILISER:
        found.append(f"{value!r}")
        return 1.0
    return value
