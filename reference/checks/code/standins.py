"""Lets a file load without what it does not find here: a library, a text, an older NumPy.

A module that is not installed is imported as a stand-in, also where another file of the same
project asks for it. What is written in a `try` with another way is left to that other way.
"""

import ast
import functools
import importlib
import re
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import numpy as np


class Missing(types.ModuleType):
    """Stands for a library that is not installed; using it raises an ImportError."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _PLAIN.get(name) or Missing(f"{self.__name__}.{name}")

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Return a decorated function as it is; raises ImportError for any other call."""
        if len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType | type):
            return args[0]  # @njit
        if kwargs and not args:
            return self  # @njit(parallel=True)
        raise ImportError(f"{self.__name__} is not installed")

    def __mro_entries__(self, bases: object) -> tuple[()]:
        return ()  # class Dense(Layer): its own methods can be checked without the base


def _as_it_is(items: object, *args: object, **kwargs: object) -> object:
    return items


_PLAIN: dict[str, Callable[..., object]] = {
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
        if line in _guarded_lines(str(file)):  # try: import cupy, except ImportError: import numpy
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
    # importlib.import_module is Python code of its own: who called it asks for the module.
    while frame.f_code.co_filename.startswith(("<frozen importlib", importlib.__file__)):
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


# -- what the file itself asks for -------------------------------------------------------------

_OLD_NAMES = {
    "int": int,
    "float": float,
    "object": object,
    "complex": complex,
    "str": str,
    "float_": np.float64,
    "product": np.prod,
    "Inf": np.inf,
    "infty": np.inf,
    "NaN": np.nan,
    "alltrue": np.all,
    "sometrue": np.any,
    "row_stack": np.vstack,
}
"""Names that NumPy removed in 1.24 and 2.0; older code runs with them."""


def with_old_names(text: str) -> list[str]:
    """Put back what NumPy had when a source was written, where it uses it; return remarks."""
    used = set(re.findall(r"\b(?:np|numpy)\.(\w+)", text))
    missing = sorted(n for n in used & set(_OLD_NAMES) if n not in vars(np))
    for name in missing:
        setattr(np, name, _OLD_NAMES[name])
    return [f"np.{name} is gone from NumPy; here it is what it used to be" for name in missing]


_TEXT = "abcde" * 6
"""What a file reads, where it is not there: enough for a vocabulary of five characters."""
HIDDEN = 6
"""Hidden units that replace a hundred: the tape records every number."""


def text_read(node: ast.stmt) -> ast.stmt | None:
    """Return a short text in the place of one that a statement reads from a file into a name.

    data = open(path).read()    with open(path) as f: data = f.read()
    """
    if isinstance(node, ast.With) and "open(" in ast.unparse(node.items[0].context_expr):
        inner = node.body[0]
        reads = isinstance(inner, ast.Assign) and ast.unparse(inner.value).endswith(".read()")
        return _with_value(inner, _TEXT) if reads and len(node.body) == 1 else None
    return _with_value(node, _TEXT) if _reads_a_text(node) else None


def _reads_a_text(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
        return False
    reads = r"open\(.*\)\.read\(\)(\.(lower|strip)\(\))?"
    return re.fullmatch(reads, ast.unparse(node.value)) is not None


def _with_value(node: ast.stmt, value: str | int) -> ast.stmt:
    assert isinstance(node, ast.Assign)
    made = ast.Assign(node.targets, ast.copy_location(ast.Constant(value), node.value))
    return ast.copy_location(made, node)


def smaller(node: ast.stmt, tree: ast.Module) -> ast.stmt | None:
    """Return hidden_size = 100 with a small number, where no other line has the number."""
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int(size))) if (
            size >= 32 and re.search(r"hidden|^n_?h$", name, re.I)
        ):
            found = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value == size]
            return _with_value(node, HIDDEN) if len(found) == 1 else None
    return None
