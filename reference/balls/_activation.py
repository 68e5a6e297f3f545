"""Putting the stand-ins into somebody's modules, and taking them out again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ._standins import StandIns


@contextmanager
def numpy_on_balls(modules: Iterable[ModuleType], seed: int | None = None) -> Iterator[StandIns]:
    """While active, the modules' numpy, math and scipy.special make and take BallArrays.

    Every global bound to one of these modules, or to a function taken out of one of them, is
    replaced in the module's globals, and restored at the end, also when the block raises.
    seed: of np.random's functions; each activation draws the same again.
    """
    stand_ins = StandIns(seed)
    before: list[tuple[dict[str, Any], str, Any, Any]] = []
    try:
        for module in modules:
            names = vars(module)
            for name, value in list(names.items()):
                if name.startswith("__"):
                    continue
                replacement = stand_ins.of(value)
                if replacement is not None:
                    before.append((names, name, value, replacement))
                    names[name] = replacement
        yield stand_ins
    finally:
        for names, name, value, replacement in reversed(before):
            if names.get(name) is replacement:
                names[name] = value
