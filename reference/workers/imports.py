"""Imports in a worker: the first import of a framework is announced."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

SLOW = frozenset(
    {
        *("torch", "jax", "tensorflow", "keras", "mxnet", "cupy", "theano", "tinygrad", "mlx"),
        *("transformers", "sklearn", "pandas", "matplotlib", "numba", "sympy"),
    }
)
"""Packages whose first import takes seconds. The time limits are longer meanwhile."""


class Announcer(MetaPathFinder):
    """Tells when the import of a slow package begins and ends."""

    def __init__(self, begin: Callable[[str], None], end: Callable[[str], None]) -> None:
        self._begin, self._end = begin, end

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a slow package by the other finders, and watch it being loaded."""
        if path is not None or name not in SLOW:
            return None
        for finder in [f for f in sys.meta_path if f is not self]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self._watch(name, spec)
                return spec
        return None

    def _watch(self, name: str, spec: ModuleSpec) -> None:
        loader = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return
        load = loader.exec_module

        def marked(module: ModuleType) -> None:
            self._begin(name)
            try:
                load(module)
            finally:
                self._end(name)

        loader.exec_module = marked  # type: ignore[method-assign]
