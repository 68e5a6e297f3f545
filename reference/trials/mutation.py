"""Mutation testing of the judge: banks of problems, and a sweep of each operation alone."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from manual_backprop.network import Problem, forward
from manual_backprop.operation import FloatArray
from reference.conventions.pointwise import Batch, ask, prove
from reference.conventions.situations import situations
from reference.diagnosis.closeness import difference
from reference.diagnosis.mistakes import CATALOGUE, backward_with, places
from reference.formats import DTYPES
from reference.judge import STRICT, allowed_alone
from reference.oracles import Answer, load
from reference.problems import Selection, draw
from reference.trials.accuracy import batch_of
from reference.trials.mutants import (
    REGISTRIES,
    Mutant,
    backward_by,
    generated,
    kinds_of,
    mutant_result,
    of_layers,
)
from reports.records import TrialRow, Value

_BANK = 10  # problems that each mutant meets at first
_LARGE_BANK = 60  # and those that what survives meets


def mutants(seed: int = 0, *, share: int = 1) -> Iterator[TrialRow]:
    """Inject the catalogue and the generated mutants; with share=n only every nth of them."""
    banks = Banks(seed)
    survivors: list[TrialRow] = []
    for section in (_catalogue(banks, share), _generated(banks, share), _of_layers(banks, share)):
        killed: dict[str, Counter[str]] = defaultdict(Counter)
        for group, name, dead, explanation in section:
            equivalent = not dead and explanation.startswith("equivalent")
            killed[group]["injected"] += not equivalent
            killed[group]["killed"] += dead
            killed[group]["equivalent"] += equivalent
            if not dead:
                row = TrialRow(section="survivors", row=name, columns={"why": explanation})
                survivors.append(row)
        for group, counts in killed.items():
            columns: dict[str, Value] = {k: counts[k] for k in ("injected", "killed", "equivalent")}
            yield TrialRow(section="mutants", row=group, columns=columns)
    yield from survivors


MutantResult = tuple[str, str, bool, str]
"""Group, name, whether it was caught, and why not."""


class Banks:
    """Banks of problems, one for each operation."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._manual = load(("manual",))["manual"]
        self._banks: dict[tuple[str, str], list[tuple[Problem, Answer]]] = {}

    def bank(self, group: str, operation: str, size: int) -> list[tuple[Problem, Answer]]:
        """Return problems that use an operation, in every dtype and regime, with right answers."""
        key = (group, operation)
        bank = self._banks.setdefault(key, [])
        if len(bank) < size:
            selection = Selection(
                activations=(operation,) if group == "activation" else (),
                losses=(operation,) if group == "loss" else (),
            )
            step = 17 if group in ("activation", "loss") else 97  # not the neighbours: other cells
            positions = range(len(bank) * step, size * step, step)
            problems = [draw(self.seed, selection.index(p)).problem for p in positions]
            bank += zip(problems, self._manual.answers(problems), strict=True)
        return bank[:size]


def _catalogue(banks: Banks, share: int) -> Iterator[MutantResult]:
    """Inject every mistake in up to three places where it changes the gradient."""
    bank = banks.bank("any", "", 120)
    for mistake in list(CATALOGUE.values())[::share]:
        trials = bank
        if mistake.operations:
            group = "activation" if mistake.line == "activation" else "loss"
            trials = [
                trial for o in sorted(mistake.operations) for trial in banks.bank(group, o, _BANK)
            ] + bank
        tried, dead = 0, False
        for problem, right in trials:
            with np.errstate(all="ignore"):
                trace = forward(problem)
                found = next(iter(places(problem, mistake, trace)), None)
                if found is None:
                    continue
                gradients = backward_with(problem, trace, {found: mistake})
            if not _changes_anything(right.gradients, gradients):
                continue
            tried += 1
            dead = kinds_of([(problem, replace(right, gradients=gradients))]) == ["DEVIATES"]
            if tried == 3 or dead:
                break
        why = (
            "" if dead else ("not caught" if tried else "equivalent: it changed no gradient tried")
        )
        yield f"catalogue: {mistake.family}", f"{mistake.name}", dead, why


def _changes_anything(right: Mapping[str, FloatArray], gradients: Mapping[str, FloatArray]) -> bool:
    return any(difference(gradients[name], right[name]) > 0 for name in right)


def _generated(banks: Banks, share: int) -> Iterator[MutantResult]:
    """Inject every generated mutant into the problems of its operation."""
    for mutant in list(generated())[::share]:
        yield f"generated: {mutant.group}", mutant.name, *result_of_first(banks, mutant)


def _of_layers(banks: Banks, share: int) -> Iterator[MutantResult]:
    """Try the mutants of layers; of these `share` takes fewer, as each layer has its helpers'."""
    for mutant in list(of_layers())[:: 1 if share == 1 else 8 * share]:
        yield "generated: layer", mutant.name, *result_of_first(banks, mutant)


def of_first() -> Iterator[Mutant]:
    """Yield every mutant of every hand-written backward, of their helpers and of the walk."""
    yield from generated()
    yield from of_layers()


def result_of_first(banks: Banks, mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of first order, and if not, why."""
    if mutant.group == "layer" and mutant.operation != "dense":
        return mutant_result(mutant)
    if _dies(banks, mutant, _BANK):
        return True, ""
    dead, why = swept(mutant)
    return dead or _dies(banks, mutant, _LARGE_BANK), why


def _dies(banks: Banks, mutant: Mutant, size: int) -> bool:
    tried: list[tuple[Problem, Answer]] = []
    for problem, right in banks.bank(mutant.group, mutant.operation, size):
        with np.errstate(all="ignore"):
            trace = forward(problem)
            try:
                gradients = backward_by(mutant, problem, trace)
                changes = _changes_anything(right.gradients, gradients)
            except Exception:  # the caller notices a mutant that raises
                return True
        if changes:
            tried.append((problem, replace(right, gradients=gradients)))
    return "DEVIATES" in kinds_of(tried)


def swept(mutant: Mutant) -> tuple[bool, str]:
    """Try a mutant alone at every situation of its operation: is it caught, and if not, why."""
    if mutant.group not in ("activation", "loss"):
        return False, "not caught"
    operation = REGISTRIES[mutant.group][mutant.operation]
    substitute = replace(operation, backward=mutant.function)
    points, worst = 0, 0.0
    for dtype in DTYPES:
        directed = [one.batch(dtype) for one in situations(operation, dtype)]
        for batch in (*directed, batch_of(operation, 4000, 1, dtype)):
            right, other = ask("manual", [batch, replace(batch, operation=substitute)])
            finite = np.asarray(np.isfinite(batch.x).all(-1))
            points += int(finite.sum())
            with np.errstate(all="ignore"):
                apart = np.abs(right.slopes.astype(np.float64) - other.slopes)
                apart = np.where(right.slopes == other.slopes, 0.0, apart)
                spacing = np.spacing(np.abs(right.slopes)).astype(np.float64)
                ulps = np.where(finite[:, None] & ~np.isnan(right.slopes), apart / spacing, 0.0)
            suspects = np.flatnonzero(~(ulps <= 4).all(axis=-1))
            worst = max(worst, float(np.max(ulps, where=ulps <= 4, initial=0.0)))
            for n in suspects:
                here = replace(batch, x=batch.x[n : n + 1])
                here = replace(
                    here,
                    targets=None if batch.targets is None else batch.targets[n : n + 1],
                    arrays={k: v if v.ndim == 1 else v[n : n + 1] for k, v in batch.arrays.items()},
                )
                if _certainly_wrong(here, right.slopes[n], other.slopes[n], dtype):
                    return True, f"caught by the sweep at x = {batch.x[n].tolist()}, {dtype}"
                worst = max(worst, float(ulps[n].max()))
    if worst == 0:
        return False, f"equivalent: the same bits at {points} points"
    if worst <= 4:
        return False, f"equivalent but for rounding: at most {worst:.0f} ulp at {points} points"
    return False, "equivalent but for kinks and rounding: admissible at every point of the sweep"


def _certainly_wrong(batch: Batch, right: FloatArray, other: FloatArray, dtype: str) -> bool:
    """Say whether the proof admits the right slopes and not the other ones."""
    balls = [ball for point in prove(batch) for ball in point.slopes]
    truth = np.array([float(ball.mid()) for ball in balls])
    known = np.array([ball.is_finite() for ball in balls])
    radius = np.array([float(b.rad()) if b.is_finite() else 0.0 for b in balls])
    allowed = radius + allowed_alone(truth, np.zeros(()), "slope", dtype, STRICT)
    with np.errstate(all="ignore"):
        fine = np.abs(right - truth) <= allowed
        wrong = known & ~(np.abs(other - truth) <= allowed)
    return bool((wrong & fine).any())
