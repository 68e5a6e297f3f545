"""A function of the target: its arguments, the names of what it returns, one call of it traced.

What goes in and what comes back is known by paths: ("self", "W"), ("grads", "W1"), ("0",).
"""

import ast
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from reference.checks.code.source import Target
from reference.checks.code.vocabulary import says_gradient

NameTree: TypeAlias = "str | tuple[NameTree, ...] | dict[object, NameTree] | None"
"""The names in a return statement: "dW", None, a tuple of them, or a dict by constant keys."""

EMPTY = inspect.Parameter.empty


@dataclass(frozen=True)
class Routine:
    """A function or method: its name, its arguments, and what it returns by its source."""

    name: str
    function: Callable[..., object] = field(repr=False)
    owner: type | None = None
    bound: bool = False
    """Whether it takes an instance (or a class) first."""
    parameters: tuple[inspect.Parameter, ...] = ()
    node: ast.FunctionDef | None = field(default=None, repr=False)
    returned: NameTree = None
    second: bool = False
    """Whether it is of second order: what its first derivative does not take is the v of H v."""

    @property
    def short(self) -> str:
        """The name without its class."""
        return self.name.rpartition(".")[2]

    @property
    def arguments(self) -> list[str]:
        """The names of its arguments, without self."""
        return [p.name for p in self.parameters]

    @property
    def required(self) -> list[str]:
        """The names of the arguments that have no default."""
        return [p.name for p in self.parameters if p.default is EMPTY]

    def default(self, name: str) -> object:
        """Return an argument's default, EMPTY where it has none."""
        return next((p.default for p in self.parameters if p.name == name), EMPTY)

    def only(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return those of some arguments that it takes."""
        return {k: v for k, v in given.items() if k in self.arguments}

    def text(self) -> str:
        """Return its source as the tree spells it, "" where it is not known."""
        return self._text

    @cached_property
    def _text(self) -> str:
        return ast.unparse(self.node) if self.node is not None else ""


@dataclass
class CallTrace:
    """One call: what it returned, and its local variables when it did."""

    value: Any
    variables: dict[str, object] = field(default_factory=dict)


def call(routine: Routine, given: Mapping[str, object], instance: object = None) -> CallTrace:
    """Call a routine with arguments by name; what is not given keeps its default.

    Whatever it raises is raised.
    """
    positional: list[object] = [] if not routine.bound else [instance]
    named: dict[str, object] = {}
    for p in routine.parameters:
        if p.name not in given:
            if p.default is EMPTY and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                raise TypeError(f"{routine.name}: no value for the argument {p.name!r}")
            continue
        if p.kind is p.POSITIONAL_ONLY or (
            p.kind is p.POSITIONAL_OR_KEYWORD and p.default is EMPTY
        ):
            positional.append(given[p.name])
        else:
            named[p.name] = given[p.name]
    return _traced(routine.function, positional, named)


def _traced(
    function: Callable[..., object], positional: list[object], named: dict[str, object]
) -> CallTrace:
    inner = inspect.unwrap(function) if callable(function) else function
    code = getattr(inner, "__code__", None)
    seen: dict[str, object] = {}

    def profile(frame: types.FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is code:
            seen.clear()
            seen.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        value = function(*positional, **named)
    except SystemExit as error:
        raise RuntimeError(f"it called exit({error.code})") from error
    finally:
        sys.setprofile(before)
    seen.pop("self", None)
    return CallTrace(value, seen)


def source_of(thing: Any) -> str:
    """Return the source of a function, a method or a class; "" where it is not known."""
    try:
        return inspect.getsource(inspect.unwrap(getattr(thing, "__func__", thing)))
    except (OSError, TypeError):
        return ""


# -- what the source says ----------------------------------------------------------------------


def routine_of(
    name: str, function: Any, target: Target, owner: type | None = None
) -> Routine | None:
    """Return a routine for a function, a static or class method, or a callable object."""
    static = isinstance(function, staticmethod)
    plain = function.__func__ if isinstance(function, staticmethod | classmethod) else function
    try:
        parameters = list(inspect.signature(plain).parameters.values())
    except (TypeError, ValueError):
        return None
    first = parameters[0].name if parameters else ""
    bound = owner is not None and not static and first in ("self", "cls", "this", "s", "_self")
    if owner is not None and not static and not bound and parameters:
        bound = first not in ("x", "z", "X", "Z")  # a function kept in a class, never bound
    if bound:
        parameters = parameters[1:]
    plain_ones = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    node = _node(plain, target)
    returned = returned_by(node) if node is not None else None
    short = name.rpartition(".")[2]
    return Routine(name, plain, owner, bound, tuple(plain_ones), node, returned if short else None)


def _node(function: Callable[..., object], target: Target) -> ast.FunctionDef | None:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return None
    tree: ast.AST | None = target.tree
    if tree is None or code.co_filename != getattr(target.module, "__file__", None):
        try:
            source = inspect.getsource(function)
            tree = ast.parse(inspect.cleandoc("\n" + source) if source[:1].isspace() else source)
        except (OSError, TypeError, SyntaxError, IndentationError):
            return None
        candidates = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        return next((n for n in candidates if n.name == code.co_name), None)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            lines = {node.lineno, *(d.lineno for d in node.decorator_list)}
            if code.co_firstlineno in lines:
                return node
    return None


def returned_by(node: ast.FunctionDef) -> NameTree:
    """Return the names in the return statement of a function that names most."""
    found: list[NameTree] = [
        _tree(n.value) for n in _own_nodes(node) if isinstance(n, ast.Return) and n.value
    ]
    found = [f for f in found if f is not None]
    return max(found, key=_size) if found else None


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without the functions inside it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _own_nodes(child)


def _tree(value: ast.expr) -> NameTree:
    match value:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(_tree(p) for p in parts)
        case ast.Dict(keys=keys, values=parts):
            return {
                k.value: _tree(v)
                for k, v in zip(keys, parts, strict=True)
                if isinstance(k, ast.Constant)
            }
        case ast.Call(func=ast.Name(id="dict"), keywords=parts):
            return {k.arg: _tree(k.value) for k in parts if k.arg}
        case ast.Call(args=[inner, *_], func=ast.Attribute(attr="array" | "asarray" | "copy")):
            return _tree(inner)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))):
            return key or name
        case ast.Subscript(value=ast.Name(id=name), slice=index) if not isinstance(
            index, ast.Slice | ast.Tuple
        ):
            return name
    return None


def _size(tree: NameTree) -> int:
    if isinstance(tree, tuple):
        return sum(_size(t) for t in tree)
    if isinstance(tree, dict):
        return len(tree)
    return int(tree is not None)


# -- nested values -----------------------------------------------------------------------------

Path = tuple[str, ...]
NumericValue = np.ndarray | float
"""An array or a number, of a program's own or on the tape."""

MAX_DEPTH = 8
"""How deep lists in lists are read: one may hold itself."""


def leaves_of(value: object, names: NameTree = None, path: Path = ()) -> dict[Path, NumericValue]:
    """Return the numbers and arrays in nested lists, tuples and dicts, by path.

    A part that has a name in the source is found under that name: `return out, (x, w)` has
    ("out",), ("1", "x"), …; what has no name is found by its place.
    """
    if len(path) > MAX_DEPTH:
        return {}
    if isinstance(names, str):
        path = (*path[:-1], names) if path and path[-1].lstrip("-").isdigit() else (*path, names)
        names = None
    if isinstance(value, Mapping):
        found: dict[Path, NumericValue] = {}
        for key, part in value.items():
            inner = names.get(key) if isinstance(names, dict) else None
            inner = inner if isinstance(inner, tuple | dict) else None
            found.update(leaves_of(part, inner, (*path, str(key))))
        return found
    if isinstance(value, tuple | list) and not _is_numbers(value):
        found = {}
        for i, part in enumerate(value):
            named = isinstance(names, tuple) and len(names) == len(value)
            inner = names[i] if named else None  # type: ignore[index]
            for key, leaf in leaves_of(part, inner, (*path, str(i))).items():
                found[key if key not in found else (*path, str(i))] = leaf
        return found
    if is_numeric(value):
        return {path or ("",): value}
    if isinstance(value, list | tuple):
        return {path or ("",): np.asarray(value, dtype=object if _has_objects(value) else None)}
    array = _foreign(value)
    return {} if array is None else {path or ("",): array}


def _foreign(value: object) -> npt.NDArray[np.generic] | None:
    """Return the array of another library as one of NumPy, None where it is none."""
    if isinstance(value, np.ndarray | np.generic) or not hasattr(type(value), "__array__"):
        return None
    try:
        plain = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except Exception:  # what cannot be read has no numbers
        return None
    return plain if plain.dtype.kind in "fiuO" else None


def is_numeric(value: object) -> TypeGuard[NumericValue]:
    """Whether a value is a number or an array of numbers, plain or on the tape."""
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiuO"
    return isinstance(value, int | float | np.number) or type(value).__name__ == "Number"


def _is_numbers(value: tuple[object, ...] | list[object]) -> bool:
    """Whether a list is a row of numbers (a vector), not a collection of arrays."""
    if not value or len(value) < 1 or isinstance(value, tuple):
        return False
    first = value[0]
    if isinstance(first, list):
        return all(isinstance(v, list) and _is_numbers(v) and len(v) == len(first) for v in value)
    return all(
        isinstance(v, int | float | np.number) or type(v).__name__ == "Number" for v in value
    ) and not any(isinstance(v, bool) for v in value)


def _has_objects(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_objects(v) for v in value)
    return type(value).__name__ == "Number"


def path_name(path: Path) -> str:
    """Return a path as its author would write it: self.W, params["W1"], weights[0]."""
    kept = [p for p in path if p != "step"]
    if not kept:
        return ""
    out = kept[0]
    for part in kept[1:]:
        if part.lstrip("-").isdigit():
            out += f"[{part}]"
        elif kept[0] == "self" and out == "self":
            out += f".{part}"
        else:
            out += f"['{part}']" if kept[0] != "self" or "." in out else f".{part}"
    return out


def claim_name(claim: Path, leaf: Path) -> str:
    """Return the name of a gradient: its own if that says so, or d and the name of its input."""
    if claim[0] == "step":
        return f"the step of {path_name(claim)}"
    same = claim[-1] == leaf[-1] and not all(part.isdigit() for part in claim)
    if not same and not any(map(says_gradient, claim)):
        named = leaf[-1:] if "self" in leaf and not leaf[-1].isdigit() else leaf
        return f"d{path_name(tuple(p for p in named if p != 'self'))}"
    return path_name(claim)
