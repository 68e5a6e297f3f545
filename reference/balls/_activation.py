"""Puts the stand-ins into a user's modules, and removes them again."""

import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ._creation import PYTHON_FLOAT
from ._standins import StandIns

MISSING = object()


@contextmanager
def numpy_on_balls(modules: Iterable[ModuleType], seed: int | None = None) -> Iterator[StandIns]:
    """While active, the modules' numpy, math and scipy.special make and take BallArrays.

    Every global bound to one of these modules, or to a function taken out of one of them, is
    replaced in the module's globals, and restored at the end, also when the block raises. An
    import statement inside one of their functions gets the stand-in as well. `float` leaves a
    Number what it is, as it leaves an np.float64.
    seed: of np.random's functions; each activation draws the same again.
    """
    stand_ins = StandIns(seed)
    targets = [vars(module) for module in modules]
    before: list[tuple[dict[str, object], str, object, object]] = []
    plain_import = builtins.__import__
    try:
        for names in targets:
            for name, value in list(names.items()):
                replacement = None if name.startswith("__") else stand_ins.of(value)
                if replacement is not None:
                    before.append((names, name, value, replacement))
                    names[name] = replacement
            if "float" not in names:
                before.append((names, "float", MISSING, PYTHON_FLOAT))
                names["float"] = PYTHON_FLOAT
        builtins.__import__ = _importing(plain_import, targets, stand_ins)
        yield stand_ins
    finally:
        builtins.__import__ = plain_import
        for names, name, value, replacement in reversed(before):
            if names.get(name) is not replacement:
                continue  # the module set it itself
            if value is MISSING:
                del names[name]
            else:
                names[name] = value


def _importing(
    plain: Callable[..., ModuleType], targets: list[dict[str, object]], stand_ins: StandIns
) -> Callable[..., Any]:
    """`__import__`, whose modules are stand-ins for the statements of the targets alone."""

    def importing(name: str, globals: object = None, *rest: object, **options: object) -> object:
        found = plain(name, globals, *rest, **options)
        if any(globals is names for names in targets):
            return stand_ins.of(found) or found
        return found

    return importing
