"""What is wrong with a reading as a whole: an array changed in place, another loss, shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reference.balls import Session
from reference.checks.assess import assess
from reference.checks.experiment import perform
from reference.checks.explain.finding import Named
from reference.checks.explain.problem import claim_text, close, text_of
from reference.checks.matching import matched, same_shape
from reference.checks.objective import Objective, candidates, is_elementwise
from reference.checks.outcome import Outcome, Reading


def changed_in_place(outcomes: Sequence[Outcome]) -> list[Named]:
    """Return which arguments are written into."""
    found = {}
    for name in dict.fromkeys(n for o in outcomes for n in o.mutated):
        count = sum(name in o.mutated for o in outcomes)
        found[name] = Named(
            "changed_in_place",
            f"{name} is changed in place: the backward writes into the array of its caller, "
            f"so what the forward kept of it is overwritten. Make a copy.",
            f"{name}[…] = …",
            f"{name} = {name}.copy()",
            (),
            count,
            len(outcomes),
            0.0,
        )
    return list(found.values())


def another_loss(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int]
) -> Named | None:
    """Return that the gradients are right for a loss that is not the one which is computed."""
    if objective.kind != "loss":
        return None
    counts: dict[Objective, int] = {}
    tried = list(indices[:4])
    for index in tried:
        with Session() as session:
            try:
                outcome = perform(reading, seed, index, session)
            except Exception:  # a problem on which the target fails says nothing
                continue
            for other in [o for o in candidates(outcome) if o.kind == "implicit"][:18]:
                judged = assess(other, outcome)
                if judged is not None and judged.all_right:
                    counts[other] = counts.get(other, 0) + 1
    best = max(counts, key=lambda o: counts[o], default=None)
    if best is None or counts[best] < min(3, len(tried)) or best.loss is None:
        return None
    name = text_of(objective.output)
    return Named(
        "loss_value",
        f"The gradients are right for the {best.loss.name}, {best.loss.formula}, of "
        f"{text_of(best.output)}; the loss "
        f"that is computed, {name}, is another function: its value is wrong (or it is meant to "
        "be another).",
        f"{name} ≠ {best.loss.formula}",
        f"{name} = {best.loss.formula}",
        (),
        counts[best],
        len(tried),
        0.0,
    )


def misshapen(objective: Objective, outcome: Outcome) -> list[tuple[str, str]]:
    """Return the claims that have another shape than what they are the gradient of."""
    judged = assess(objective, outcome)
    found = []
    for row in judged.rows if judged is not None else ():
        shape = row.truth.value.shape
        if row.right or row.jacobian or same_shape(row.got, row.truth.value):
            continue
        text = f"it has the shape {row.got.shape}, but {text_of(row.leaf)} has the shape {shape}"
        more = _summed(row.got, row.truth.value)
        found.append((claim_text(row.claim, row.leaf), text + more))
    return found


def _summed(got: np.ndarray[tuple[int, ...], np.dtype[np.float64]], truth: object) -> str:
    from reference.balls import values

    plain, right = np.asarray(values(got), dtype=float), np.asarray(truth, dtype=float)
    for axis in range(plain.ndim):
        for keep in (True, False):
            made = plain.sum(axis=axis, keepdims=keep)
            if made.shape == right.shape and close(made, right):
                return (
                    f": it was broadcast, so its gradient has to be summed over axis {axis} "
                    "(the rows it was added to)"
                )
    return ""


def a_vector_of_slopes(objective: Objective, outcome: Outcome) -> list[tuple[str, str]]:
    """Return the claims that give one slope for each entry where the derivative is a matrix."""
    if objective.kind not in ("sum", "mean"):
        return []
    value = outcome.outputs.get(objective.output)
    pairs, _, _ = matched(outcome.claims, outcome.inputs, outcome.values)
    found: list[tuple[str, str]] = []
    if value is None or len(pairs) != 1 or pairs[0][1][0] == "self":
        return found
    for claim, leaf in pairs:
        if np.shape(outcome.claims[claim]) != np.shape(value) or np.size(value) < 2:
            continue
        if np.shape(outcome.inputs[leaf]) == np.shape(value) and not is_elementwise(
            outcome, objective.output, leaf
        ):
            found.append(
                (
                    claim_text(claim, leaf),
                    f"every output depends on several entries of {text_of(leaf)}, so the "
                    "derivative is a matrix "
                    "(the Jacobian, n × n for each row), which has entries off the diagonal; a "
                    "vector of n slopes "
                    "cannot hold it",
                )
            )
    return found
