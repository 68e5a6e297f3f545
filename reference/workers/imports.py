"""Imports in a worker: frameworks are announced, and a user's folder shadows no module of ours."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SLOW = frozenset(
    {
        *("torch", "jax", "tensorflow", "keras", "mxnet", "cupy", "theano", "tinygrad", "mlx"),
        *("transformers", "sklearn", "pandas", "matplotlib", "numba", "sympy"),
    }
)
"""Packages whose first import takes seconds. The time limits are longer meanwhile."""

OURS = frozenset({"manual_backprop", "reference", "reports"})

DEPENDENCIES = frozenset(
    {
        *("numpy", "scipy", "torch", "jax", "jaxlib", "hypothesis", "array_api_compat", "flint"),
        *("msgspec", "jinja2", "typer", "rich", "latex2mathml", "ml_dtypes"),
    }
)
"""The packages that pyproject.toml names, as they are imported."""

PROTECTED = frozenset(sys.stdlib_module_names) | OURS | DEPENDENCIES
"""Modules that never come from a target's folder."""


def shadows(folder: str | Path) -> tuple[str, ...]:
    """Return the names in a folder that are also names of a protected module, sorted.

    `import json` beside a json.py means the standard library's here, not the file. A folder counts
    when it is a package, with an __init__.py. A folder that cannot be listed has none.
    """
    try:
        entries = sorted(Path(folder).iterdir())
    except OSError:
        return ()
    modules = {e.name.partition(".")[0] for e in entries if e.suffix in (".py", ".so", ".pyd")}
    modules |= {e.name for e in entries if (e / "__init__.py").is_file()}
    return tuple(sorted(modules & PROTECTED))


def search_folder(folder: str | Path) -> tuple[str, ...]:
    """Let the modules of a user's folder be imported, before all others that are not protected.

    Returns the names that it shadows and that are not taken from it.
    """
    place = str(Path(folder).resolve())
    sys.meta_path.insert(0, _FolderFirst(place))
    if place not in sys.path:
        sys.path.append(place)
    return shadows(place)


class _FolderFirst(MetaPathFinder):
    """Finds modules in one folder, unless their names are protected."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the folder's module of this name, if it has one."""
        if path is not None or name.partition(".")[0] in PROTECTED:
            return None
        spec = PathFinder.find_spec(name, [self._folder])
        # A plain folder is a package only where there is no real one of its name.
        return spec if spec is not None and spec.loader is not None else None


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
