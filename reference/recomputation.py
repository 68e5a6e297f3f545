"""Does a compiled program go on with the numbers that it returns? If not, it is asked again.

A compiler may compute a cotangent twice, in two fused loops with different rounding; one copy is
returned and the other used. Then the next step back looks wrong, although every loop is right. So a
graph that an oracle gets slightly wrong is asked again with every operation compiled by itself. If
that answer does not deviate, it takes the first one's place.

Such a program returns the same bits each time. So if a graph was answered twice and the two answers
differ, it is not asked again. If they are equal, the new answer is repeated, too.
"""

from collections.abc import Mapping, Sequence

from manual_backprop.operation import FloatArray
from reference.judge import RECOMPUTED, Judgement, judge_all
from reference.oracles import Answer, Oracle, stepwise
from reference.problems import AnyDrawn, DrawnGraph


def settle_recomputation(
    drawn: Sequence[AnyDrawn],
    judgements: Sequence[Judgement],
    answers: Mapping[str, list[Answer]],
    oracles: Mapping[str, Oracle],
    again: Mapping[str, dict[int, Answer]] | None = None,
) -> list[Judgement]:
    """Return the judgements, and replace the answers, of graphs that are right step by step.

    `again` has second answers, as in `judge_all`; they are judged, and replaced, too.
    """
    settled, again = list(judgements), again or {}
    for name, oracle in oracles.items():
        first, second = answers[name], again.get(name, {})
        places = [k for k, one in enumerate(drawn)
                  if isinstance(one, DrawnGraph) and _slightly_wrong(settled[k], name)
                  and (k not in second or _equal(first[k], second[k]))]  # fmt: skip
        found = _ask(oracle, drawn, places)
        repeated = _ask(oracle, drawn, [k for k in reversed(places) if k in second])
        for k in [k for k in found if k in repeated or k not in second]:
            sides = {other: [of_all[k]] for other, of_all in answers.items()} | {name: [found[k]]}
            twice = {other: {0: repeated[k] if other == name else few[k]}
                     for other, few in again.items() if k in few}  # fmt: skip
            (judgement,) = judge_all([drawn[k].problem], sides, again=twice)
            if not _deviates(judgement, name):
                settled[k], first[k] = judgement, found[k]
                if k in second:
                    second[k] = repeated[k]
    return settled


def _ask(oracle: Oracle, drawn: Sequence[AnyDrawn], places: Sequence[int]) -> dict[int, Answer]:
    """Return an oracle's answers, step by step, to the graphs at these places, but no failures."""
    found = stepwise(oracle, [drawn[k].problem for k in places]) if places else []
    return {k: a for k, a in zip(places, found, strict=False) if a.status == "ok"}


def _equal(one: Answer, other: Answer) -> bool:
    """Return whether two answers are equal bit for bit."""
    return one.status == other.status and all(
        a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
        for a, b in zip(_arrays(one), _arrays(other), strict=True)
    )


def _arrays(answer: Answer) -> tuple[Mapping[str, FloatArray], ...]:
    loss = {} if answer.loss is None else {"loss": answer.loss}
    return loss, answer.gradients, answer.values, answer.tangents, answer.products


def _deviates(judgement: Judgement, oracle: str) -> bool:
    return judgement.kind == "DEVIATES" and oracle in judgement.who


def _slightly_wrong(judgement: Judgement, oracle: str) -> bool:
    """Return whether only cotangents deviate, by no more than another rounding could explain."""
    return _deviates(judgement, oracle) and all(
        finding.error <= RECOMPUTED * finding.allowed
        and finding.tensor != "loss"
        and not finding.tensor.startswith("forward ")
        for finding in judgement.findings
        if finding.oracle == oracle and finding.is_wrong
    )
