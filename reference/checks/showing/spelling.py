"""Spells values, calls, paths and whole files as Python, for scripts that show what is wrong."""

import ast
import inspect
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from reference.balls import values
from reference.checks.code import Path, Routine, Target, leaves_of
from reference.checks.code.routine import EMPTY, NameTree
from reference.checks.code.source import code_of_cells, home_of, is_definition


class NoShortSpelling(Exception):
    """Something has no short spelling; then there is no script."""


def literal(value: object) -> str:
    """Return a value as Python spells it; raises NoShortSpelling for other types."""
    value = values(value) if type(value).__name__ in ("Number", "BallArray") else value
    match value:
        case np.ndarray() if value.dtype.kind in "fiub":
            kept = value.dtype in (np.dtype(float), np.dtype(int), np.dtype(bool))
            dtype = "" if kept else f", dtype=np.{value.dtype}"
            return f"np.array({_rows(value.tolist())}{dtype})"
        case bool() | int() | float() | str() | None:
            return _number(value)
        case np.generic():
            return _number(value.item())
        case list() | tuple():
            inner = ", ".join(map(literal, value))
            comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
            return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
        case dict():
            return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
    if value is np:
        return "np"
    raise NoShortSpelling(f"{type(value).__name__} has no short spelling")


def given_text(given: Mapping[str, object]) -> str:
    """Return the lines of a dict of values; raises NoShortSpelling for other types."""
    return "\n".join(f"    {name!r}: {literal(value)}," for name, value in given.items())


def _rows(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_rows, value))}]"
    return _number(value)


def _number(value: object) -> str:
    text = repr(value)
    return f"float({text!r})" if text in ("nan", "inf", "-inf") else text


def call_text(callee: str, routine: Routine, given: Mapping[str, str]) -> str:
    """Return a call as `routine.call` makes it: required arguments by place, others by name."""
    parts = []
    for p in routine.parameters:
        if p.name not in given:
            continue
        by_place = p.kind is p.POSITIONAL_ONLY or (
            p.kind is p.POSITIONAL_OR_KEYWORD and p.default is EMPTY
        )
        parts.append(given[p.name] if by_place else f"{p.name}={given[p.name]}")
    return f"{callee}({', '.join(parts)})"


def inner_path(thing: object, path: Path, text: str) -> str:
    """Return how to reach what is kept at a path inside an object: layer.layers[0].W."""
    for part in path:
        if isinstance(thing, dict):
            key = next((k for k in thing if str(k) == part), None)
            if key is None:
                raise NoShortSpelling(f"no key {part}")
            thing, text = thing[key], f"{text}[{key!r}]"
        elif isinstance(thing, list | tuple):
            thing, text = thing[int(part)], f"{text}[{part}]"
        elif part.isidentifier() and hasattr(thing, part):
            thing, text = getattr(thing, part), f"{text}.{part}"
        else:
            raise NoShortSpelling(f"no attribute {part}")
    return text


def part_of(value: object, names: NameTree, path: Path, text: str) -> str | None:
    """Return how to reach the leaf that has a (named) path in a returned value, or None."""
    named = list(leaves_of(value, names))
    by_place = list(leaves_of(value))
    if path not in named or len(named) != len(by_place):
        return None
    place = by_place[named.index(path)]
    return text if place == ("",) else inner_path(value, place, text)


def resolves(module: object, routine: Routine) -> bool:
    """Whether a routine is what its module has under its name."""
    thing: object = module
    for part in routine.name.split("."):
        get = inspect.getattr_static if inspect.isclass(thing) else getattr
        thing = get(thing, part, None)
    thing = getattr(thing, "__func__", thing)
    inherited = routine.owner is not None and hasattr(routine.owner, routine.short)
    return thing is routine.function or (thing is None and inherited)


HEAD = '''\
"""{name}: shows what is wrong with it. It needs {needs} and the file alone.

yours: what your code returns. right: {judge}.
"""

import {imports}

import numpy as np

{load}
# The smallest numbers that show it.
given = {{
{given}
}}
'''

TRACED = '''
def traced(function, *arguments, **options):
    """Call a function; return its result and its local variables."""
    code, inside = function.__code__, {}

    def look(frame, event, _):
        if event == "return" and frame.f_code is code:
            inside.update(frame.f_locals)

    sys.setprofile(look)
    try:
        return function(*arguments, **options), inside
    finally:
        sys.setprofile(None)

'''

SLOPES = '''
def slopes(holder, key, h=1e-6):
    """Return central differences of loss() by every entry of holder[key], a part of `given`."""
    kept = holder[key]
    found = np.zeros(np.shape(kept))
    for at in np.ndindex(found.shape):
        around = []
        for step in (h, -h):
            array = np.array(kept, dtype=float)
            array[at] += step
            holder[key] = array if array.shape else float(array)
            around.append(loss())
        found[at] = (around[0] - around[1]) / (2 * h)
    holder[key] = kept
    return found

'''

LOSS_CODE = {
    "half the squared error": "0.5 * np.sum(({a} - {t}) ** 2)",
    "binary cross-entropy": "-np.sum({t} * np.log({a}) + (1 - {t}) * np.log(1 - {a}))",
    "cross-entropy": "-np.sum({t} * np.log({a}))",
    "softmax cross-entropy": "np.sum(np.log(np.sum(np.exp({a}), axis=-1))) - np.sum({t} * {a})",
    (
        "softmax cross-entropy over columns"
    ): "np.sum(np.log(np.sum(np.exp({a}), axis=0))) - np.sum({t} * {a})",
}

SHOW = """for name in right:
    print(name)
    print("  yours:", np.array2string(np.asarray(yours[name]), prefix="  yours: "))
    print("  right:", np.array2string(right[name], prefix="  right: "))
"""

SHOW_DIFFERENCES = """\
    shown = np.array2string(differences[name], prefix="  central differences: ")
    print("  central differences:", shown)
"""


def function_text(name: str, text: str, lines: Sequence[str]) -> str:
    """Return a function without arguments: its name, docstring and lines."""
    body = "\n".join(f"    {line}" for line in lines)
    return f'\ndef {name}():\n    """{text}"""\n{body}\n\n'


# -- the lines that load a file, as it is or its definitions alone --------------------------------

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

_MODULE = """\
sys.path.append({folder!r})
theirs = importlib.import_module({name!r})
"""


def lines_of(target: Target, module: object) -> str:
    """Return the lines that bind `theirs` to the target's module.

    Raises NoShortSpelling where it is not a file: an object that was made in a notebook.
    """
    file = getattr(module, "__file__", None)
    if not file or not pathlib.Path(file).is_file():
        raise NoShortSpelling("it is not in a file")
    path = pathlib.Path(file).resolve()
    name, package, root = home_of(path, path.read_text(encoding="utf-8", errors="replace"))
    if package:
        return _MODULE.format(folder=str(root), name=name)
    facts = {"file": str(path), "folder": str(path.parent)}
    skip = _not_definitions(target)
    if path.suffix == ".ipynb":
        cells = f"{inspect.getsource(code_of_cells)}\n{_TEXT}\nsource = code_of_cells(source)"
        return _DEFINITIONS.format(**facts, skip=skip or "()", source=cells)
    if skip or any(r.startswith(("only its", "could not import")) for r in target.remarks):
        return _DEFINITIONS.format(**facts, skip=skip or "()", source=_TEXT)
    return _FILE.format(**facts)


def _not_definitions(target: Target) -> tuple[int, ...]:
    if target.tree is None:
        return ()
    own = {n.name for n in target.tree.body if isinstance(n, ast.FunctionDef)}
    return tuple(n.lineno for n in target.tree.body if not is_definition(n, own))


def module_of(target: Target, function: object) -> object:
    """Return the module that a function is found in: the target's, or its own for an object."""
    if target.module.__name__ != "objects_at_hand":
        return target.module
    return sys.modules.get(getattr(function, "__module__", "") or "")
