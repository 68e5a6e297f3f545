"""Validates the diagnosis: it must find mistakes injected into drawn networks, one or two at once.

`diagnosis_rows` gives the table for the judge's validation report.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from manual_backprop.network import Problem, backward, forward
from reference.diagnose import Diagnosis, diagnose, locate
from reference.diagnosis.closeness import same_to_rounding
from reference.diagnosis.mistakes import CATALOGUE, FaultSite, Mistake, backward_with, places
from reference.diagnosis.search import GradientEvidence
from reference.problems import Selection, draw
from reports.records import TrialRow

_SELECTION = Selection(regimes=("ordinary", "lattice", "special"), dtypes=("float64",))
_MAX_DRAWN = 4000  # problems looked through for places of one mistake


@dataclass
class DiagnosisCounts:
    """How many were injected, how many located in the right tensor, how many named correctly."""

    injected: int = 0
    located: int = 0
    named: int = 0
    missed: list[str] = field(default_factory=list)


def diagnosis_rows(
    singles: int | None = None,
    pairs: int = 200,
    right: int = 1000,
    problems: int = 8,
    seed: int = 0,
) -> list[TrialRow]:
    """Return the rows: single mistakes (all, or so many of them), pairs, right gradients."""
    rows: list[TrialRow] = []
    for row, steps in (("one mistake, every cotangent given", True),
                       ("one mistake, final gradients given", False)):  # fmt: skip
        rows.append(_row(row, single_mistakes(problems, singles, steps=steps, seed=seed)))
    for row, steps in (("two mistakes, every cotangent given", True),
                       ("two mistakes, final gradients given", False)):  # fmt: skip
        rows.append(_row(row, two_mistakes(pairs, problems, steps=steps, seed=seed)))
    diagnosed = right_gradients(right, seed)
    columns = {"targets": right, "diagnosed": diagnosed}
    return [*rows, TrialRow("diagnosis", "right gradients", {**columns})]


def single_mistakes(
    problems: int = 8, most: int | None = None, *, steps: bool = True, seed: int = 0
) -> DiagnosisCounts:
    """Inject every mistake of the catalogue (or `most` of them, evenly) at every depth."""
    counts = DiagnosisCounts()
    entries = list(CATALOGUE.values())
    if most is not None:
        entries = entries[:: max(1, len(entries) // most)]
    for entry in entries:
        evidence = injected(entry, problems, steps=steps, seed=seed)
        if not evidence:
            continue  # it fits, or shows, in none of the drawn problems
        found = diagnose(evidence)
        counts.injected += 1
        counts.located += _located(evidence, found)
        alone = len(found.named) == 1 and _means(found, entry.name)
        counts.named += alone
        if not alone:
            counts.missed.append(f"{entry.name}: {sorted(found.names) or found.described}")
    return counts


def two_mistakes(
    count: int, problems: int = 8, *, steps: bool = True, seed: int = 0
) -> DiagnosisCounts:
    """Inject pairs of mistakes into different layers of the same networks."""
    counts = DiagnosisCounts()
    rng = np.random.default_rng([seed, 2])
    names = list(CATALOGUE)
    while counts.injected < count:
        first, second = (CATALOGUE[n] for n in rng.choice(names, 2, replace=False))
        evidence = _injected_twice(first, second, problems, steps, seed)
        if len(evidence) < problems:
            continue
        found = diagnose(evidence)
        counts.injected += 1
        counts.located += _located(evidence, found)
        both = _means(found, first.name) and _means(found, second.name)
        counts.named += both
        if not both:
            counts.missed.append(f"{first.name} + {second.name}: {sorted(found.names)}")
    return counts


def right_gradients(count: int, seed: int = 0) -> int:
    """Return how many of so many right gradients, each on one problem, get a diagnosis."""
    found = 0
    for index in _SELECTION.indices(count):
        problem = draw(seed, index).problem
        with np.errstate(all="ignore"):
            trace = forward(problem)
            gradients = backward(problem, trace)
        # Added up in another order: only rounding differs.
        for name in [n for n in gradients if n.endswith("weight")]:
            gradients[name] = gradients[name] * (1 + 4e-16)
        diagnosis = diagnose([GradientEvidence(problem, gradients)])
        found += diagnosis.location is not None or bool(diagnosis.named)
    return found


@dataclass(frozen=True)
class InjectedEvidence(GradientEvidence):
    """Evidence that remembers where its mistakes were injected."""

    tensors: tuple[str, ...] = ()


def injected(
    entry: Mistake, count: int, *, steps: bool = True, seed: int = 0
) -> list[InjectedEvidence]:
    """Return problems in which one injected mistake shows, in one layer after the other."""
    found: list[InjectedEvidence] = []
    for problem in islice(_problems(seed), _MAX_DRAWN):
        fitting = list(places(problem, entry))
        if not fitting:
            continue
        evidence = _injected(problem, {fitting[len(found) % len(fitting)]: entry}, steps)
        if evidence.wrong:
            found.append(evidence)
        if len(found) == count:
            break
    return found


def _injected_twice(
    first: Mistake, second: Mistake, count: int, steps: bool, seed: int
) -> list[InjectedEvidence]:
    found: list[InjectedEvidence] = []
    for problem in islice(_problems(seed), 300):
        at = {p.layer: p for p in places(problem, first)}
        pairs = [(p, q) for p in at.values() for q in places(problem, second) if p.layer != q.layer]
        if not pairs:
            continue
        p, q = pairs[len(found) % len(pairs)]
        evidence = _injected(problem, {p: first, q: second}, steps)
        # Both have to show, each beside the other: what the other hides cannot be found.
        if all(_shows(evidence, place, {p: first, q: second}, steps)
               for place in (p, q)):  # fmt: skip
            found.append(evidence)
        if len(found) == count:
            break
    return found


def _shows(
    evidence: GradientEvidence, place: FaultSite, all_of_them: dict[FaultSite, Mistake], steps: bool
) -> bool:
    others = {p: m for p, m in all_of_them.items() if p != place}
    without = _injected(evidence.problem, others, steps).gradients
    return any(not same_to_rounding(evidence.gradients[n], without[n]) for n in without)


def _injected(
    problem: Problem, injected: dict[FaultSite, Mistake], steps: bool
) -> InjectedEvidence:
    gradients = backward_with(problem, None, injected)
    if not steps:
        gradients = {n: g for n, g in gradients.items() if not n.endswith((".z", ".a"))}
    depth = len(problem.network.layers)
    return InjectedEvidence(problem, gradients, tuple(p.tensor(depth) for p in injected))


def _problems(seed: int) -> Iterator[Problem]:
    for index in _SELECTION.indices(_MAX_DRAWN):
        problem = draw(seed, index).problem
        with np.errstate(all="ignore"):
            trace = forward(problem)
            right = backward(problem, trace)
        if all(np.isfinite(g).all() for g in right.values()):
            yield problem


def _located(evidence: list[InjectedEvidence], found: Diagnosis) -> bool:
    """Return whether the diagnosis starts at an injected mistake in every problem."""
    return all(
        (first or getattr(locate(one), "tensor", None)) in one.tensors
        for one, first in zip(evidence, found.firsts, strict=True)
    )


def _means(found: Diagnosis, name: str) -> bool:
    """Say whether a mistake is named, or one that comes to the same in every problem."""
    return any(n.mistake.name == name or name in n.equally for n in found.named)


def _row(row: str, counts: DiagnosisCounts) -> TrialRow:
    n = max(counts.injected, 1)
    return TrialRow(
        "diagnosis",
        row,
        {
            "targets": counts.injected,
            "located": counts.located,
            "named": counts.named,
            "located %": round(100 * counts.located / n, 1),
            "named %": round(100 * counts.named / n, 1),
        },
    )
