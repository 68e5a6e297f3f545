"""Compares what a backward claims with the certified gradient, entry by entry.

The claims were computed twice: with the author's floats, and (where the code runs on them) with
numbers of 60 digits. A formula is right when the second agrees. The effect of rounding on the
first is a separate remark, so that no tolerance hides a wrong formula or rejects a right one.
"""

from collections.abc import Callable, Mapping

import numpy as np

from reference.balls import is_tracked, values
from reference.checks.code import Path, is_target
from reference.checks.code.vocabulary import RATES
from reference.checks.comparing.allowances import settle
from reference.checks.comparing.assessment import Array, Assessment, Row, factor_of, row
from reference.checks.comparing.objective import Objective, Truth, is_elementwise, jacobian, truths
from reference.checks.running import RunOutcome, matched, same_shape

Finder = Callable[[Objective, RunOutcome, Mapping[Path, object]], dict[Path, Truth] | None]


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
    _named_by_another(result, outcome, found)
    result.dead = [p for p in unclaimed if not np.any(np.abs(found[p].value) > found[p].radius)]
    settle(result, objective, outcome)
    return result


def _named_by_another(result: Assessment, outcome: RunOutcome, found: dict[Path, Truth]) -> None:
    """Take a gradient that is not that of the forward's value of its name for that of an input.

    dprev of the first step is the gradient of h0, where prev is every step's state. The numbers
    decide: it has to be a multiple of the truth.
    """
    for one in [r for r in result.middle if r.factor is None]:
        for leaf in [p for p in result.missing if p in found]:
            if np.shape(outcome.inputs[leaf]) != one.got.shape:
                continue
            other = _row(one.claim, leaf, outcome, found[leaf], result.objective)
            if other.factor is not None:
                result.middle.remove(one)
                result.rows.append(other)
                result.missing.remove(leaf)
                result.remarks.append(f"{one.claim[-1]} was taken for the gradient of {leaf[-1]}")
                break


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
    found = row(claim, leaf, got, truth)
    if same and objective.kind == "sum" and not _elementwise(objective, outcome, leaf):
        found.factor, found.right = None, False
    return found


def _elementwise(objective: Objective, outcome: RunOutcome, leaf: Path) -> bool:
    value = outcome.outputs.get(objective.output)
    if value is None or np.size(value) <= 1 or np.shape(value) != np.shape(outcome.inputs[leaf]):
        return True
    return is_elementwise(outcome, objective.output, leaf)


def _as_jacobian(got: Array, leaf: Path, outcome: RunOutcome, objective: Objective) -> Truth | None:
    """Return the Jacobian that a claim of this shape would be: (n, n), or (N, n, n) by samples."""
    if objective.kind not in ("sum", "loss"):
        return None
    x = outcome.inputs[leaf]
    y = outcome.outputs.get(objective.output, outcome.values.get(objective.output))
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
