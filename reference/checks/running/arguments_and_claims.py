"""What a backward is given, and what it claims.

It is given an input, the cache, a cotangent, a rate. Its claims are what it returned, what its
object keeps, and the steps that it took.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from reference.balls import is_tracked
from reference.checks.code import (
    NumericValue,
    Path,
    instances,
    is_numeric,
    leaves_of,
    plain,
    source_of,
)
from reference.checks.code.routine import CallTrace
from reference.checks.code.vocabulary import RATES, gradient_of, same_thing
from reference.checks.running.matching import matched
from reference.checks.running.outcome import Reading, RunOutcome, Unreadable


def value_of(
    source: str,
    name: str,
    arguments: Mapping[str, object],
    trace: CallTrace,
    values: Mapping[Path, NumericValue],
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


def _each(parts: Iterable[object], outcome: RunOutcome, rng: np.random.Generator) -> list[object]:
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
    held: dict[str, object] = {}
    for part in (*reversed(type(instance).__mro__), instance):
        held |= vars(part) if hasattr(part, "__dict__") else {}
    if any(type(v).__name__ == "PlainSgd" for v in held.values()):
        return 0.5
    for name, value in held.items():
        if name.lower().lstrip("_") in {*RATES, "alpha"} and isinstance(value, int | float):
            return float(value)
    return None


MAX_NUMBERS = 10_000_000
"""Numbers in one array that comes back: more cannot be the gradient of what went in."""


def kept_now(reading: Reading, instance: object) -> dict[Path, NumericValue]:
    """Return all numbers and arrays that an object holds now."""
    if instance is None or reading.unit.owner is None:
        return {}
    held = instances.walk(instance, reading.unit.owner.__module__)
    return {path: value for path, value, _ in held}


def collect(
    reading: Reading,
    trace: CallTrace,
    instance: object,
    before: Mapping[Path, NumericValue],
    outcome: RunOutcome,
) -> None:
    """Enter the claims into an outcome: returned, kept by the object, or steps that it took."""
    back = reading.unit.backward
    returned = leaves_of(_as_slope(trace.value), back.returned)
    claims = {path: _plain(value) for path, value in returned.items()}
    if instance is not None and trace.value is not instance:
        after = kept_now(reading, instance)
        outcome.kept = after
        for path, value in after.items():
            changed = path not in before or not same(value, before[path])
            if ("self", *path) in outcome.inputs and not any(map(gradient_of, path)):
                continue  # a weight that is called g or delta
            if changed and _looks_kept(path) and (path not in before or _touched(path, reading)):
                claims[("self", *path)] = value
        outcome.claims = claims
        _steps_taken(outcome, after)
        return
    outcome.claims = claims


def _plain(value: NumericValue) -> NumericValue:
    """Return what came back as an array of NumPy's own, or of ours; nothing else is computed with.

    A class of the target may do anything in a subtraction, and so may its numbers.
    """
    if isinstance(value, np.ndarray) and not is_tracked(value):
        if value.size > MAX_NUMBERS:
            raise ValueError(f"it returned {value.size} numbers, of shape {value.shape}")
        scalars = value.dtype.kind == "O" and all(np.ndim(v) == 0 for v in value.flat)
        return np.array(value, dtype=float if scalars else None, subok=False)
    return value


def _touched(path: Path, reading: Reading) -> bool:
    """Whether the backward, or a method that it calls, names what the object keeps at a path."""
    owner, text = reading.unit.owner, reading.unit.backward.text()
    seen: set[str] = set()
    if not text or owner is None:
        return True
    while called := set(re.findall(r"\.(\w+)\(", text)) - seen:
        seen |= called
        for name in called:
            method = getattr(owner, name, None)
            if method is not None:
                text += "\n" + source_of(method)
    head = re.escape(path[0])
    return re.search(rf"\b{head}\b|setattr|vars\(|__dict__|\bsuper\(|self\[", text) is not None


def _as_slope(value: object) -> object:
    """Return truths as the numbers 0 and 1: `return x > 0` is the slope of max(x, 0)."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return value.astype(float)
    return float(value) if isinstance(value, bool | np.bool_) else value


def steps_of_the_module(
    reading: Reading, before: Mapping[Path, NumericValue], outcome: RunOutcome
) -> None:
    """The module's own weights, where the function moves them: W = W - rate * dW."""
    space = getattr(reading.first.function, "__globals__", {})
    for path in list(outcome.inputs):
        if path[0] == "global":
            _note_step(outcome, path, before, space[path[1]])


def _note_step(
    outcome: RunOutcome, path: Path, before: Mapping[Path, NumericValue], now: NumericValue | None
) -> None:
    """Enter the step that an input has taken, and the input as it was."""
    then = _view_like(outcome.inputs[path], before[path])
    if now is not None and np.shape(now) == np.shape(then) and not same(now, then):
        outcome.claims[("step", *path)] = (then - now) * (1 / (outcome.rate or 1.0))
        outcome.inputs[path] = then
        outcome.stepped.add(path)


def steps_in_arguments(
    arguments: Mapping[str, object], before: Mapping[Path, NumericValue], outcome: RunOutcome
) -> None:
    """A dict of weights that the backward steps itself: layer["W"] -= lr * dW."""
    for path in list(outcome.inputs):
        if len(path) != 2 or path[0] not in arguments or outcome.rate is None:
            continue
        holder = arguments[path[0]]
        now = holder.get(path[1]) if isinstance(holder, dict) else None
        _note_step(outcome, path, before, now)


def _looks_kept(path: Path) -> bool:
    containers = ("grads", "grad", "gradients", "gradient", "g", "delta", "deltas")
    return any(gradient_of(p) or plain(p) in containers for p in path)


def _steps_taken(outcome: RunOutcome, after: Mapping[Path, NumericValue]) -> None:
    """Where the backward updates the weights itself, its step is its claim.

    What it returns alone may be the gradient of its input, in a shape that a weight has too.
    """
    pairs, _, _ = matched(outcome.claims, outcome.inputs, {})
    kept = len(pairs) > 1 or any(c[0] == "self" for c, _ in pairs)
    given = {
        leaf
        for claim, leaf in pairs
        if kept or any(same_thing(base, leaf[-1]) for base in gradient_of(claim[-1]))
    }
    for path, then in list(outcome.inputs.items()):
        if path[0] != "self" or path[1:] not in after or path in given:
            continue
        now = after[path[1:]]
        was = outcome.before.get(path, then)
        if is_numeric(now) and np.shape(now) == np.shape(was) and not same(now, was):
            rate = outcome.rate or 1.0
            outcome.claims[("step", *path)] = (was - now) * (1 / rate)


def inputs_copied(outcome: RunOutcome) -> dict[Path, NumericValue]:
    """Copy the inputs, so that writes into them are noticed; steps are measured from the copy."""
    copies = {
        k: np.array(v, copy=True) if isinstance(v, np.ndarray) else v
        for k, v in {**outcome.inputs, **outcome.others}.items()
    }
    for path in outcome.inputs:
        if path[0] == "self":
            outcome.before[path] = _view_like(outcome.inputs[path], copies[path])
    return copies


def _view_like(original: NumericValue, copied: NumericValue) -> NumericValue:
    if isinstance(original, np.ndarray) and isinstance(copied, np.ndarray):
        return copied.view(type(original))
    return copied


def note_mutation(outcome: RunOutcome, before: Mapping[Path, NumericValue]) -> None:
    """Note which inputs were changed; the original inputs are judged."""
    for path, then in before.items():
        now = outcome.inputs.get(path, outcome.others.get(path))
        if isinstance(now, np.ndarray) and not same(now, then):
            if path[0] != "self" and path not in outcome.stepped:
                outcome.mutated.append(path[-1])
            # The original inputs are judged.
            if path in outcome.inputs:
                outcome.inputs[path] = _view_like(now, then)


def same(one: NumericValue, other: NumericValue) -> bool:
    """Whether two values are the same, tracked numbers by identity."""
    if one is other:
        return not isinstance(one, np.ndarray)
    if np.shape(one) != np.shape(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype == object:
        return all(
            a is b or (not hasattr(a, "parents") and not hasattr(b, "parents") and a == b)
            for a, b in zip(one.flat, np.asarray(other).flat, strict=True)
        )
    if type(one).__name__ == "Number" or type(other).__name__ == "Number":
        return one is other
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))
