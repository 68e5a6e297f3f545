"""Turns what was found into sentences."""

from __future__ import annotations

from dataclasses import replace

from reference.checks.explain import simple_errors
from reference.checks.explain.finding import ExplainedMistake, Explanation
from reference.checks.explain.hypothesis import listed
from reference.checks.explain.problem import is_multiple
from reference.checks.explain.state import ExplanationState, cases_of, depth_of


def explanation_of(state: ExplanationState) -> Explanation:
    """Return what a search found, going back from the loss."""
    ordered = _merged(sorted(state.named, key=lambda n: -n[1]))
    described = [(c.text, simple_errors.described(cases_of(state, c.path))) for c in state.left]
    first = state.first or _first(state)
    return Explanation(first, tuple(ordered), tuple(d for d in described if d[1]))


def _merged(found: list[tuple[ExplainedMistake, int]]) -> list[ExplainedMistake]:
    """Say in one sentence what is the same of several claims: dW1 and db1 are 2 times …."""
    groups: dict[tuple[str, ...], list[ExplainedMistake]] = {}
    for one, _ in found:
        text = one.tensors[0] if len(one.tensors) == 1 else ""
        same = one.sentence.startswith((f"{text} is ", f"{text} has ")) if text else False
        rest = one.sentence[len(text) :].split(":")[0] if same else one.sentence
        groups.setdefault((one.name, rest, "" if same else one.yours), []).append(one)
    return [_together(group) for group in groups.values()]


def _together(group: list[ExplainedMistake]) -> ExplainedMistake:
    if len(group) == 1:
        return group[0]
    texts = [t for one in group for t in one.tensors]
    first = group[0]
    rest = first.sentence[len(texts[0]) :]
    for single, plural in ((" is ", " are "), (" has ", " have ")):
        if rest.startswith(single):
            rest = plural + rest[len(single) :]
    return replace(
        first,
        sentence=listed(texts) + rest,
        tensors=tuple(texts),
        yours=first.yours.replace(texts[0], listed(texts)),
        right=first.right.replace(texts[0], listed(texts)),
        matched=min(n.matched for n in group),
        of=max(n.of for n in group),
        distance=max(n.distance for n in group),
    )


def _first(state: ExplanationState) -> str:
    """Return what goes wrong first, going back from the loss: the latest of all that is wrong.

    A variable of the backward counts where the mistakes that were found make it what it is; one
    that a loop has overwritten since does not count as wrong.
    """
    problem = state.problems[0]
    wrong = [c for c in problem.claims.values() if not c.right]
    if state.accepted:
        made = problem.predicted(state.base(problem))
        wrong = [c for c in wrong if not c.inner or is_multiple(c.got, made[c.path])]
    else:
        wrong = [c for c in wrong if not c.inner]
    return max(wrong, key=depth_of).text if wrong else ""
