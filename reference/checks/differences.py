"""Judges by differences where a forward leaves the tape: C code, float(), another library.

Central differences at h, h/2 and h/4, extrapolated (Richardson): an error of h⁶ and of u/h.
Source: Richardson, Phil. Trans. A 226 (1927). The verdict says so.
"""

from collections.abc import Mapping

import numpy as np

from reference.checks.assess import Assessment, assess
from reference.checks.experiment import perform
from reference.checks.objective import Objective, Truth, scalar_of
from reference.checks.outcome import Reading, RunOutcome
from reference.checks.routine import Path, is_numeric
from reference.checks.tolerances import EXTRAPOLATED

STEP = 2.0**-6
"""h of numbers near 1: the three differences leave about ten digits of a smooth function."""

MAX_ENTRIES = 400


def judged(reading: Reading, seed: int) -> tuple[Objective, Assessment] | None:
    """Return the first objective of a reading under which most is right, on its first problem."""
    try:
        outcome = perform(reading, seed, 0)
        found = [
            (o, a) for o in _objectives(outcome) if (a := assessed(reading, seed, 0, o)) is not None
        ]
    except Exception:
        return None
    return max(found, key=lambda f: f[1].rank, default=None)


def assessed(reading: Reading, seed: int, index: int, objective: Objective) -> Assessment | None:
    """Hold one problem's claims to differences of the forward."""
    outcome = perform(reading, seed, index)
    return assess(
        objective, outcome, lambda o, out, wanted: _truths(reading, seed, index, o, wanted)
    )


def _objectives(outcome: RunOutcome) -> list[Objective]:
    if outcome.cotangents:
        return [Objective("cotangents")]
    paths = [
        p
        for p, v in outcome.outputs.items()
        if is_numeric(v) and (outcome.paired or p not in outcome.claims)
    ]
    scalars = [Objective("loss", p) for p in paths if np.size(outcome.outputs[p]) == 1]
    return scalars or [Objective("sum", p) for p in paths[:1]]


def _truths(
    reading: Reading, seed: int, index: int, objective: Objective, wanted: Mapping[Path, object]
) -> dict[Path, Truth] | None:
    found = {}
    for path, value in wanted.items():
        plain = np.asarray(value, dtype=float)
        if plain.size > MAX_ENTRIES:
            return None
        rows = [
            _slope(reading, seed, index, objective, path, plain, entry)
            for entry in np.ndindex(plain.shape)
        ]
        values = np.array([r[0] for r in rows]).reshape(plain.shape)
        scale = np.full(plain.shape, float(np.max(np.abs(values), initial=0.0)))
        found[path] = Truth(
            values,
            10.0**-EXTRAPOLATED * scale + np.array([r[1] for r in rows]).reshape(plain.shape),
            scale,
        )
    return found


def _slope(
    reading: Reading,
    seed: int,
    index: int,
    objective: Objective,
    path: Path,
    plain: np.ndarray,
    entry: tuple[int, ...],
) -> tuple[float, float]:
    """Return ∂L/∂x of one entry, and the difference of the last two extrapolations."""
    first = []
    for h in (STEP, STEP / 2, STEP / 4):
        ends = []
        for sign in (1.0, -1.0):
            move = np.zeros(plain.shape)
            move[entry] = sign * h
            ends.append(_value(reading, seed, index, objective, {path: move}))
        first.append((ends[0] - ends[1]) / (2 * h))
    second = [(4 * first[1] - first[0]) / 3, (4 * first[2] - first[1]) / 3]
    best = (16 * second[1] - second[0]) / 15
    return best, abs(best - second[1])


def _value(
    reading: Reading, seed: int, index: int, objective: Objective, moved: Mapping[Path, np.ndarray]
) -> float:
    outcome = perform(reading, seed, index, moved=moved)
    found = scalar_of(objective, outcome)
    if found is None:
        return float("nan")
    return float(sum(np.sum(np.asarray(v, dtype=float) * w) for v, w in zip(*found, strict=True)))
