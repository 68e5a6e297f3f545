"""Mutants of the backward of layers: each is tried on uses of its layer (drawn arrays, options).

A helper that a backward calls is changed too, for that call alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import FunctionType

import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.layers import LAYERS
from reference.conventions.uses import draw, problem_of
from reference.formats import DTYPES
from reference.judge import judge_all
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import AnyProblem
from reference.trials.mutants import Mutant, injected, mutate
from reference.trials.second_order import problems_of

Arrays = Mapping[str, np.ndarray]
Bank = Sequence[tuple[AnyProblem, Answer]]
"""Problems with the right answers."""
_USES, _REGIMES = {"few uses": range(8), "many uses": range(8, 120)}, 240
"""The seeds of the uses on which each mutant is tried (in each dtype), and of more uses for those
that survive; how many problems of all regimes are tried last."""
_ROUNDING = 4.0
"""Gradients that differ by at most this many ulps of the largest entry differ by rounding."""


def of_layers() -> Iterator[Mutant]:
    """Yield every mutant of the backward of every layer but the dense one, and of its helpers."""
    for name, operation in LAYERS.items():
        if name == "dense":
            continue
        for change, function in mutate(operation.backward):
            yield Mutant("layer", name, change, function)
        for change, function in mutate_helpers(operation.backward):
            yield Mutant("layer", name, change, function)


def mutate_helpers(method: Callable[..., object]) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield a method with each mutant of each helper that it calls, and what was changed.

    The helpers of helpers are among them.
    """
    helpers: dict[str, tuple[dict[str, object], FunctionType]] = {}
    _find_helpers(method, helpers)
    for name, (known, right) in helpers.items():
        for change, function in mutate(right):
            yield f"{name}, {change}", _with_helper(method, known, name, function)


def _find_helpers(
    method: Callable[..., object], found: dict[str, tuple[dict[str, object], FunctionType]]
) -> None:
    """Add the functions of the subject that a method calls by name, and the names known there."""
    for name in method.__code__.co_names:
        helper = method.__globals__.get(name)
        if not isinstance(helper, FunctionType) or name in found:
            continue
        if helper.__module__.startswith("manual_backprop."):
            found[name] = method.__globals__, helper
            _find_helpers(helper, found)


def _with_helper(
    method: Callable[..., object],
    known: dict[str, object],
    name: str,
    helper: Callable[..., object],
) -> Callable[..., object]:
    """Return the method with one of its helpers changed while it runs, in the names `known`."""

    def changed(*arrays: object, **options: object) -> object:
        right, known[name] = known[name], helper
        try:
            return method(*arrays, **options)
        finally:
            known[name] = right

    return changed


@cache
def _bank(name: str, bank: str) -> Bank:
    """Return problems of a layer; every fourth use is at an edge of the layer."""
    if bank == "regimes":
        return bank_of([
            GraphProblem(p.graph, p.arrays, p.cotangents)
            for p in problems_of(name, _REGIMES) if isinstance(p, GraphProblem)
        ])  # fmt: skip
    uses = [draw(LAYERS[name], seed, dtype) for seed in _USES[bank] for dtype in DTYPES]
    return bank_of([problem_of(LAYERS[name], use) for use in uses])


def bank_of(problems: Sequence[AnyProblem]) -> Bank:
    """Return problems with the right answers."""
    return list(zip(problems, Manual().answers(problems), strict=True))


def mutant_result(mutant: Mutant) -> tuple[bool, str]:
    """Say whether the judge catches a mutant of a layer, and if not, why."""
    banks = (_bank(mutant.operation, bank) for bank in (*_USES, "regimes"))
    return result_of(mutant, banks, lambda answer: answer.gradients)


def result_of(
    mutant: Mutant, banks: Iterable[Bank], changed: Callable[[Answer], Arrays]
) -> tuple[bool, str]:
    """Say whether the judge catches a mutant on one of the banks, and if not, why.

    `changed` returns the tensors of an answer that the mutant may change. One that loses digits is
    caught too: the right function is AGREE and the mutant PRECISION.
    """
    worst, count, worse = 0.0, 0, set[str]()
    for bank in banks:
        problems = [problem for problem, _ in bank]
        try:
            with injected(mutant), np.errstate(all="ignore"):
                answers = [_with_arrays(a) for a in Manual().answers(problems)]
            pairs = zip(bank, answers, strict=True)
            ulps = [apart_in_ulps(changed(right), changed(a)) for (_, right), a in pairs]
        except Exception:  # a mutant that raises is noticed by its caller
            return True, ""
        worst, count = max(worst, *ulps), count + len(bank)
        met = [k for k, apart in enumerate(ulps) if apart]
        judged = _kinds([(problems[k], answers[k]) for k in met])
        if "DEVIATES" in judged:
            return True, ""
        lossy = [(k, now) for k, now in zip(met, judged, strict=True) if now != "AGREE"]
        before = _kinds([bank[k] for k, _ in lossy])
        pairs_of_kinds = zip((now for _, now in lossy), before, strict=True)
        worse |= {now for now, then in pairs_of_kinds if now != then or now == "SKIPPED"}
        if "PRECISION" in worse:
            return True, ""
    return False, survived(worst, count, worse)


def _kinds(bank: Bank) -> list[str]:
    """Return what the judge says of each answer."""
    judged = judge_all([problem for problem, _ in bank], {"manual": [answer for _, answer in bank]})
    return [judgement.kind for judgement in judged]


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
