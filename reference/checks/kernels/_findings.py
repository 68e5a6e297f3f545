"""What the ways of asking a kernel found, and whether an answer is within what rounding allows."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from reference.checks.kernels._formats import FLOAT64, ROUNDED, Array, Model
from reference.checks.tolerances import DIGITS, ROUTES, SUMMED


@dataclass
class Findings:
    """What the ways of asking found."""

    failing: list[tuple[str, str]] = field(default_factory=list)
    """(way, what is wrong), the plain ways first."""
    remarks: list[str] = field(default_factory=list)
    lossy: list[str] = field(default_factory=list)
    """Where digits are lost that sums in float32 keep."""
    right: list[str] = field(default_factory=list)
    """Ways in which everything is right."""

    def sentences(self) -> list[str]:
        """Return the remarks, first in how many ways everything is right."""
        dtypes = [way for way in self.right if way in ROUNDED]
        count = len(self.right) - len(dtypes)
        text = f"right in {count} ways of asking"
        text += f", and in {', '.join(dtypes)}" if dtypes else ""
        return [text, *self.remarks] if self.right else self.remarks

    def add(self, way: str, wrong: list[str]) -> None:
        """Note what is wrong under one way; nothing: it is right."""
        if wrong:
            self.failing.append((way, "; ".join(wrong)))
        else:
            self.right.append(way)


class ReturnedArray(NamedTuple):
    """An array that came back, with what it should be."""

    name: str
    got: Array | None
    true: Array
    bound: Array
    """What rounding may move, by the model."""


class Furthest(NamedTuple):
    """The entry that is furthest outside of what is allowed."""

    times: float
    """How many times what is allowed; at most 1: inside."""
    entry: tuple[int, ...]


def furthest(one: ReturnedArray, model: Model) -> Furthest:
    """Return the entry that is furthest off; entries without a true value are left out."""
    assert one.got is not None
    allowed = ROUTES * one.bound
    if model.dtype == FLOAT64:
        size = np.abs(np.where(np.isfinite(one.true), one.true, 0.0))
        allowed = np.maximum(allowed, DIGITS * (size + SUMMED * np.max(size, initial=0.0)))
    with np.errstate(all="ignore"):
        off = np.abs(one.got - one.true)
        times = np.where(off == 0, 0.0, off / allowed)
        times = np.where(np.isfinite(one.got), times, np.inf)
        times = np.where(one.got == one.true, 0.0, times)
    beyond = np.abs(one.true) + allowed > model.unit.largest
    times = np.where(np.isnan(one.true) | (beyond & np.isinf(one.got)), 0.0, times)
    if not times.size:
        return Furthest(0.0, ())
    at = np.unravel_index(int(np.argmax(times)), times.shape)
    return Furthest(float(times[at]), tuple(int(i) for i in at))


def wrong_texts(named: list[ReturnedArray], model: Model) -> list[str]:
    """Return a sentence for each array that is not what it should be."""
    found = []
    for one in named:
        if one.got is None:
            if np.any(np.nan_to_num(one.true) != 0):
                found.append(f"{one.name} is None, which autograd takes for 0")
            continue
        if one.got.shape != one.true.shape:
            found.append(f"{one.name} has shape {one.got.shape}, not {one.true.shape}")
            continue
        times, entry = furthest(one, model)
        if times > 1:
            found.append(_text(one, model, times, entry))
    return found


def _text(one: ReturnedArray, model: Model, times: float, entry: tuple[int, ...]) -> str:
    assert one.got is not None
    where = f"{one.name}{list(entry)}" if entry else one.name
    digits = 17 if model.dtype == FLOAT64 else 9
    values = f"{where} is {one.got[entry]:.{digits}g}, right {one.true[entry]:.{digits}g}"
    if model.dtype == FLOAT64 or not np.isfinite(times):
        return values
    return (
        f"the error of {one.name} is {times:.2g} times the error that rounding of each operation "
        f"allows ({values} ± {ROUTES * one.bound[entry]:.1e})"
    )
