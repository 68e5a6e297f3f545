"""Tries a right formula where textbook formulas break: far out, wide rows, probabilities 0 and 1.

What it finds is reported as FRAGILE; it is not a mistake in the mathematics.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reference.balls import Session, values
from reference.checks.code import is_target, sizes_for
from reference.checks.comparing import Objective, assess
from reference.checks.reading import weight_names
from reference.checks.reading.shapes import bias_names
from reference.checks.running import Reading, perform
from reference.checks.tolerances import LOST, UNDERFLOW

FAR = (40.0, 400.0, 1e4)


class Probe(NamedTuple):
    """One place to try: how it is called, and the array."""

    where: str
    array: np.ndarray


def probe(reading: Reading, objective: Objective, seed: int) -> list[str]:
    """Return what breaks, a sentence each; at most three."""
    if reading.forward is None:
        return []
    of_object = perform(reading, seed, 0).inputs if reading.unit.owner is not None else {}
    if any(p[0] == "self" for p in of_object):
        return []
    names = [n for n in reading.layout if not n.startswith("init.")]
    if any("[" in n for n in names) or weight_names(names) or bias_names(names):
        return []
    floats = [
        n
        for n, s in reading.layout.items()
        if s.kind in ("normal", "unit") and s.dims and not n.startswith("init.") and "[" not in n
    ]
    if not floats or len(floats) > 2:
        return []
    name = floats[-1] if len(floats) == 2 and is_target(floats[0]) else floats[0]
    shape = tuple(
        sizes_for(seed, 0, reading.mode.style).get(d, 1) for d in reading.layout[name].dims
    )
    found: list[str] = []
    make = _probabilities if reading.layout[name].kind == "unit" else _far
    for probe_ in make(name, shape):
        text = _at(reading, objective, seed, name, probe_)
        if text and not any(text.split(" at ")[0] == f.split(" at ")[0] for f in found):
            found.append(text)
        if len(found) == 3:
            break
    return found


def _far(name: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    # none is 0 and no two are equal: at a kink the slope is not unique
    spread = np.linspace(0.25, 1.25, max(1, int(np.prod(shape)))).reshape(shape)
    for size in FAR:
        for sign in (1, -1):
            yield Probe(f"{name} = {sign * size:g}", sign * (size + spread))
    if len(shape) == 2 and shape[1] > 1:
        for size in FAR[1:]:
            wide = spread.copy()
            wide[:, 0], wide[:, 1] = size, -size
            yield Probe(f"rows of {name} from {-size:g} to {size:g}", wide)
            # one sample far from the others: a maximum over all of them is not its own
            apart = spread + size * np.arange(shape[0])[:, None]
            yield Probe(f"samples of {name} that lie {size:g} apart", apart)


def _probabilities(name: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    half = np.full(shape, 0.5)
    for value in (0.0, 1.0):
        one = half.copy()
        one.flat[0] = value
        yield Probe(f"{name} = {value:g}", one)


def _at(reading: Reading, objective: Objective, seed: int, name: str, place: Probe) -> str:
    """Return what breaks at one place, "" where nothing does."""
    try:
        plain = perform(reading, seed, 0, given={(name,): place.array.copy()}, far=True)
    except Exception as error:
        return f"raises {type(error).__name__} at {place.where}"
    try:
        with Session(precision=2_000) as session:
            exact = perform(reading, seed, 0, session, given={(name,): place.array.copy()})
            truth = assess(objective, exact)
            outputs = {p: values(v) for p, v in exact.outputs.items()}
    except Exception:  # it has no certified value there
        return ""
    for path, right in outputs.items():
        text = _breaks(plain.outputs.get(path), right, "the value")
        if text and path == next(iter(outputs)):
            return f"its forward {text[0]} at {place.where}; {text[1]}"
    for row in truth.rows if truth is not None else []:
        text = _breaks(plain.claims.get(row.claim), row.truth.value * truth.scale, "the gradient")  # type: ignore[union-attr]
        if text:
            return f"the gradient {text[0]} at {place.where}; {text[1]}"
    return ""


def _breaks(got: object, right: object, what: str) -> tuple[str, str] | None:
    got, right = np.asarray(got, dtype=float), np.asarray(right, dtype=float)
    if got.shape != right.shape:
        return None
    finite = np.isfinite(right) & (np.abs(right) < 1e300)
    bad = finite & ~np.isfinite(got)
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), bad.shape) if bad.shape else ()
        kind = "is nan" if np.isnan(got[at]) else "is infinite"
        verb = "gives nan" if np.isnan(got[at]) else "gives inf"
        return (verb if what == "the value" else kind), f"the right value is {right[at]:.3g}"
    scale = float(np.max(np.abs(right[finite]), initial=0.0))
    with np.errstate(invalid="ignore"):
        lost = finite & (np.abs(got - right) > LOST * np.abs(right)) & (np.abs(right) > UNDERFLOW)
        lost &= np.abs(right) > 1e-18 * scale
    if lost.any() and what == "the gradient" and scale:
        at = np.unravel_index(int(np.argmax(lost)), lost.shape) if lost.shape else ()
        return "loses all its digits", f"the right value is {right[at]:.3g}, not {got[at]:.3g}"
    return None
