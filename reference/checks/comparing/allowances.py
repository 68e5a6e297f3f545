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
        result.spellings = tuple(k for k, v in nice.items() if _near(v, result.scale))
        for row in [*rows, *result.middle]:
            row.right = row.factor is not None and _near(row.factor, result.scale)
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
        if not row.right and row.factor is not None and _near(row.factor, result.scale * n):
            row.right = True
            result.remarks.append(
                f"{claim_name(row.claim, row.leaf)} lacks the 1/N that the weights' gradients have"
            )


def _with_decay(result: Assessment, outcome: RunOutcome, nice: dict[str, float]) -> None:
    """Fit a penalty that is not in the code: got = c · truth + κ · W, one κ for all weights."""
    strengths = _strengths(outcome)
    if not strengths:
        return
    fitted: list[tuple[Row, float, float]] = []
    for row in result.rows:
        if row.got.shape != row.truth.value.shape or row.got.size < 3:
            continue
        weight = np.asarray(values(outcome.inputs[row.leaf]), dtype=float)
        fits = (_fitted(row.got, row.got, row.truth.value, weight * m) for m in _masks(weight))
        if found := next((f for f in fits if f is not None), None):
            fitted.append((row, *found))
    allowed = {k: v for k, v in nice.items() if not k.startswith("−")}
    scales = [v for v in allowed.values() if any(_near8(c, v) for _, c, _ in fitted)]
    if not fitted or not scales:
        return
    decays = {f * s for f in allowed.values() for s in strengths} | {0.0}
    for row, c, kappa in fitted:
        row.right = _near8(c, scales[0]) and any(_near8(kappa, d) for d in decays)
    for row in result.rows:
        if not any(row is r for r, _, _ in fitted):
            row.right = row.factor is not None and _near8(row.factor, scales[0])
    result.scale = scales[0]
    result.spellings = tuple(k for k, v in nice.items() if _near8(v, result.scale))
    if any(k for _, _, k in fitted):
        result.remarks.append("its gradients of the weights hold a penalty on their squares, too")


def _strengths(outcome: RunOutcome) -> list[float]:
    """Return the numbers, not zero, that a penalty on the weights may be weighed with."""
    given = {p[-1]: v for p, v in outcome.others.items() if np.ndim(v) == 0} | outcome.numbers
    return [float(v) for n, v in given.items() if n.lower() in REGULARISATION and v]


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


def _near8(one: float, other: float) -> bool:
    return abs(one - other) <= EXPLAINED * max(abs(other), 1e-3)


def _common(rows: list[Row], allowed: list[float]) -> float:
    telling = [r for r in rows if np.any(r.truth.value)] or rows  # a zero fits every factor
    counts = {f: sum(r.factor is not None and _near(r.factor, f) for r in telling) for f in allowed}
    best = max(counts.values(), default=0)
    return next((f for f, n in counts.items() if n == best and n), 1.0)


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= DIGITS * abs(other)


def _free_step(rows: list[Row]) -> None:
    """The rate of a step is not known: all steps may carry one factor."""
    steps = [r for r in rows if r.claim[0] == "step" and r.factor is not None]
    first = steps[0].factor or 0.0 if steps else 0.0
    if len(steps) > 1 and first > 0 and all(_near(r.factor or 0, first) for r in steps):
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
    factors = {r.factor for r in weights}
    first = weights[0].factor
    if first is None or any(f is None or not _near(f, first) for f in factors):
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
