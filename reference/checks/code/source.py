"""Loads a user's code: a file, a notebook, a module, a folder of files.

Only definitions run: imports, functions, classes and plain assignments. A script that trains or
reads data when it is imported is loaded without that part, and a remark says so.
"""

import ast
import importlib
import json
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manual_backprop.operation import InvalidInput
from reference.checks.code.raised import error_line, message_of, raised_text
from reference.checks.code.standins import (
    HIDDEN,
    Missing,
    smaller,
    standing_in,
    text_read,
    with_old_names,
)

_SUFFIXES = (".py", ".ipynb")
_LOOKED_AT = ("__module__", "__wrapped__", "__code__", "bwd")
_EXPECTED = "FILE.py, FILE.ipynb, a folder or module:name"


@dataclass
class Target:
    """Loaded code: its names, where they stand, and what was left out."""

    what: str
    module: types.ModuleType
    tree: ast.Module | None = None
    lines: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)
    wanted: str | None = None
    """The one name that was asked for, of FILE.py:name."""

    @property
    def names(self) -> dict[str, Any]:
        """The module's own names: what it defines, without modules and dunders.

        An object that raises when it is looked at is left out: it hides nothing else.
        """
        return {
            k: v
            for k, v in vars(self.module).items()
            if not k.startswith("__")
            and not isinstance(v, types.ModuleType)
            and _can_be_looked_at(v)
        }


def _can_be_looked_at(thing: object) -> bool:
    try:
        for name in _LOOKED_AT:
            getattr(thing, name, None)
    except Exception:  # something else than AttributeError
        return False
    return True


def files_of(target: str) -> list[str]:
    """Return the targets that one argument stands for: the files of a folder, or itself.

    Raises InvalidInput for a folder without Python files.
    """
    path = Path(target)
    if not target or not path.is_dir():
        return [target]
    found = sorted(
        p
        for p in path.rglob("*")
        if p.suffix in _SUFFIXES
        and not any(n.startswith((".", "__pycache__")) for n in p.relative_to(path).parts)
    )
    files = [str(p) for p in found if p.name not in ("__init__.py", "setup.py", "conftest.py")]
    if not files:
        raise InvalidInput(f"TARGET={target!r}: no .py or .ipynb file in this folder")
    return files


def load(target: str) -> Target:
    """Return a target: FILE.py, FILE.ipynb, either with :name, or module:name.

    Raises InvalidInput where it does not exist or cannot be loaded.
    """
    path, _, wanted = target.partition(":") if not Path(target).is_file() else (target, "", "")
    if not path:
        raise InvalidInput(f"TARGET={target!r}: expected {_EXPECTED}")
    if path.endswith(_SUFFIXES):
        if not Path(path).is_file():
            raise InvalidInput(f"TARGET={target!r}: no such file")
        loaded = _load_file(Path(path).resolve(), target)
    else:
        loaded = _load_module(path, target)
    if wanted:
        if not hasattr(loaded.module, wanted):
            own = ", ".join(list(loaded.names)[:12])
            raise InvalidInput(f"TARGET={target!r}: {wanted!r} is not in it; it has {own}")
        loaded.wanted = wanted
    return loaded


def _load_module(name: str, target: str) -> Target:
    if "" not in sys.path:
        sys.path.append("")  # last: what lies in the working folder shadows nothing
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        hint = ""
        if isinstance(error, ImportError):
            hint = f"; expected {_EXPECTED}"
        raise InvalidInput(
            f"TARGET={target!r} could not be loaded; raised: {error_line(error)}{hint}"
        ) from None
    tree, lines = _read(module)
    return Target(target, module, tree, lines)


def _read(module: types.ModuleType) -> tuple[ast.Module | None, tuple[str, ...]]:
    """Return a module's tree and lines, where it stands in a file."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py"):
        return None, ()
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    return ast.parse(text), tuple(text.splitlines())


def _load_file(path: Path, target: str) -> Target:
    try:
        text = text_of(path.name, path.read_bytes())
        tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"TARGET={target!r} could not be loaded; {raised_text(error)}") from None
    name, package, root = home_of(path, text)
    sys.path.append(str(root))  # last: a file called numpy.py or json.py shadows nothing
    module = types.ModuleType(name)
    module.__file__ = str(path)
    module.__package__ = package
    loaded = Target(target, module, tree, tuple(text.splitlines()))
    loaded.remarks += with_old_names(text)
    shadowing = _shadowing(root)
    if shadowing:
        loaded.remarks.append(
            f"{', '.join(shadowing)} beside it has the name of a library; the library is used"
        )
    with standing_in(path.parents[min(3, len(path.parents) - 1)]) as missing:
        if package:
            try:
                importlib.import_module(package)
            except BaseException as error:
                loaded.remarks.append(f"its package could not be imported: {error_line(error)}")
                _forget(package)
                module.__name__, module.__package__ = path.stem, ""
                name = path.stem
        sys.modules.setdefault(name, module)
        _execute(loaded, str(path))
    if missing:
        loaded.remarks.append(f"could not import: {', '.join(missing)} (not installed)")
    return loaded


def _forget(package: str) -> None:
    """Replace a package that raised by an empty one, so that its other files load."""
    parts = package.split(".")
    for i in range(len(parts)):
        name = ".".join(parts[: i + 1])
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)


def home_of(path: Path, text: str) -> tuple[str, str, Path]:
    """Return a file's module name, its package ("" where none) and the folder to import from."""
    above = list(path.parents[:4])
    named = [re.search(rf"^(from|import) {re.escape(p.name)}\.", text, re.M) for p in above]
    asked = max((i for i, n in enumerate(named) if n), default=-1)  # it imports from the outermost
    parts, folder = [path.stem], path.parent
    while folder.name.isidentifier() and (
        (folder / "__init__.py").is_file() or folder in above[: asked + 1]
    ):
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), ".".join(parts[:-1]), folder


def _shadowing(folder: Path) -> list[str]:
    known = {*sys.stdlib_module_names, "numpy", "scipy", "torch", "jax", "reference", "reports"}
    try:
        return sorted(p.name for p in folder.iterdir() if p.suffix == ".py" and p.stem in known)[:3]
    except OSError:
        return []


def text_of(file: str, content: bytes) -> str:
    """Return the source that a file of this name holds: a notebook's is that of its code cells.

    Raises ValueError, KeyError or TypeError where it is none.
    """
    text = content.decode("utf-8-sig")
    return code_of_cells(text) if file.endswith(".ipynb") else text


def code_of_cells(text: str) -> str:
    """Return a notebook's code, without the lines that only a notebook knows (%, !, ?)."""
    book = json.loads(text)
    cells = [c for c in book["cells"] if c.get("cell_type") == "code"]
    sources = [c["source"] if isinstance(c["source"], str) else "".join(c["source"]) for c in cells]
    kept = []
    for source in sources:
        if source.lstrip().startswith("%%") and not source.lstrip().startswith("%%time"):
            continue
        lines = source.splitlines()
        lines = ["" if x.lstrip().startswith(("%", "!", "?")) else x for x in lines]
        text = "\n".join(lines)
        try:
            ast.parse(text)
        except SyntaxError:
            continue  # a cell with an unfinished exercise does not hide the others
        kept.append(text)
    return "\n\n".join(kept)


# -- what runs of it ---------------------------------------------------------------------------


def _execute(loaded: Target, file: str) -> None:
    assert loaded.tree is not None
    own = {n.name for n in loaded.tree.body if isinstance(n, ast.FunctionDef)}
    space = vars(loaded.module)
    left: list[str] = []
    for node in loaded.tree.body:
        if (read := text_read(node)) is not None:
            node = read
            loaded.remarks.append(f"line {node.lineno}: a short text replaces the file")
        elif (small := smaller(node, loaded.tree)) is not None:
            loaded.remarks.append(f"{_spell(node)}: {HIDDEN} in its place, to be quick")
            node = small
        elif not is_definition(node, own):
            left.append(_spell(node))
            continue
        try:
            code = compile(ast.Module([node], []), file, "exec", dont_inherit=True)
            exec(code, space)  # what the user asked for: their own file
        except ImportError as error:
            _stand_in(node, space, error, loaded)
        except BaseException as error:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not isinstance(
                error, NameError
            ):
                raise InvalidInput(
                    f"TARGET={loaded.what!r} could not be loaded; raised: {error_line(error)}"
                ) from None
            left.append(f"{_spell(node)} (it raised {type(error).__name__})")
    if left:
        more = f" and {len(left) - 2} more" if len(left) > 2 else ""
        loaded.remarks.append(
            f"only its definitions were loaded; not run: {'; '.join(left[:2])}{more}"
        )


def is_definition(node: ast.stmt, own: set[str]) -> bool:
    """Whether a statement of the top level defines something, and does not train or read data."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.ClassDef():
            return True
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            return node.value is None or not _works(node.value, own)
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in own or name in ("jax", "np", "numpy", "warnings", "sys", "torch")
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="update" | "seed"))):
            return True  # jax.config.update, np.random.seed
        case ast.If(test=test):
            return "__main__" not in ast.unparse(test) and all(
                is_definition(n, own) for n in (*node.body, *node.orelse)
            )
        case ast.Try():
            return all(is_definition(n, own) for n in node.body)
        case ast.Pass() | ast.Assert():
            return True
    return False


_READS = frozenset("open input load loadtxt genfromtxt read_csv load_data fetch urlopen".split())


def _works(value: ast.expr, own: set[str]) -> bool:
    """Whether an expression calls a function of the file, or one that reads data."""
    for node in ast.walk(value):
        if isinstance(node, ast.Lambda):
            return False
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in own or name in _READS or name.startswith(("load_", "fetch_", "train")):
                return True
    return False


def _stand_in(node: ast.stmt, space: dict[str, object], error: ImportError, loaded: Target) -> None:
    """Let a file load without a name that a module of its project does not have."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        line = error_line(error)
        raise InvalidInput(f"TARGET={loaded.what!r} could not be loaded; raised: {line}")
    for alias in node.names:
        bound = alias.asname or alias.name.partition(".")[0]
        space[bound] = Missing(alias.name)
    loaded.remarks.append(f"could not import: {ast.unparse(node)} ({message_of(error)})")


def _spell(node: ast.stmt) -> str:
    text = ast.unparse(node).splitlines()[0]
    return f"line {node.lineno}: {text if len(text) <= 40 else text[:37] + '...'}"


def from_objects(names: Mapping[str, object], what: str) -> Target:
    """Return a target of given objects: a function, a class, a pair, the names of a module."""
    module = types.ModuleType("objects_at_hand")
    vars(module).update(names)
    return Target(what, module)


def from_module(module: types.ModuleType, what: str) -> Target:
    """Return a target of a module that is imported already."""
    tree, lines = _read(module)
    return Target(what, module, tree, lines)
