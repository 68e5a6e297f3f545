"""Compares what a backward claims with the certified gradient, entry by entry.

The claims were computed twice: with the author's floats, and (where the code runs on them) with
numbers of 60 digits. A formula is right when the second agrees. The effect of rounding on the
first is a separate remark, so that no tolerance hides a wrong formula or rejects a right one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.balls import is_tracked, values
from reference.checks.matching import is_inner, matched, same_shape
from reference.checks.objective import Objective, Truth, is_elementwise, jacobian, truths
from reference.checks.outcome import RunOutcome
from reference.checks.routine import Path
from reference.checks.tolerances import DIGITS, EXPLAINED, SUMMED
from reference.checks.vocabulary import (
    BIASES,
    RATES,
    REGULARISATION,
    WEIGHTS,
    is_gradient_name,
    is_target,
)

Array = npt.NDArray[np.float64]


@dataclass
class Row:
    """One claim compared with the truth."""

    claim: Path
    leaf: Path
    got: Array
    truth: Truth
    factor: float | None
    """The c with claim = c · truth; None where there is none."""
    right: bool
    same: float
    jacobian: bool = False

    def off(self, scale: float = 1.0) -> Array:
        """Return how far each entry is off, of the shape of the truth; inf where not finite."""
        with np.errstate(invalid="ignore"):
            off = np.abs(self.got - scale * self.truth.value)
        return np.where(np.isfinite(off), off, np.inf)

    def distance(self, scale: float = 1.0) -> float:
        """Return how far it is off, as a share of the largest entry of the truth."""
        if self.got.shape != self.truth.value.shape:
            return float("inf")
        size = float(np.max(np.abs(scale * self.truth.value), initial=0.0)) or 1.0
        return float(np.max(self.off(scale), initial=0.0)) / size


@dataclass
class Assessment:
    """All claims of one problem under one objective."""

    objective: Objective
    rows: list[Row]
    middle: list[Row] = field(default_factory=list)
    unmatched: list[Path] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    """Inputs of which no gradient came back."""
    dead: list[Path] = field(default_factory=list)
    """Inputs without a claim that do not change the objective."""
    scale: float = 1.0
    """The factor of all claims: a loss that is not in the code may be a mean or a sum."""
    spellings: tuple[str, ...] = ("1",)
    """The ways to write that factor: 1/N, 2/(N·C) …"""
    remarks: list[str] = field(default_factory=list)
    notes: dict[Path, str] = field(default_factory=dict)
    """What is known about a wrong claim, in words."""

    @property
    def all_right(self) -> bool:
        """Whether every claim is right, and there is one."""
        return bool(self.rows) and all(r.right for r in self.rows)

    @property
    def unplaced(self) -> list[Path]:
        """Gradients that were returned, of an unknown input."""
        return [
            p
            for p in self.unmatched
            if p[0] != "self"
            and p != self.objective.output
            and (p[-1] == "" or p[-1].isdigit() or is_gradient_name(p[-1]))
            and not is_inner(p)
        ]

    @property
    def influence(self) -> bool:
        """Whether every input with a claim changes the objective: softmax of one class does not."""
        moved = all(bool(np.any(np.abs(r.truth.value) > r.truth.radius)) for r in self.rows)
        return moved and not self.dead

    @property
    def rank(self) -> tuple[float, float, float, float]:
        """How well it fits: more claims right, its own loss before a guessed one."""
        right = sum(r.right for r in self.rows)
        inner = sum(r.right for r in self.middle) / (len(self.middle) or 1)
        total = len(self.rows) or 1
        near = sum(_cosine(r) for r in self.rows) / total
        return (
            right / total - (0 if self.rows else 1),
            len(self.rows) - len(self.unplaced),
            inner + near,
            float(self.objective.written) - 0.1 * bool(self.remarks),
        )


def _cosine(row: Row) -> float:
    """Return how well the direction of a claim agrees with the truth, at any length."""
    a, b = row.got.ravel(), row.truth.value.ravel()
    if a.shape != b.shape or not np.isfinite(a).all():
        return 0.0
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(float(a @ b)) / norms if norms else float(not a.any() and not b.any())


Finder = Callable[[Objective, RunOutcome, Mapping[Path, Any]], dict[Path, Truth] | None]


def assess(objective: Objective, outcome: RunOutcome, find: Finder = truths) -> Assessment | None:
    """Compare an outcome's claims with the truth under an objective; None where it has no value.

    find: gives the truth of tensors by path: the tape, or differences.
    """
    pairs, middle, left = matched(outcome.claims, outcome.inputs, outcome.values, outcome.others)
    wanted = {leaf: outcome.inputs[leaf] for _, leaf in pairs}
    inner = {p: v for _, p in middle if is_tracked(v := outcome.values[p])}
    rest = {p: v for p, v in outcome.inputs.items() if p not in wanted}
    unclaimed = {p: v for p, v in rest.items() if np.size(v) > 1 and is_tracked(v)}
    found = find(objective, outcome, {**unclaimed, **wanted, **inner})
    if found is None:
        return None
    rows = [_row(c, p, outcome, found[p], objective) for c, p in pairs]
    inner_rows = [_row(c, p, outcome, found[p], objective) for c, p in middle if p in found]
    missing = [p for p in rest if not is_target(p[-1]) and p[-1].lower() not in RATES]
    result = Assessment(objective, rows, inner_rows, left, missing)
    result.remarks += _another_order(pairs, outcome)
    result.dead = [p for p in unclaimed if not np.any(np.abs(found[p].value) > found[p].radius)]
    _settle(result, objective, outcome)
    return result


def _another_order(pairs: list[tuple[Path, Path]], outcome: RunOutcome) -> list[str]:
    """Return a remark where a tuple of gradients does not follow the order of the arguments.

    Shapes or names show which is which; a caller who unpacks them by position has to know.
    """
    if not isinstance(outcome.returned, tuple | list) or not outcome.paired:
        return []
    by_claim = {claim: leaf for claim, leaf in pairs if len(claim) == len(leaf) == 1}
    returned = [by_claim[c][0] for c in outcome.claims if c in by_claim]
    taken = [p[0] for p in outcome.inputs if p[0] in returned]
    fits = all(same_shape(outcome.claims[c], outcome.inputs[leaf]) == 1.0 for c, leaf in pairs)
    if len(returned) < len(pairs) or returned == taken or not fits:
        return []
    return [
        f"the gradients come back in the order {', '.join(returned)}; its forward takes "
        f"{', '.join(taken)}"
    ]


def _row(claim: Path, leaf: Path, outcome: RunOutcome, truth: Truth, objective: Objective) -> Row:
    got = np.asarray(values(outcome.claims[claim]), dtype=float)
    same = same_shape(got, truth.value)
    if same == 0 or (got.ndim == 2 and got.shape[0] == got.shape[1] and objective.kind == "sum"):
        turned = _as_jacobian(got, leaf, outcome, objective) or _as_one_row(got, truth, objective)
        if turned is not None:
            factor = factor_of(got, turned)
            return Row(claim, leaf, got, turned, factor, factor == 1.0, 1.0, jacobian=True)
    if same == 0:
        return Row(claim, leaf, got, truth, None, False, same)
    if same < 1:
        got = got.reshape(truth.value.shape)
    factor = factor_of(got, truth)
    if objective.kind == "sum" and not _elementwise(objective, outcome, leaf):
        factor = None
    return Row(claim, leaf, got, truth, factor, factor == 1.0, same)


def _elementwise(objective: Objective, outcome: RunOutcome, leaf: Path) -> bool:
    value: Any = outcome.outputs.get(objective.output)
    if np.size(value) <= 1 or np.shape(value) != np.shape(outcome.inputs[leaf]):
        return True
    return is_elementwise(outcome, objective.output, leaf)


def _as_jacobian(got: Array, leaf: Path, outcome: RunOutcome, objective: Objective) -> Truth | None:
    """Return the Jacobian that a claim of this shape would be: (n, n), or (N, n, n) by samples."""
    if objective.kind not in ("sum", "loss"):
        return None
    x = outcome.inputs[leaf]
    y: Any = outcome.outputs.get(objective.output, outcome.values.get(objective.output))
    if not isinstance(x, np.ndarray) or y is None or x.size > 40:
        return None
    full = jacobian(y, x)
    flat = Truth(*(np.asarray(v).reshape(np.size(y), x.size) for v in full))
    if got.shape == (np.size(y), x.size):
        return flat
    if got.shape == (*np.shape(y), *x.shape):
        return full
    shape = np.shape(y)
    if x.ndim == 2 and shape[:1] == x.shape[:1] and got.shape == (*shape, x.shape[1]):
        rows = range(x.shape[0])
        return Truth(*(np.stack([np.asarray(v)[i, :, i, :] for i in rows]) for v in full))
    return None


def _as_one_row(got: Array, truth: Truth, objective: Objective) -> Truth | None:
    """Return the gradient of a loss by a matrix as the Jacobian that it is: one row."""
    if objective.kind not in ("loss", "implicit") or got.shape != (1, truth.value.size):
        return None
    return Truth(*(np.asarray(v).reshape(1, -1) for v in truth))


def close(got: Array, truth: Truth, factor: float = 1.0, digits: float = DIGITS) -> Array:
    """Return where a claim is factor · truth, to `digits` of the natural unit of its rounding."""
    unit = truth.scale + SUMMED * float(np.max(truth.scale, initial=0.0))
    with np.errstate(invalid="ignore"):
        inside = np.abs(got - factor * truth.value) <= digits * abs(factor) * unit + truth.radius
    return np.asarray(inside & np.isfinite(got))


def factor_of(got: Array, truth: Truth, digits: float = DIGITS) -> float | None:
    """Return the c with got = c · truth in every entry, to some digits; 1 wherever that is so."""
    if close(got, truth, 1.0, digits).all():
        return 1.0
    if got.size < 2 and not np.shape(truth.value):
        value = float(truth.value)
        return float(got) / value if value and np.isfinite(float(got)) else None
    with np.errstate(over="ignore"):
        norm = float(np.sum(truth.value * truth.value))
    if not norm or not np.isfinite(norm) or not np.isfinite(got).all():
        return None
    c = float(np.sum(got * truth.value)) / norm
    return c if c and close(got, truth, c, digits).all() else None


# -- a loss that is not in the code may be a mean or a sum ----------------------------------------


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


def _settle(result: Assessment, objective: Objective, outcome: RunOutcome) -> None:
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
                f"{'.'.join(row.claim)} lacks the 1/N that the weights' gradients have"
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
        _bias_penalty(result, outcome, nice)
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


def _bias_penalty(result: Assessment, outcome: RunOutcome, nice: dict[str, float]) -> None:
    """Describe what a penalty does to the column of the biases, where the rest is right."""
    for row in result.rows:
        if row.got.ndim != 2 or row.got.shape != row.truth.value.shape:
            continue
        weight = np.asarray(values(outcome.inputs[row.leaf]), dtype=float)
        for mask, where in zip(
            _masks(weight)[1:],
            ("first column", "last column", "first row", "last row"),
            strict=True,
        ):
            inside, outside = mask.astype(bool), ~mask.astype(bool)
            found = _fitted(row.got[inside], row.got, row.truth.value[inside], weight[inside])
            if found is None or not any(_near8(found[0], v) for v in nice.values()):
                continue
            rest = row.got[outside] - found[0] * row.truth.value[outside]
            if np.ptp(rest) <= DIGITS and abs(rest[0]) > DIGITS:
                result.notes[row.claim] = (
                    f"all but its {where} is right; there, where the biases stand, a constant "
                    f"{rest[0]:.4g} is added: the regularisation puts ones for the bias where "
                    "zeros belong"
                )
            elif np.allclose(rest, found[1] * weight[outside], atol=DIGITS):
                result.notes[row.claim] = f"its {where}, the biases, is regularised as well"
            break


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
