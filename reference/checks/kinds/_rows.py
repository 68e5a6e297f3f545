"""Rows of kinds that run on floats, and the losses that nobody wrote for code on tensors.

The truth of a row has rounding of its own. What y − o in a backward is the slope of is looked up in
the table of `losses`: the slope comes from its balls, and the framework takes it on from there.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.balls import Session, gradient, lift
from reference.checks.comparing import LOSSES, Row, Truth
from reference.checks.comparing.losses import CandidateLoss, evaluate, matching_targets
from reference.checks.tolerances import DIGITS, EXPLAINED
from reference.formats import Array

FLOAT32 = re.compile(r"float32|\.float\(\)|float16|\.half\(\)")
"""What code says that computes in fewer digits than its inputs have."""


def float_truth(value: object, digits: float = DIGITS) -> Truth:
    """Return a truth that was computed in float64: its error is a share of its largest entry."""
    plain = np.asarray(value, dtype=np.float64)
    finite = np.abs(plain[np.isfinite(plain)])
    scale = np.full(plain.shape, float(np.max(finite, initial=0.0)))
    return Truth(plain, digits * scale, scale)


def written_into(before: Mapping[str, Array], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fault of code that changes its inputs, none where they are as before."""
    found = [k for k, v in before.items() if not np.array_equal(v, now[k], equal_nan=True)]
    return [("mutated", f"its inputs were changed: {', '.join(found)}")] if found else []


@dataclass(frozen=True)
class Unwritten:
    """A loss, the output that it is of, and the way in which the target fits it."""

    part: str
    loss: CandidateLoss
    fit: int


def candidates(outputs: Mapping[str, Array], target: Array) -> Iterator[tuple[Unwritten, Array]]:
    """Yield the losses that outputs and a target may have, each with its slope by the output."""
    for part, output in outputs.items():
        for fit, fitting in enumerate(matching_targets(output, target)):
            for loss in LOSSES:
                slope = _slope(loss, output, fitting)
                if slope is not None:
                    yield Unwritten(part, loss, fit), slope


def _slope(loss: CandidateLoss, output: Array, target: Array) -> Array | None:
    with Session(), np.errstate(all="ignore"):
        lifted = lift(output)
        value = evaluate(loss, lifted, target)
        if value is None:
            return None
        slope = gradient([value], [1.0], [lifted])[0].midpoint
    return slope if np.isfinite(slope).all() else None


def settle(rows: Sequence[Row], output: Array) -> float:
    """Decide what all gradients may be multiplied with: a mean, a half, the rate of a step.

    Returns the factor, 1 where there is none; the rows are right where they carry it.
    """
    sizes = {1, output.size, *output.shape}
    allowed = [s * k / n for s in (1, -1) for k in (1.0, 2.0, 0.5) for n in sizes]
    # A truth of zeros is any multiple of itself: it has no voice.
    telling = [r for r in rows if r.truth.value.any()]
    factors = [r.factor for r in telling if r.factor is not None]
    counts = {a: sum(_near(f, a) for f in factors) for a in allowed}
    best = max(counts.values(), default=0)
    scale = next((a for a, n in counts.items() if n == best and n), 1.0)
    if len(factors) == len(telling) > 1 and all(_near(f, factors[0]) for f in factors):
        if all(r.claim[0] == "step" for r in rows) and factors[0] > 0:
            scale = factors[0]  # the rate is not known
    for row in telling:
        row.right = row.factor is not None and _near(row.factor, scale)
    return scale


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= EXPLAINED * abs(other)
