"""The lines with which a script loads a user's file: as it is, or its definitions alone."""

import ast
import sys
from pathlib import Path
from typing import Any

from reference.checks.source import Target, _home, _is_definition
from reference.checks.spelling import NoShortSpelling

_FILE = """\
FILE = {file!r}
sys.path.append({folder!r})
spec = importlib.util.spec_from_file_location("theirs", FILE)
theirs = importlib.util.module_from_spec(spec)
sys.modules["theirs"] = theirs
spec.loader.exec_module(theirs)
"""

_DEFINITIONS = """\
FILE = {file!r}
sys.path.append({folder!r})
theirs = types.ModuleType("theirs")  # its definitions alone: the rest trains or reads data
theirs.__file__ = FILE
sys.modules["theirs"] = theirs
{source}
for node in ast.parse(source).body:
    if node.lineno not in {skip}:
        with contextlib.suppress(Exception):
            exec(compile(ast.Module([node], []), FILE, "exec"), vars(theirs))
"""

_TEXT = 'source = open(FILE, encoding="utf-8-sig").read()'

_CELLS = """\
book = json.load(open(FILE, encoding="utf-8-sig"))
cells = [c["source"] for c in book["cells"] if c["cell_type"] == "code"]
cells = [c if isinstance(c, str) else "".join(c) for c in cells]
kept = []
for cell in cells:
    if cell.lstrip().startswith("%%") and not cell.lstrip().startswith("%%time"):
        continue
    lines = ["" if x.lstrip().startswith(("%", "!", "?")) else x for x in cell.splitlines()]
    text = "\\n".join(lines)
    with contextlib.suppress(SyntaxError):
        ast.parse(text)
        kept.append(text)
source = "\\n\\n".join(kept)"""

_MODULE = """\
sys.path.append({folder!r})
theirs = importlib.import_module({name!r})
"""


def lines_of(target: Target, module: Any) -> str:
    """Return the lines that bind `theirs` to the target's module.

    Raises NoShortSpelling where it is not a file: an object that was made in a notebook.
    """
    file = getattr(module, "__file__", None)
    if not file or not Path(file).is_file():
        raise NoShortSpelling("it is not in a file")
    path = Path(file).resolve()
    name, package, root = _home(path, path.read_text(encoding="utf-8", errors="replace"))
    if package:
        return _MODULE.format(folder=str(root), name=name)
    facts = {"file": str(path), "folder": str(path.parent)}
    skip = _not_definitions(target)
    if path.suffix == ".ipynb":
        return _DEFINITIONS.format(**facts, skip=skip or "()", source=_CELLS)
    if skip or any(r.startswith(("only its", "could not import")) for r in target.remarks):
        return _DEFINITIONS.format(**facts, skip=skip or "()", source=_TEXT)
    return _FILE.format(**facts)


def _not_definitions(target: Target) -> tuple[int, ...]:
    if target.tree is None:
        return ()
    own = {n.name for n in target.tree.body if isinstance(n, ast.FunctionDef)}
    return tuple(n.lineno for n in target.tree.body if not _is_definition(n, own))


def module_of(target: Target, function: Any) -> Any:
    """Return the module that a function is found in: the target's, or its own for an object."""
    if target.module.__name__ != "objects_at_hand":
        return target.module
    return sys.modules.get(getattr(function, "__module__", "") or "")
