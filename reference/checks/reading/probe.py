"""Finds which keys a function looks up in a dict, and which arguments are lists, before it is run.

The keys are found by running it on values that absorb every operation and note what is looked up.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.checks.code import Routine, TooSlow, within
from reference.checks.code.routine import call
from reference.checks.reading.shapes import bias_names, weight_names

_SECONDS = 1.0
"""Processor time of one such run: a loop that waits for a number does not end with these."""

_MAX_KEY = 40  # characters: a longer one is no key

_DICTS = re.compile(
    r"param|config|cfg|hyper|^p$|opts?$|options|weights|model|net$|bn_|conv_|pool_|state"
)


class AbsorbingValue:
    """A value that takes part in anything and stays a value."""

    shape = (2, 2, 2, 2)
    ndim, size = 2, 4
    T = property(lambda self: self)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def _same(self, *args: Any, **kwargs: Any) -> "AbsorbingValue":
        return self

    __call__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __matmul__ = __rmatmul__ = _same
    __neg__ = __getitem__ = __floordiv__ = __rfloordiv__ = __mod__ = __and__ = __or__ = _same
    __gt__ = __lt__ = __ge__ = __le__ = __abs__ = __iadd__ = __isub__ = __imul__ = _same
    __array_function__ = __array_ufunc__ = _same

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: object = None) -> np.ndarray:
        # without it NumPy reads a sequence of sequences without an end
        return np.ones(self.shape, dtype)

    def __setitem__(self, key: object, value: object) -> None:
        return None

    def __bool__(self) -> bool:
        return True

    def _two(self) -> int:
        return 2

    __index__ = __int__ = __len__ = _two

    def __float__(self) -> float:
        return 2.0

    def __iter__(self) -> Iterator["AbsorbingValue"]:
        return iter((self, self))


class _Member(AbsorbingValue):
    """What a spy holds: a value, or a dict of its own; then its keys are noted: layer0][w."""

    def __init__(self, asked: list[object], key: object) -> None:
        self.asked, self.key = asked, key

    def __getitem__(self, key: object) -> AbsorbingValue:
        inner = f"{self.key}][{key}"
        if isinstance(key, str) and inner not in self.asked:
            self.asked.append(inner)
        return AbsorbingValue()


class _Spy(dict[object, object]):
    """A dict that has every key, and notes which were asked for."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.asked: list[object] = []
        self.length = length

    def __missing__(self, key: object) -> object:
        if key not in self.asked:
            self.asked.append(key)
        return _Member(self.asked, key)

    def __len__(self) -> int:
        return self.length

    def get(self, key: object, default: object = None) -> object:
        return default if default is not None else self[key]

    def __contains__(self, key: object) -> bool:
        return True

    def values(self) -> Any:
        return [AbsorbingValue()] * self.length

    def copy(self) -> "_Spy":
        return self


def dict_keys(first: Routine, text: str, names: list[str]) -> dict[str, list[str]]:
    """Return the dict arguments of a function, each with the keys that it looks up."""
    found = {}
    for name in names:
        if name.startswith("init."):
            continue
        if not (_DICTS.search(name.lower()) or _is_looked_up(name, text)):
            continue
        if not (_is_looked_up(name, text) or name in ("parameters", "params")):
            continue
        every = dict.fromkeys([*_asked(first, name), *_constants(name, text)])
        heads = {k.partition("][")[0] for k in every if "][" in k}
        every = dict.fromkeys(k for k in every if k not in heads)
        # what the code puts there itself is not an input: layer["A"] = A
        written = rf"\b{re.escape(name)}\[['\"]{{}}['\"]\] = "
        keys = [k for k in every if not re.search(written.format(re.escape(k)), text)]
        if keys or _is_looked_up(name, text):
            found[name] = keys
    return found


def _is_looked_up(name: str, text: str) -> bool:
    quoted = rf"\b{re.escape(name)}\s*(\[\s*f?['\"]|\.get\(|\.items\(|\.keys\()"
    by_key = re.search(rf"\b{re.escape(name)}\[k\]", text) and "for k in range(" not in text
    return bool(re.search(quoted, text) or by_key)


def _asked(first: Routine, name: str) -> list[str]:
    for length in (6, 4):
        spy = _Spy(length)
        given: dict[str, object] = {p: AbsorbingValue() for p in first.required}
        given[name] = spy
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                with within(_SECONDS):
                    call(first, given, AbsorbingValue())
            except (Exception, TooSlow):
                pass
        keys = [k for k in spy.asked if isinstance(k, str)]
        if keys:
            return [k for k in keys if len(k) < _MAX_KEY]
    return []


def _constants(name: str, text: str) -> list[str]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(id=of), slice=ast.Constant(value=key)) if of == name:
                found[str(key)] = None
    return list(found)


def unpacked_names(name: str, first: Routine) -> list[str]:
    """Return the weights and biases that a function takes out of an argument: W, b = params."""
    for node in ast.walk(first.node) if first.node is not None else ():
        match node:
            case ast.Assign(
                targets=[ast.Tuple(elts=parts) | ast.List(elts=parts)], value=ast.Name(id=of)
            ) if of == name and len(parts) > 1:
                found = [p.id for p in parts if isinstance(p, ast.Name)]
                known = {*weight_names(found), *bias_names(found)}
                return found if len(found) == len(parts) and known >= set(found) else []
    return []


def is_listed(name: str, text: str) -> bool:
    """Whether an argument looks like a list of arrays: zip(weights, …), len(w), weights[i]."""
    if re.search(r"idx|ind(ex|ices)|(^|_)ids?$|token", name.lower()):
        return False  # one array of indices, walked through
    bare = re.escape(name.removeprefix("init."))
    bare = rf"(self\.)?_?{bare}"
    if re.search(rf"zeros_like\({bare}\)|\b{bare}\.(shape|T|size|ndim|dot|sum)\b", text):
        return False
    patterns = (
        rf"(zip|enumerate|reversed)\([^)]*\b{bare}\b",
        rf"\bin {bare}\b(?!\.)",
        rf"range\(len\({bare}\)",
        rf"= len\({bare}\)",
        rf"\[None\] \+ {bare}\b",
        rf"\b{bare}\[[a-z]( ?[-+] ?1)?\](?!\[)",
        rf"{bare}\[-1\]",
        rf"{bare}\[1:\]",
    )
    plural = re.search(r"s$|^w$|^b$|list", name, re.I) is not None
    weights = bool(weight_names([name]) or bias_names([name]))
    if weights and all(re.search(rf"\b{bare}\[{i}\](?!\s*\[)", text) for i in (0, 1)):
        return True  # weights[0] and weights[1]
    return plural and any(re.search(p, text) for p in patterns)
