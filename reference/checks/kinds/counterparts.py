"""Counterparts that a file names beside its forward: torch = "torch.sinh", jax = "jax.numpy.sinh".

The gradient is judged by the forward itself; a counterpart is asked for its value alone, so that
a remark can say when it is another function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reference.checks.kinds._frames import Frame, FrameworkMissing, frame_of
from reference.checks.raised import raised_text
from reference.checks.tolerances import DIGITS
from reference.diagnosis.describe import ArrayPair, describe
from reference.oracles.counterparts import find


def counterparts_of(names: Mapping[str, Any]) -> dict[str, str]:
    """Return the counterparts that a module names, by framework."""
    found = {k: names.get(k) for k in ("torch", "jax")}
    return {k: v for k, v in found.items() if isinstance(v, str)}


def compare(
    names: Mapping[str, Any], forward: Callable[..., Any], problems: Sequence[Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Compare the values of a forward with those of its counterparts.

    problems: the forward's arguments by name, in its order, plain; a few will do.
    Returns what is wrong and what could not be compared, a sentence each. Raises InvalidInput
    for a counterpart that does not exist.
    """
    wrong, open_ = [], []
    for framework, name in counterparts_of(names).items():
        try:
            frame = frame_of(framework)
            found = _difference(frame, name, forward, problems)
        except FrameworkMissing:
            open_.append(f"{name} was not compared with your forward: {framework} is not installed")
            continue
        if found:
            wrong.append(f"{name} is another function than your forward: {found}")
    return wrong, open_


def _difference(
    frame: Frame, name: str, forward: Callable[..., Any], problems: Sequence[Mapping[str, Any]]
) -> str:
    pairs: list[ArrayPair] = []
    for given in problems:
        with frame.running(0):
            out = forward(*(_copied(v) for v in given.values()))
            ours = np.asarray(out[0] if isinstance(out, tuple) else out, dtype=float)
            counterpart = find(name)
            try:
                tensors = [
                    frame.tensor(v) if isinstance(v, np.ndarray) else v for v in given.values()
                ]
                value = counterpart(*tensors)
                theirs = frame.plain(value if frame.is_tensor(value) else frame.tensor(value))
            except Exception as error:
                return f"it does not take its arguments ({raised_text(error)})"
        if ours.shape != theirs.shape:
            return f"its value has the shape {theirs.shape}, yours {ours.shape}"
        if not np.allclose(ours, theirs, rtol=DIGITS, atol=DIGITS, equal_nan=True):
            pairs.append(ArrayPair(np.atleast_1d(ours), np.atleast_1d(theirs)))
    return _worst_difference(pairs) if pairs else ""


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


def _worst_difference(pairs: Sequence[ArrayPair]) -> str:
    """Say where the values differ, and how."""
    first = pairs[0]
    off = np.abs(first.given - first.right)
    entry = np.unravel_index(int(np.argmax(np.where(np.isfinite(off), off, np.inf))), off.shape)
    text = f"its value is {first.right[entry]:.6g} where yours is {first.given[entry]:.6g}"
    more = describe(pairs).replace("the right one", "its value").removeprefix("it is ")
    return f"{text}; yours is {more}" if "times" in more or "of its value" in more else text
