"""What right gradients may hold besides: the factor of a loss that is not written, a penalty, 1/N.

A loss that is not in the code may be a mean or a sum, and may have a penalty on the weights.
"""

import numpy as np

from reference.balls import values
from reference.checks.code import Path, claim_name
from reference.checks.code.vocabulary import BIASES, REGULARISATION, WEIGHTS
from reference.checks.comparing.assessment import Array, Assessment, Row
from reference.checks.comparing.objective import Objective
from reference.checks.running import RunOutcome
from reference.checks.tolerances import DIGITS, EXPLAINED


def nice_factors(outcome: RunOutcome) -> dict[str, float]:
    """Return the factors that a loss may carry without being another one, by their spelling."""
    counts = {k: outcome.sizes[k] for k in ("N", "C", "D", "T", "H") if k in outcome.sizes}
    parts = {"1": 1.0} | {f"1/{k}": 1.0 / n for k, n in counts.items()}
    parts |= {f"1/(N·{k})": 1.0 / (outcome.sizes["N"] * n) for k, n in counts.items() if k != "N"}
    found: dict[str, float] = {}
    for text, value in parts.items():
        for times, by in (("", 1.0), ("2·", 2.0), ("½·", 0.5)):
            found[(times + text).replace("·1/", "/") if times else text] = value * by
    if outcome.rate is not None:
        rates = {f"rate·{k}": v * outcome.rate for k, v in found.items()}
        found = rates | found
    return found | {f"−{k}": -v for k, v in found.items()}


def settle(result: Assessment, objective: Objective, outcome: RunOutcome) -> None:
    """Decide which common factor is right: 1, or a free one for a loss that is not written."""
    rows = result.rows
    if not rows:
        return
    if objective.kind == "implicit":
        nice = nice_factors(outcome)
        nice = {k: v for k, v in nice.items() if v > 0 or not _sign_is_known(rows, outcome)}
        allowed = sorted(set(nice.values()), key=lambda f: (f < 0, abs(f - 1)))
        result.scale = _common(rows, allowed)
        known = any(r.telling for r in rows)
        result.spellings = tuple(k for k, v in nice.items() if _near(v, result.scale) or not known)
        for row in [*rows, *result.middle]:
            row.right = row.fits(result.scale)
        if not result.all_right:
            _with_decay(result, outcome, nice)
        _data_rows(result, outcome)
        return
    if any(c[0] == "step" for c in (r.claim for r in rows)) and outcome.rate is None:
        _free_step(rows)
    _mean_in_the_layer(result, outcome)
    if objective.kind == "cotangents" and not result.all_right:
        _penalty_in_the_layer(result, outcome)


def _sign_is_known(rows: list[Row], outcome: RunOutcome) -> bool:
    """Whether the negative of a gradient is wrong.

    It is, of a step that was taken, and beside a loss of the same file, unless that file adds its
    steps (y − a, then W += rate · …).
    """
    if any(r.claim[0] == "step" for r in rows):
        return True
    return not outcome.adds_steps and any(p[-1].endswith("()") for p in outcome.values)


def _data_rows(result: Assessment, outcome: RunOutcome) -> None:
    """Beside right gradients of the weights dA0 may lack the 1/N, by its author's convention."""
    weights = [r for r in result.rows if _is_parameter(r.leaf)]
    if not weights or not all(r.right for r in weights):
        return
    for row in result.rows:
        n = outcome.sizes.get("N", 1)
        if not row.right and row.fits(result.scale * n):
            row.right = True
            result.remarks.append(
                f"{claim_name(row.claim, row.leaf)} lacks the 1/N that the weights' gradients have"
            )


def _with_decay(result: Assessment, outcome: RunOutcome, nice: dict[str, float]) -> None:
    """Accept got = c · truth + κ · W, one c for all weights, of a penalty that is not in the code.

    The c with which most is right is taken; κ is a strength, times a factor that a loss may have.
    """
    allowed = {k: v for k, v in nice.items() if not k.startswith("−")}
    decays = [0.0, *(f * s for f in allowed.values() for s in _strengths(outcome))]
    found = {c: [_decay(r, outcome, c, decays) for r in result.rows] for c in allowed.values()}
    scale = max(found, key=lambda c: sum(k is not None for k in found[c]))
    if not any(found[scale]):
        return  # it holds no penalty
    for row, kappa in zip(result.rows, found[scale], strict=True):
        row.right = kappa is not None
    result.scale = scale
    result.spellings = tuple(k for k, v in nice.items() if _near(v, scale))
    result.remarks.append("its gradients of the weights hold a penalty on their squares, too")


def _decay(row: Row, outcome: RunOutcome, scale: float, decays: list[float]) -> float | None:
    """Return the κ with got = scale · truth + κ · W, None where there is none."""
    weight = np.asarray(values(outcome.inputs[row.leaf]), dtype=float)
    if row.got.shape != weight.shape or row.got.shape != row.truth.value.shape:
        return None
    rest = row.got - scale * row.truth.value
    unit = max(float(np.max(np.abs(v), initial=0.0)) for v in (row.got, scale * row.truth.scale))
    for held in (weight * mask for mask in _masks(weight)):
        norm = float(np.sum(held * held))
        kappa = float(np.sum(rest * held)) / norm if norm else 0.0
        kappa = min(decays, key=lambda d: abs(d - kappa))
        if np.max(np.abs(rest - kappa * held), initial=0.0) <= DIGITS * unit:
            return kappa
    return None


def _strengths(outcome: RunOutcome) -> list[float]:
    """Return the numbers, not zero, that a penalty on the weights may be weighed with."""
    drawn = {**outcome.kept, **outcome.others}  # an object may have its strength by default
    given = {p[-1]: v for p, v in drawn.items() if isinstance(v, int | float | np.number)}
    every = (given | outcome.numbers).items()
    return [float(v) for n, v in every if n.lower() in REGULARISATION and v]


def _penalty_in_the_layer(result: Assessment, outcome: RunOutcome) -> None:
    """Accept got = truth + κ₂ W + κ₁ sign W where κ are strengths that the layer is made with.

    The penalty λ₂ Σ W² + λ₁ Σ |W| is part of the loss, so that a layer's forward does not show it.
    """
    strengths = _strengths(outcome)
    allowed = {f * s for s in strengths for f in (0.5, 1.0, 2.0)} | {0.0}
    penalised = []
    for row in result.rows:
        weight = np.asarray(values(outcome.inputs[row.leaf]), dtype=float)
        if row.right or not _is_parameter(row.leaf) or row.got.shape != weight.shape:
            continue
        kappa = _fitted(row.got - row.truth.value, row.got, weight, np.sign(weight))
        if kappa and all(any(abs(k - a) <= EXPLAINED for a in allowed) for k in kappa):
            penalised.append(row)
    others = [r for r in result.rows if not r.right and not any(r is p for p in penalised)]
    if strengths and penalised and not others:
        for row in penalised:
            row.right = True
        result.remarks.append(
            "its gradients of the weights hold a penalty that its forward does not show: they are "
            "right where the loss has that penalty"
        )


def _fitted(array: Array, of: Array, one: Array, other: Array) -> tuple[float, float] | None:
    """Return (a, b) with array = a · one + b · other, to the digits of `of`; None for none."""
    columns = np.stack([one.ravel(), other.ravel()], axis=1)
    found, *_ = np.linalg.lstsq(columns, array.ravel(), rcond=None)
    off = float(np.max(np.abs(columns @ found - array.ravel()), initial=0.0))
    size = max(1.0, float(np.max(np.abs(of), initial=0.0)))
    return (float(found[0]), float(found[1])) if off <= DIGITS * size else None


def _masks(weight: Array) -> list[Array]:
    """Return which entries a penalty may hold: all, or all but a bias column or row."""
    masks = [np.ones_like(weight)]
    if weight.ndim == 2:
        for axis, at in ((1, 0), (1, -1), (0, 0), (0, -1)):
            mask = np.ones_like(weight)
            mask[(slice(None), at) if axis == 1 else (at, slice(None))] = 0
            masks.append(mask)
    return masks


def _common(rows: list[Row], allowed: list[float]) -> float:
    telling = [r for r in rows if r.telling]
    counts = {f: sum(r.factor is not None and _near(r.factor, f) for r in telling) for f in allowed}
    best = max(counts.values(), default=0)
    return next((f for f, n in counts.items() if n == best and n), 1.0)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= DIGITS * abs(other)


def _free_step(rows: list[Row]) -> None:
    """The rate of a step is not known: all steps may carry one factor."""
    steps = [r for r in rows if r.claim[0] == "step" and r.factor is not None]
    first = next((r.factor for r in steps if r.telling), 0.0) or 0.0
    if first > 0 and all(r.fits(first) for r in steps):
        for row in steps:
            row.right = True


def _mean_in_the_layer(result: Assessment, outcome: RunOutcome) -> None:
    """Accept 1/N in dW and db alike: the cotangent is of single losses (a way of writing)."""
    if result.objective.kind != "cotangents":
        return
    weights = [r for r in result.rows if _is_parameter(r.leaf)]
    data = [r for r in result.rows if r not in weights]
    if len(weights) < 2 or any(not r.right for r in data):
        return
    first = next((r.factor for r in weights if r.telling), None)
    if first is None or not all(r.fits(first) for r in weights):
        return
    shapes = [np.shape(v) for v, _ in outcome.cotangents]
    samples = {shape[axis] for shape in shapes for axis in (0, -1) if shape}
    if any(_near(first, 1.0 / n) for n in samples if n > 1):
        for row in weights:
            row.right = True
        result.remarks.append(
            "its gradients of the weights hold 1/N: the mean is taken in the layer, so the "
            "incoming gradient has to be that of single losses"
        )


def _is_parameter(path: Path) -> bool:
    name = next((p for p in reversed(path) if not p.isdigit()), path[-1])
    return path[0] == "self" or bool(WEIGHTS.match(name) or BIASES.match(name))
