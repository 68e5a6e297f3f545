"""Mutants of the backward of layers: each injected into uses that the layer draws itself.

A helper that a backward calls is changed too, for that call alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from manual_backprop.layers import LAYERS
from reference.conventions.uses import draw, problem_of
from reference.formats import DTYPES
from reference.judge import judge_all
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import AnyProblem
from reference.trials.mutants import Mutant, injected, mutate

Arrays = Mapping[str, Any]
Bank = Sequence[tuple[AnyProblem, Answer]]
"""Problems with the right answers."""
_FEW, _MANY = 8, 120
"""Uses of each dtype that a mutant meets at first, and those that what survives meets."""
_ROUNDING = 4.0
"""A mutant whose gradients differ by so many ulps of the largest entry differs by rounding."""


def of_layers() -> Iterator[Mutant]:
    """Yield every mutant of the backward of every layer but the dense one, and of its helpers."""
    for name, operation in LAYERS.items():
        if name == "dense":
            continue
        for change, function in mutate(operation.backward):
            yield Mutant("layer", name, change, function)
        for change, function in mutate_helpers(operation.backward):
            yield Mutant("layer", name, change, function)


def mutate_helpers(method: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield a method with each mutant of each helper that it calls, and what was changed."""
    for helper, right in _helpers(method).items():
        for change, function in mutate(right):
            yield f"{helper}, {change}", _with_helper(method, helper, function)


def _helpers(method: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of the subject that a method calls by name."""
    known = {name: method.__globals__.get(name) for name in method.__code__.co_names}
    return {
        name: helper
        for name, helper in known.items()
        if isinstance(helper, FunctionType) and helper.__module__.startswith("manual_backprop.")
    }


def _with_helper(method: Any, name: str, helper: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method with one of its helpers changed while it runs."""

    def changed(*arrays: Any, **options: Any) -> Any:
        known = method.__globals__
        right, known[name] = known[name], helper
        try:
            return method(*arrays, **options)
        finally:
            known[name] = right

    return changed


@cache
def _bank(name: str, size: int) -> Bank:
    """Return uses of a layer with the right answers, every fourth at the layer's edge."""
    uses = [draw(LAYERS[name], seed, dtype) for seed in range(size) for dtype in DTYPES]
    problems = [problem_of(LAYERS[name], use) for use in uses]
    return list(zip(problems, Manual().answers(problems), strict=True))


def mutant_result(mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of a layer, and if not, why."""
    banks = (_bank(mutant.operation, size) for size in (_FEW, _MANY))
    return result_of(mutant, banks, lambda answer: answer.gradients, digits=False)


def result_of(
    mutant: Mutant, banks: Iterable[Bank], changed: Callable[[Answer], Arrays], *, digits: bool
) -> tuple[bool, str]:
    """Say whether the judge catches a mutant on one of the banks, and if not, why.

    `changed` returns the tensors of an answer that the mutant may change. Where `digits`, one that
    loses digits is caught too: the right function is AGREE and the mutant PRECISION.
    """
    for bank in banks:
        try:
            with injected(mutant), np.errstate(all="ignore"):
                answers = [_with_arrays(a) for a in Manual().answers([p for p, _ in bank])]
            pairs = zip(bank, answers, strict=True)
            ulps = [apart_in_ulps(changed(right), changed(a)) for (_, right), a in pairs]
        except Exception:  # a mutant that raises is noticed by its caller
            return True, ""
        met = [k for k, apart in enumerate(ulps) if apart]
        problems = [bank[k][0] for k in met]
        kinds = [j.kind for j in judge_all(problems, {"manual": [answers[k] for k in met]})]
        if "DEVIATES" in kinds:
            return True, ""
    worse = set(kinds)
    if digits:
        before = judge_all(problems, {"manual": [bank[k][1] for k in met]})
        worse = {now for now, then in zip(kinds, before, strict=True) if now != then.kind}
        if "PRECISION" in worse:
            return True, ""
    return False, survived(max(ulps), len(bank), worse)


def _with_arrays(answer: Answer) -> Answer:
    """Return an answer whose numbers are arrays: a mutant may return a plain number."""
    parts = (answer.gradients, answer.products)
    gradients, products = ({n: np.asarray(v) for n, v in part.items()} for part in parts)
    return replace(answer, gradients=gradients, products=products)


def survived(worst: float, uses: int, kinds: set[str]) -> str:
    """Say why a mutant is not caught: how far it is off at most, and its verdicts."""
    if not worst:
        return f"equivalent: the same bits at {uses} uses"
    if worst <= _ROUNDING:
        return f"equivalent but for rounding: at most {worst:.2g} ulp at {uses} uses"
    if kinds <= {"AGREE", "CONVENTION"}:
        return "equivalent but for kinks and rounding: admissible at every use"
    return f"not caught: {', '.join(sorted(kinds))}"


def apart_in_ulps(right: Arrays, other: Arrays) -> float:
    """Return how far tensors are apart, in ulps of each one's largest entry."""
    worst = 0.0
    for name, gradient in right.items():
        found = np.asarray(other[name])
        if found.shape != gradient.shape:
            return np.inf
        if np.array_equal(found, gradient, equal_nan=True):
            continue
        with np.errstate(all="ignore"):
            unit = float(np.spacing(np.abs(gradient).max()))
            apart = float(np.abs(found.astype(np.float64) - gradient).max()) / unit
        worst = max(worst, apart if np.isfinite(apart) else np.inf)
    return worst
