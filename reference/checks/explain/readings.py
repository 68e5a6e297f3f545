"""What is searched: the reading and the objective, the others that they may be, their problems."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reference.balls import Session
from reference.checks.experiment import perform
from reference.checks.explain import general
from reference.checks.explain.problem import ReadingProblem, problem_of
from reference.checks.objective import Objective, candidates
from reference.checks.outcome import Reading, RunOutcome

PROBLEMS = 6


@dataclass
class Met:
    """What was met on the way that concerns the reading as a whole."""

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
    deadline: float,
    met: Met,
) -> list[ReadingProblem]:
    """Return the problems on which something is wrong, the one with the most entries first."""
    found: list[ReadingProblem] = []
    for index in indices[: 2 * PROBLEMS]:
        if len(found) >= PROBLEMS or (found and time.process_time() > deadline - 0.5):
            break
        with Session() as session:
            try:
                outcome = perform(reading, seed, index, session)
                one = problem_of(outcome, objective)
                if not found:
                    if one is not None and one.wrong:
                        met.described |= dict(general.a_vector_of_slopes(objective, outcome))
                    met.misshapen |= dict(general.misshapen(objective, outcome))
            except Exception:  # a problem on which the target fails explains nothing
                continue
        if objective.kind != "implicit" and len(met.mutated) < PROBLEMS:
            met.mutated.append(outcome)
        if one is not None and one.wrong:
            found.append(one)
    # the first one is searched: the more entries are wrong, the fewer chances
    found.sort(key=lambda p: -sum(min(c.got.size, 12) for c in p.wrong))
    return found
