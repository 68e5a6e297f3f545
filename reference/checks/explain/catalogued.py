"""The mistakes of the catalogue as hypotheses: each tried on every line of a forward that it fits.

The sweep is made as always; where a line's cotangent is complete, the difference between the
wrong line and the right one is added to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from reference.checks.explain.graph import Edit, Hook
from reference.checks.explain.hypothesis import Hypothesis, Match, Spot, Words, cotangents_of
from reference.checks.explain.lines import spots_of
from reference.checks.explain.problem import ReadingProblem
from reference.checks.tolerances import SAME
from reference.diagnosis.mistakes import CATALOGUE, Mistake
from reference.diagnosis.mistakes.catalogue import right_of

_OWN, _DENSE, _SIGN, _ANY, _RARE = 1.0, 1.2, 1.5, 1.7, 2.0
"""What a mistake of the operation's own formula costs, one of a dense layer, a sign, one of any
activation, and the slope of another function."""


def catalogue_hypotheses(problem: ReadingProblem, named: bool = False) -> Iterator[Hypothesis]:
    """Yield the mistakes of the catalogue that can be made on the lines of a problem.

    named: whether only steps count whose result has a name in the code.
    """
    cotangents = cotangents_of(problem, problem.true)
    for spot in spots_of(problem).values():
        if named and spot.key[1] in ("hidden", "terms"):
            continue
        line = spot.made(cotangents)
        for order, mistake in enumerate(CATALOGUE.values()):
            if mistake.line == spot.name and mistake.applies(line):
                yield _hypothesis(spot, mistake, order)


def _hypothesis(spot: Spot, mistake: Mistake, order: int) -> Hypothesis:
    def edit(problem: ReadingProblem) -> Edit | None:
        mine = spots_of(problem).get(spot.key)
        return None if mine is None else _edit(problem, mine, mistake)

    cost = _cost(mistake) + order / 10_000 + 0.2 * spot.unnamed
    return Hypothesis(edit, lambda match: _words(spot, mistake, match), cost, spot.depth)


def _cost(mistake: Mistake) -> float:
    if mistake.operations or mistake.line == "loss" or mistake.name == "activation_skipped":
        return _OWN
    if mistake.line != "activation":
        return _DENSE
    if mistake.name in ("activation_sign", "activation_slope_reflected"):
        return _SIGN
    return _RARE if mistake.family == "slopes" else _ANY


def _edit(problem: ReadingProblem, spot: Spot, mistake: Mistake) -> Edit | None:
    """Return the sweep in which a line is wrong; None where the mistake cannot be made here."""
    line = spot.made(cotangents_of(problem, problem.true))
    if not mistake.applies(line):
        return None
    hooks: dict[int, list[Hook]] = {}
    for part in spot.entries or (spot,):
        hooks.setdefault(int(part.places.max()), []).append(_hook(problem, part, mistake))
    return Edit({}, hooks)


def _hook(problem: ReadingProblem, spot: Spot, mistake: Mistake) -> Hook:
    places = spot.places.ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        cotangents = cotangents_of(problem, adjoints)
        now = spot.made(cotangents)
        with np.errstate(all="ignore"):
            right = right_of(mistake.line, now)
            others = cotangents(spot.places) - right  # what comes from its other uses
            others[np.abs(others) <= SAME * np.abs(right).max(initial=0.0)] = 0.0
            made = (others + mistake.make(now)) / problem.scale
        for place, x in zip(places, made.ravel().tolist(), strict=True):
            adjoints[place] = x

    return hook


def _words(spot: Spot, mistake: Mistake, match: Match) -> Words:
    if match.alone and mistake.name == "activation_skipped":
        mistake = CATALOGUE["weight_skips_activation"]  # what comes of δz elsewhere is right
    where = f"{spot.what}; {match.text} alone" if match.alone else spot.what
    sentence = f"{mistake.sentence.rstrip('.')} ({where})."
    right = spot.right or in_names(mistake.right, spot.texts)
    return Words(mistake.name, sentence, in_names(mistake.wrong, spot.texts), right)


def in_names(formula: str, texts: Mapping[str, str]) -> str:
    """Return a formula of the catalogue in the names of the target: δz = δa becomes δz1 = δa1."""
    symbols = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    return re.sub(rf"(?<![A-Za-zα-ωΑ-Ω∂])({symbols})(?![A-Za-z(])", lambda m: texts[m[1]], formula)
