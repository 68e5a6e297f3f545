"""Chooses the readings, losses and problems that are searched, and finds what concerns all of them.

Such are: an argument that is changed in place, gradients of another loss, and wrong shapes.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reference.balls import Session
from reference.checks.comparing import Objective, Row, assess
from reference.checks.comparing.objective import candidates, is_elementwise
from reference.checks.explain.finding import Support, named
from reference.checks.explain.graph import Array, NumberGraph
from reference.checks.explain.hypothesis import Words
from reference.checks.explain.problem import ReadingProblem, claim_text, close, problem_of, text_of
from reference.checks.running import Reading, RunOutcome, matched, perform, same_shape
from reference.checks.tolerances import STABILISER
from reports.checked import NamedMistake


def changed_in_place(outcomes: Sequence[RunOutcome]) -> list[NamedMistake]:
    """Return which arguments are written into."""
    counts = Counter(n for o in outcomes for n in dict.fromkeys(o.mutated))
    return [
        named(
            Words(
                "changed_in_place",
                f"{name} is changed in place: the backward writes into the array of its caller, "
                "so what the forward kept of it is overwritten. Make a copy.",
                f"{name}[…] = …",
                f"{name} = {name}.copy()",
            ),
            (),
            Support(count, len(outcomes), 0.0),
        )
        for name, count in counts.items()
    ]


def another_loss(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int]
) -> NamedMistake | None:
    """Return that the gradients are right for a loss that is not the one which is computed."""
    if objective.kind != "loss":
        return None
    counts: Counter[Objective] = Counter()
    tried = list(indices[:4])
    for outcome in _runs(reading, seed, tried):
        guessed = (o for o in candidates(outcome) if o.kind == "implicit")
        for other in itertools.islice(guessed, 18):
            judged = assess(other, outcome)
            if judged is not None and judged.all_right:
                counts[other] += 1
    best = max(counts, key=lambda o: counts[o], default=None)
    if best is None:
        return None
    if (factor := _nearly(reading, objective, seed, tried)) is not None:
        return factor
    if counts[best] < min(3, len(tried)) or best.loss is None:
        return None
    name = text_of(objective.output)
    words = Words(
        "loss_value",
        f"The gradients are right for the {best.loss.name}, {best.loss.formula}, of "
        f"{text_of(best.output)}; the loss that is computed, {name}, is another function: its "
        f"value is wrong (or it should be another).{_of_logits(best.loss.name, reading)}",
        f"{name} ≠ {best.loss.formula}",
        f"{name} = {best.loss.formula}",
    )
    return named(words, (), Support(counts[best], len(tried), 0.0))


def _runs(reading: Reading, seed: int, indices: Sequence[int]) -> Iterator[RunOutcome]:
    """Yield the runs on the tape, their session alive; where the target fails, none."""
    for index in indices:
        with Session() as session, contextlib.suppress(Exception):
            yield perform(reading, seed, index, session)


def _nearly(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int]
) -> NamedMistake | None:
    """Return that the gradients are those of the loss but for a factor, and a tiny constant.

    log(y + 1e-7) keeps the factor from being exact.
    """
    fits: set[str] | None = None
    for outcome in _runs(reading, seed, indices):
        try:
            judged = assess(objective, outcome)
        except Exception:  # a problem without a value says nothing
            continue
        rows = judged.rows if judged is not None else []
        known = _factors(outcome.sizes)
        near = {k for k, c in known.items() if rows and all(_is_nearly(r, c) for r in rows)}
        fits = near if fits is None else fits & near
    text = min(fits or (), key=len, default=None)
    if text is None:
        return None
    loss, (above, _, below) = text_of(objective.output), text.partition("/")
    if below and above != "1":
        how = f"the loss is divided by {above}, the gradients by {below}."
    else:
        upside = f"1/({text})" if "·" in text else below or f"1/{text}"
        how = f"the factor {upside} is left out."
    words = Words(
        "constant_factor",
        f"The gradients are {text} times those of the loss that is computed, {loss}: {how}",
        f"{text} · right",
        "right",
    )
    return named(words, (), Support(len(indices), len(indices), 0.0))


def _factors(sizes: Mapping[str, int]) -> dict[str, float]:
    """Return what a loss is often divided by or multiplied with: N, 1/N, N·D, N/D, 2."""
    letters = [k for k in ("N", "D", "C", "H", "T") if k in sizes]
    found = {"2": 2.0, "½": 0.5, **{k: float(sizes[k]) for k in letters}}
    found |= {f"N·{k}": float(sizes["N"] * sizes[k]) for k in letters if k != "N"}
    found |= {f"1/{k}": 1 / v for k, v in found.items() if k not in ("2", "½")}
    other = [k for k in letters if k != "N"]
    found |= {f"N/{k}": sizes["N"] / sizes[k] for k in other}
    return found | {f"{k}/N": sizes[k] / sizes["N"] for k in other}


def _is_nearly(row: Row, factor: float) -> bool:
    right = factor * row.truth.value
    if row.got.shape != right.shape or not right.any():
        return False
    return bool(np.allclose(row.got, right, rtol=STABILISER, atol=STABILISER * np.abs(right).max()))


def _of_logits(name: str, reading: Reading) -> str:
    """Return what a − y is beside a loss with a logarithm: its gradient before the sigmoid."""
    text = (reading.forward or reading.unit.backward).text()
    if "squared error" not in name or "log(" not in text:
        return ""
    return (
        " The difference a − y is the gradient of a cross-entropy with respect to the logits: it "
        "includes the slope of the sigmoid or softmax, which the loss of probabilities has not."
    )


def misshapen(objective: Objective, outcome: RunOutcome) -> list[tuple[str, str]]:
    """Return the claims that have another shape than what they are the gradient of."""
    judged = assess(objective, outcome)
    found: list[tuple[str, str]] = []
    if judged is None:
        return found
    for row in judged.rows:
        shape = row.truth.value.shape
        if row.right or row.jacobian or same_shape(row.got, row.truth.value):
            continue
        text = f"it has the shape {row.got.shape}, but {text_of(row.leaf)} has the shape {shape}"
        text += _summed(row.got, judged.scale * row.truth.value)
        found.append((claim_text(row.claim, row.leaf), text))
    return found


def _summed(plain: Array, right: Array) -> str:
    if plain.ndim == 0 and right.size > 1 and close(plain, right.sum()):
        return (
            ": it is summed over all axes; each entry has its own gradient, the sum over the axis "
            "of the samples alone"
        )
    for axis in range(plain.ndim):
        for keep in (True, False):
            made = plain.sum(axis=axis, keepdims=keep)
            if made.shape == right.shape and close(made, right):
                return (
                    f": it was broadcast, so its gradient has to be summed over axis {axis} "
                    "(the rows it was added to)"
                )
    return ""


def a_vector_of_slopes(objective: Objective, outcome: RunOutcome) -> list[tuple[str, str]]:
    """Return the claims that give one slope for each entry where the derivative is a matrix."""
    if objective.kind not in ("sum", "mean"):
        return []
    value = outcome.outputs.get(objective.output)
    pairs, _, _ = matched(outcome.claims, outcome.inputs, outcome.values)
    if value is None or len(pairs) != 1 or pairs[0][1][0] == "self":
        return []
    ((claim, leaf),) = pairs
    shape = np.shape(value)
    if not np.shape(outcome.claims[claim]) == np.shape(outcome.inputs[leaf]) == shape:
        return []
    if np.size(value) < 2 or is_elementwise(outcome, objective.output, leaf):
        return []
    text = (
        f"every output depends on several entries of {text_of(leaf)}, so the derivative is a "
        "matrix (the Jacobian, n × n for each row), which has entries off the diagonal; a vector "
        "of n slopes cannot hold it"
    )
    return [(claim_text(claim, leaf), text)]


PROBLEMS = 6


@dataclass
class WholeReading:
    """What concerns a reading as a whole, found while its problems were made."""

    mutated: list[RunOutcome] = field(default_factory=list)
    described: dict[str, str] = field(default_factory=dict)
    misshapen: dict[str, str] = field(default_factory=dict)


def objectives_of(
    reading: Reading, objective: Objective, seed: int, indices: Sequence[int]
) -> Iterator[tuple[Reading, Objective]]:
    """Yield the reading and the objective, and the other ones that they may be.

    A slope may be meant of the input where it was given the output, a loss that nobody wrote
    may be another one, and a mean a sum.
    """
    if objective.kind in ("sum", "mean"):
        for one in _other_bindings(reading):
            yield one, replace(objective, kind="sum")
            yield one, replace(objective, kind="mean")
    else:
        yield reading, objective
    if objective.kind not in ("implicit", "sum", "mean") or not indices:
        return
    yield from ((reading, o) for o in _other_losses(reading, objective, seed, indices[0])[:12])


def _other_losses(reading: Reading, objective: Objective, seed: int, index: int) -> list[Objective]:
    """Return the other losses that it may be: of the target known, of the last value first."""
    with Session() as session:
        try:
            outcome = perform(reading, seed, index, session)
            kinds = ("implicit", "loss")
            found = [o for o in candidates(outcome) if o.kind in kinds and o != objective]
        except Exception:  # a problem on which the target fails proposes nothing
            return []
    depths = {o.output: _depth(outcome, o) for o in found}
    found.sort(key=lambda o: (o.kind != "loss", o.target != objective.target, -depths[o.output]))
    return found


def _depth(outcome: RunOutcome, objective: Objective) -> int:
    """Return how late in the forward an output is made."""
    value = outcome.values.get(objective.output, outcome.outputs.get(objective.output))
    flat = value.flat if isinstance(value, np.ndarray) else [value]
    return max((getattr(x, "order", 0) for x in flat), default=0)


def _other_bindings(reading: Reading) -> list[Reading]:
    known = reading.forward.arguments if reading.forward is not None else []
    outputs = [name for name, source in reading.binding if source == "output:" and name in known]
    return [reading, *(reading.bound(**{name: f"input:{name}"}) for name in outputs)]


def problems_of(
    reading: Reading,
    objective: Objective,
    seed: int,
    indices: Sequence[int],
    end: int,
    whole: WholeReading,
) -> list[ReadingProblem]:
    """Return the problems on which something is wrong, the one with the most entries first.

    end: the work after which one is enough.
    """
    found: list[ReadingProblem] = []
    for index in indices[: 2 * PROBLEMS]:
        if len(found) >= PROBLEMS or (found and NumberGraph.work > end):
            break
        with Session() as session:
            try:
                outcome = perform(reading, seed, index, session)
                one = problem_of(outcome, objective)
                if not found:
                    if one is not None and one.wrong:
                        whole.described |= dict(a_vector_of_slopes(objective, outcome))
                    whole.misshapen |= dict(misshapen(objective, outcome))
            except Exception:  # a problem on which the target fails explains nothing
                continue
        if objective.kind != "implicit" and len(whole.mutated) < PROBLEMS:
            whole.mutated.append(outcome)
        if one is not None and one.wrong:
            found.append(one)
    # the first one is searched: the more entries are wrong, the fewer chances
    found.sort(key=lambda p: -sum(min(c.got.size, 12) for c in p.wrong))
    return found
