"""Judges by differences where a forward leaves the tape: C code, float(), another library.

Central differences at h, h/2 and h/4, extrapolated (Richardson): an error of h⁶ and of u/h.
Source: Richardson, Phil. Trans. A 226 (1927). The verdict says so.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reference.checks.code import Path, is_numeric
from reference.checks.comparing.assessing import assess
from reference.checks.comparing.assessment import Array, Assessment
from reference.checks.comparing.objective import Objective, Truth, scalar_of
from reference.checks.running import Reading, RunOutcome, perform
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
    leaves = {path: np.asarray(value, dtype=float) for path, value in wanted.items()}
    if any(plain.size > MAX_ENTRIES for plain in leaves.values()):
        return None

    def value(given: Mapping[Path, Array]) -> float:
        # [()]: a number goes in as a number, not as an array without axes
        outcome = perform(reading, seed, index, given={p: a[()] for p, a in given.items()})
        found = scalar_of(objective, outcome)
        if found is None:
            return float("nan")
        pairs = zip(*found, strict=True)
        return float(sum(np.sum(np.asarray(v, dtype=float) * w) for v, w in pairs))

    first = [slopes(value, leaves, h, _CENTRAL) for h in (STEP, STEP / 2, STEP / 4)]
    return {path: _extrapolated(*(one[path] for one in first)) for path in leaves}


def _extrapolated(one: Array, half: Array, quarter: Array) -> Truth:
    """Return slopes at h, h/2 and h/4 without their errors of h² and h⁴, and how far they moved."""
    second, third = (4 * half - one) / 3, (4 * quarter - half) / 3
    best = (16 * third - second) / 15
    scale = np.full(best.shape, float(np.max(np.abs(best), initial=0.0)))
    return Truth(best, 10.0**-EXTRAPOLATED * scale + abs(best - third), scale)


# -- the slopes of a scalar of arrays ----------------------------------------------------------

Value = Callable[[Mapping[Path, Array]], float]
Stencil = Sequence[tuple[int, float]]
"""Steps, and what the value there is weighed with."""
_CENTRAL: Stencil = ((1, 0.5), (-1, -0.5))
_ORDER_FOUR: Stencil = ((1, 8 / 12), (-1, -8 / 12), (2, -1 / 12), (-2, 1 / 12))
_STEP_OF_FOUR = 2e-3


def by_differences(value: Value, leaves: Mapping[Path, Array]) -> dict[Path, Array]:
    """Return the gradient of a scalar of arrays by central differences of order four."""
    return slopes(value, leaves, _STEP_OF_FOUR, _ORDER_FOUR)


def slopes(
    value: Value, leaves: Mapping[Path, Array], step: float, stencil: Stencil
) -> dict[Path, Array]:
    """Return the gradient of a scalar of arrays by a stencil of differences.

    Each value is asked for with copies: the target's code may write into what it is given.
    """
    found = {path: np.zeros(array.shape) for path, array in leaves.items()}
    for path, array in leaves.items():
        for entry in np.ndindex(array.shape):
            along = np.zeros(array.shape)
            along[entry] = step
            for k, weight in stencil:
                given = {p: np.array(a) for p, a in leaves.items()}
                given[path] = given[path] + k * along
                found[path][entry] += weight * value(given) / step
    return found
