"""Lets a file load without the libraries that it only plots or reads data with.

A module that is not installed is imported as a stand-in, also where another file of the same
project asks for it. What is written in a `try` with another way is left to that other way.
"""

import ast
import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any


class Missing(types.ModuleType):
    """Stands for a library that is not installed; using it raises an ImportError."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _PLAIN.get(name) or Missing(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return a decorated function as it is; raises ImportError for any other call."""
        if len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType | type):
            return args[0]  # @njit
        if kwargs and not args:
            return self  # @njit(parallel=True)
        raise ImportError(f"{self.__name__} is not installed")

    def __mro_entries__(self, bases: Any) -> tuple[()]:
        return ()  # class Dense(Layer): its own methods can be checked without the base


def _as_it_is(items: Any, *args: Any, **kwargs: Any) -> Any:
    return items


_PLAIN: dict[str, Callable[..., Any]] = {
    "tqdm": _as_it_is,
    "track": _as_it_is,
    "trange": range,
    "prange": range,
    "xrange": range,
    "unicode": str,
    "basestring": str,
}
"""What stands for names that have a plain meaning: a progress bar is its items."""


@contextmanager
def standing_in(root: Path) -> Iterator[list[str]]:
    """Import stand-ins for what the files under a folder ask for and nobody has.

    Yields the names that stand-ins were made for. What was imported as one is forgotten at the end.
    """
    finder = _Finder(root)
    sys.meta_path.append(finder)  # last: it is asked for what nobody has
    try:
        yield finder.names
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if type(m) is Missing]:
            del sys.modules[name]


class _Finder(MetaPathFinder, Loader):
    def __init__(self, root: Path) -> None:
        self._root = root
        self.names: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        head = name.partition(".")[0]
        asked = _importing_line(self._root)
        if asked is None or (name != head and head not in self.names):
            return None
        file, line = asked
        # A project is run in the folder that holds the package, this file's own before others.
        packages = [p.parent for p in file.parents[:4] if p.name == head]
        beside = [
            p for p in file.parents[:4] if (p / head).is_dir() or (p / f"{head}.py").is_file()
        ]
        if folder := next(iter([*packages, *beside]), None):
            sys.path.append(str(folder))
            return PathFinder.find_spec(name, [str(folder)])
        if _has_another_way(str(file), line):
            return None
        if head not in self.names:
            self.names.append(head)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return Missing(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def _importing_line(root: Path) -> tuple[Path, int] | None:
    """Return the file under a folder, and its line, whose import is running; None for another's."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith("<frozen importlib"):
        if "importlib.util" in frame.f_code.co_filename or frame.f_back is None:
            return None  # it only asks whether there is one
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    own = root in file.parents and "site-packages" not in file.parts
    return (file, frame.f_lineno) if own else None


@functools.lru_cache(maxsize=64)
def _guarded_lines(file: str) -> frozenset[int]:
    """Return the lines of a file that stand in a `try` which catches an ImportError."""
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    caught = ("ImportError", "ModuleNotFoundError", "Exception", "BaseException")
    return frozenset(
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any(
            h.type is None or any(c in ast.unparse(h.type) for c in caught) for h in node.handlers
        )
        for line in range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
    )


def _has_another_way(file: str, line: int) -> bool:
    """Whether an import may fail: try: import cupy as np, except ImportError: import numpy."""
    return line in _guarded_lines(file)
