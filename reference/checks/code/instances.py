"""The arrays that an object keeps: its weights, its caches, its gradients, by path.

A path is the way to them: ("W",), ("params", "W1"), ("layers", "0", "weights").
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from reference.checks.code import vocabulary as words
from reference.checks.code.routine import NumericValue, Path, is_numeric

_DEPTH = 6
_BUFFERS = re.compile(
    r"running|moving|mean|var|momentum|velocity|cache|^m_|^v_|^m$|^v$|mask|history|losses|errors|"
    r"^(x|inputs?|output|outputs?|out|a|z|y|h)$|_prev|activations?$|^zs?$|pos_?enc",
    re.I,
)
_NUMBERS = re.compile(r"(b|bias|intercept)\d?_?", re.I)  # trained, and a plain number: self.b = 0.0
_VARIANCES = re.compile(r"var|std|sigma", re.I)

Setter = Callable[[object], None]


def is_own(thing: object, module: str) -> bool:
    """Whether an object's class stands in the target's module (or its folder)."""
    home = type(thing).__module__
    return home == module or (
        hasattr(thing, "__dict__")
        and home not in _LIBRARIES
        and not home.startswith(("numpy", "torch", "jax", "builtins", "reference"))
    )


_LIBRARIES = frozenset({"builtins", "collections", "functools", "types", "random", "logging"})


def walk(
    thing: object, module: str, path: Path = (), seen: set[int] | None = None
) -> Iterator[tuple[Path, NumericValue, Setter]]:
    """Yield (path, value, setter) of every number and array that an object holds."""
    seen = set() if seen is None else seen
    if id(thing) in seen or len(path) > _DEPTH:
        return
    seen.add(id(thing))
    items: list[tuple[str, object, Setter]] = []
    if isinstance(thing, dict):
        items = [(str(k), v, partial(operator.setitem, thing, k)) for k, v in list(thing.items())]
    elif isinstance(thing, list):
        items = [(str(i), v, partial(operator.setitem, thing, i)) for i, v in enumerate(thing)]
    elif isinstance(thing, tuple):
        items = [(str(i), v, _no_setter) for i, v in enumerate(thing)]
    elif hasattr(thing, "__dict__") and is_own(thing, module) and not isinstance(thing, type):
        items = [(k, v, partial(setattr, thing, k)) for k, v in list(vars(thing).items())]
    for name, value, setter in items:
        if is_numeric(value):
            yield (*path, name), value, setter
        elif isinstance(value, dict | list | tuple) or hasattr(value, "__dict__"):
            yield from walk(value, module, (*path, name), seen)


def _no_setter(value: object) -> None:
    raise TypeError("a tuple cannot be written into")


def parameters(
    instance: object, module: str, lazily: bool = False
) -> dict[Path, tuple[NumericValue, Setter]]:
    """Return the trainable arrays of an object: floats that are neither gradients nor buffers.

    `lazily`: the object has run already, so that only what is called like a weight counts.
    """
    found: dict[Path, tuple[NumericValue, Setter]] = {}
    for path, value, setter in walk(instance, module):
        number = type(value) is float and _NUMBERS.fullmatch(path[-1])
        if setter is _no_setter or not (isinstance(value, np.ndarray) or number):
            continue
        if np.asarray(value).dtype.kind not in "fO":
            continue
        gradients = ("grads", "gradients", "grad")
        if not np.size(value) or any(words.is_gradient_name(p) or p in gradients for p in path):
            continue
        name = next((p for p in reversed(path) if not p.lstrip("-").isdigit()), path[-1])
        known = words.WEIGHTS.match(name) or words.BIASES.match(name)
        named = known is not None or name.lower() in ("gamma", "params")
        if (_BUFFERS.search(name) or lazily) and not named:
            continue
        found[path] = (value, setter)
    return found


def randomise(
    instance: object, module: str, rng: np.random.Generator, lazily: bool = False
) -> dict[Path, NumericValue]:
    """Give every trainable array fresh numbers; return them by path.

    Weights that start at zero or at one would hide most mistakes.
    """
    drawn: dict[Path, NumericValue] = {}
    shared: dict[int, Path] = {}
    for path, (value, setter) in parameters(instance, module, lazily).items():
        if id(value) in shared and np.ndim(value):  # one array under two names stays one array
            setter(drawn[shared[id(value)]])
            continue
        plain = np.asarray(value)
        if plain.dtype.kind == "O" and not all(isinstance(v, float | int) for v in plain.flat):
            continue
        fresh = rng.standard_normal(plain.shape) * scale_of(rng)
        if _VARIANCES.search(path[-1]) or path[-1].lower() in ("gamma", "scale"):
            fresh = rng.uniform(0.5, 1.5, plain.shape)
        if plain.dtype == np.float32:
            fresh = fresh.astype(np.float32)
        drawn[path] = fresh if np.ndim(value) else float(fresh)
        setter(drawn[path])
        shared[id(value)] = path
    return drawn


def scale_of(rng: np.random.Generator) -> float:
    """Return how large weights are drawn: below 1, so that no layer saturates, or whole."""
    return 0.7 if type(rng) is np.random.Generator else 1.0


def set_parameters(instance: object, module: str, values: Mapping[Path, object]) -> None:
    """Write arrays into an object at their paths, and wherever the same array is kept."""
    held = list(walk(instance, module))
    by_array = {id(value): values[path] for path, value, _ in held if path in values}
    for path, value, setter in held:
        if path in values:
            setter(values[path])
        elif id(value) in by_array and setter is not _no_setter:
            setter(by_array[id(value)])
