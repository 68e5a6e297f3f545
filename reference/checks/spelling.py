"""Spells values, calls and paths as Python, for the script that shows what is wrong."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.balls import values
from reference.checks.routine import EMPTY, Path, Routine, leaves_of


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


def part_of(value: Any, names: Any, path: Path, text: str) -> str | None:
    """Return how to reach the leaf that has a (named) path in a returned value, or None."""
    named = list(leaves_of(value, names))
    by_place = list(leaves_of(value))
    if path not in named or len(named) != len(by_place):
        return None
    place = by_place[named.index(path)]
    return text if place == ("",) else inner_path(value, place, text)


def resolves(module: object, routine: Routine) -> bool:
    """Whether a routine is what its module has under its name."""
    thing: Any = module
    for part in routine.name.split("."):
        get = inspect.getattr_static if inspect.isclass(thing) else getattr
        thing = get(thing, part, None)
    thing = getattr(thing, "__func__", thing)
    inherited = routine.owner is not None and hasattr(routine.owner, routine.short)
    return thing is routine.function or (thing is None and inherited)
