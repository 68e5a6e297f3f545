"""The values for a backward's arguments: an input, the cache, a cotangent, a rate."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reference.checks.outcome import Reading, RunOutcome, Unreadable
from reference.checks.routine import CallTrace, Path, is_numeric
from reference.checks.vocabulary import RATES


def source_of(
    source: str,
    name: str,
    arguments: Mapping[str, object],
    trace: CallTrace,
    values: Mapping[Path, object],
    cotangent: Callable[[str], object],
) -> object:
    """Return the value of a source: "input:x", "cotangent:", "rest" or "output:0".

    name: the argument that gets it. arguments, trace, values: what the forward was given, how it
    ran, and its named values. cotangent: draws the cotangent of an output.
    """
    kind, _, which = source.partition(":")
    match kind:
        case "input" | "extra":
            return arguments[which or name]
        case "variable":
            if which in trace.variables:
                return trace.variables[which]
            found = {p: v for p, v in values.items() if which in (p[-1], p[0])}
            if not found:
                raise Unreadable(f"{name}: forward has no {which}")
            return next(iter(found.values()))
        case "output":
            return part_of(trace.value, which)
        case "rest" | "last":
            rest = trace.value[1:] if isinstance(trace.value, tuple | list) else ()
            if not rest:
                raise Unreadable(f"{name}: forward keeps nothing but its output")
            return rest[-1] if kind == "last" or len(rest) == 1 else tuple(rest)
        case "all":
            return trace.value
        case "cotangent":
            return cotangent(which)
    raise Unreadable(f"{name}: {source}")


def part_of(value: object, which: str) -> object:
    """Return an output: the whole, or one of several by number, name or the last of them."""
    if which == "":
        return value[0] if isinstance(value, tuple) else value
    if isinstance(value, dict):
        return value[which] if which in value else list(value.values())[int(which)]
    if isinstance(value, tuple | list):
        return value[int(which)]
    raise Unreadable(f"the output has no part {which}")


def cotangent_of(
    which: str, trace: CallTrace, outcome: RunOutcome, rng: np.random.Generator
) -> object:
    """Draw a cotangent for an output: of its shape, or one for each member of a list.

    which: "" the output, a number, a name, "last:…" its last column, "each:K" the K-th of
    what is kept for each step, "single:" the output, with one entry that is not zero.
    """
    if which == "single:":
        return _drawn(part_of(trace.value, ""), outcome, rng, single=True)
    if which.startswith("each:"):
        steps = trace.value if isinstance(trace.value, list) else trace.value[1]
        parts = [s[int(which[5:])] for s in steps]
        return _each(parts, outcome, rng)
    if which.startswith("last"):
        value = part_of(trace.value, which[5:])
        array = np.asarray(value, dtype=object) if not isinstance(value, np.ndarray) else value
        if array.ndim < 2:
            raise Unreadable("the output has no last column")
        return _drawn(array[..., -1] if which.startswith("last:") else array[-1], outcome, rng)
    if which and not which.lstrip("-").isdigit():
        found = {p: v for p, v in outcome.values.items() if p[-1] == which}
        if not found:
            raise Unreadable(f"forward has no {which}")
        return _drawn(next(iter(found.values())), outcome, rng)
    value = part_of(trace.value, which)
    if isinstance(value, list) and value and all(is_numeric(v) for v in value):
        if not all(np.ndim(v) == 0 for v in value):
            return _each(value, outcome, rng)
    return _drawn(value, outcome, rng)


def _each(parts: Any, outcome: RunOutcome, rng: np.random.Generator) -> list[Any]:
    return [_drawn(p, outcome, rng) for p in parts]


def _drawn(
    value: object, outcome: RunOutcome, rng: np.random.Generator, single: bool = False
) -> object:
    if not is_numeric(value):
        raise Unreadable("the output is not an array")
    shape = np.shape(value) if isinstance(value, np.ndarray) else ()
    cotangent = rng.standard_normal(shape)
    if single and shape:
        cotangent *= np.arange(cotangent.size).reshape(shape) == rng.integers(cotangent.size)
    cotangent = cotangent.astype(outcome.dtype) if outcome.dtype and shape else cotangent
    given = cotangent if shape else float(cotangent)
    outcome.cotangents.append((value, given))
    return given.copy() if isinstance(given, np.ndarray) else given


def rate_of(reading: Reading, arguments: Mapping[str, object], instance: object) -> float | None:
    """Return the rate that a backward steps with, None where none is known."""
    for name, value in arguments.items():
        if name.lower() in RATES and isinstance(value, int | float):
            return float(value)
    for p in reading.unit.backward.parameters:
        if p.name.lower() in RATES and isinstance(p.default, int | float):
            return float(p.default)
    held: dict[str, Any] = {}
    for part in (*reversed(type(instance).__mro__), instance):
        held |= vars(part) if hasattr(part, "__dict__") else {}
    if any(type(v).__name__ == "Steps" for v in held.values()):
        return 0.5
    for name, value in held.items():
        if name.lower().lstrip("_") in {*RATES, "alpha"} and isinstance(value, int | float):
            return float(value)
    return None
