"""What a backward claims: what it returned, what its object keeps, the steps that it took."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.balls import is_tracked
from reference.checks import instances
from reference.checks.matching import matched
from reference.checks.outcome import Reading, RunOutcome
from reference.checks.routine import CallTrace, Path, is_numeric, leaves_of, source_of
from reference.checks.vocabulary import gradient_of, plain

MAX_NUMBERS = 10_000_000
"""Numbers in one array that comes back: more cannot be the gradient of what went in."""


def kept_now(reading: Reading, instance: object) -> dict[Path, Any]:
    """Return all numbers and arrays that an object holds now."""
    if instance is None or reading.unit.owner is None:
        return {}
    return instances.kept_arrays(instance, reading.unit.owner.__module__)


def collect(
    reading: Reading,
    trace: CallTrace,
    instance: object,
    before: Mapping[Path, object],
    outcome: RunOutcome,
) -> None:
    """Enter the claims into an outcome: returned, kept by the object, or steps that it took."""
    back = reading.unit.backward
    returned = leaves_of(_as_slope(trace.value), back.returned)
    claims = {**{path: _plain(value) for path, value in returned.items()}, **outcome.steps}
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


def _plain(value: object) -> Any:
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


def _as_slope(value: object) -> Any:
    """Return truths as the numbers 0 and 1: `return x > 0` is the slope of max(x, 0)."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return value.astype(float)
    return float(value) if isinstance(value, bool | np.bool_) else value


def steps_of_the_module(reading: Reading, before: Mapping[Path, Any], outcome: RunOutcome) -> None:
    """The module's own weights, where the function moves them: W = W - rate * dW."""
    space = getattr(reading.first.function, "__globals__", {})
    for path in list(outcome.inputs):
        if path[0] != "global":
            continue
        now, then = space[path[1]], _view_like(outcome.inputs[path], before[path])
        if np.shape(now) == np.shape(then) and not same(now, then):
            outcome.steps[("step", *path)] = (then - now) * (1 / (outcome.rate or 1.0))
            outcome.inputs[path] = then
            outcome.stepped.add(path)


def steps_in_arguments(
    arguments: Mapping[str, object], before: Mapping[Path, object], outcome: RunOutcome
) -> None:
    """A dict of weights that the backward steps itself: layer["W"] -= lr * dW."""
    for path in list(outcome.inputs):
        if len(path) != 2 or path[0] not in arguments or outcome.rate is None:
            continue
        holder = arguments[path[0]]
        now = holder.get(path[1]) if isinstance(holder, dict) else None
        then = _view_like(outcome.inputs[path], before[path])
        if now is not None and np.shape(now) == np.shape(then) and not same(now, then):
            outcome.claims[("step", *path)] = (then - now) * (1 / outcome.rate)
            outcome.inputs[path] = then
            outcome.stepped.add(path)


def _looks_kept(path: Path) -> bool:
    containers = ("grads", "grad", "gradients", "gradient", "g", "delta", "deltas")
    return any(gradient_of(p) or plain(p) in containers for p in path)


def _steps_taken(outcome: RunOutcome, after: Mapping[Path, Any]) -> None:
    """Where the backward updates the weights itself, its step is its claim."""
    given = {leaf for _, leaf in matched(outcome.claims, outcome.inputs, {})[0]}
    for path, then in list(outcome.inputs.items()):
        if path[0] != "self" or path[1:] not in after or path in given:
            continue
        now = after[path[1:]]
        was = outcome.others.get(("before", *path), then)
        if is_numeric(now) and np.shape(now) == np.shape(was) and not same(now, was):
            rate = outcome.rate or 1.0
            outcome.claims[("step", *path)] = (was - now) * (1 / rate)


def inputs_copied(outcome: RunOutcome) -> dict[Path, Any]:
    """Copy the inputs, so that writes into them are noticed; steps are measured from the copy."""
    copies = {
        k: np.array(v, copy=True) if isinstance(v, np.ndarray) else v
        for k, v in {**outcome.inputs, **outcome.others}.items()
        if k[0] != "before"
    }
    for path in outcome.inputs:
        if path[0] == "self":
            outcome.others[("before", *path)] = _view_like(outcome.inputs[path], copies[path])
    return copies


def _view_like(original: Any, copied: Any) -> Any:
    return copied.view(type(original)) if isinstance(original, np.ndarray) else copied


def note_mutation(outcome: RunOutcome, before: Mapping[Path, object]) -> None:
    """Note which inputs were changed; the original inputs are judged."""
    for path, then in before.items():
        now = outcome.inputs.get(path, outcome.others.get(path))
        if isinstance(now, np.ndarray) and not same(now, then):
            if path[0] != "self" and path not in outcome.stepped:
                outcome.mutated.append(path[-1])
            # The original inputs are judged.
            if path in outcome.inputs:
                outcome.inputs[path] = _view_like(now, then)


def same(one: Any, other: Any) -> bool:
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
