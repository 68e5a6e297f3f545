"""Does a compiled program go on with the numbers that it returns? If not, it is asked again.

A compiler may compute a cotangent twice, in two fused loops with different rounding; one copy is
returned and the other used. Then the next step back looks wrong, although every loop is right. So a
graph that an oracle gets slightly wrong is asked again with every operation compiled by itself. If
that answer does not deviate, it takes the first one's place.
"""

from collections.abc import Mapping, Sequence

from reference.judge import RECOMPUTED, Judgement, judge_all
from reference.oracles import Answer, Oracle, stepwise
from reference.problems import AnyDrawn, DrawnGraph


def settle_recomputation(
    drawn: Sequence[AnyDrawn],
    judgements: Sequence[Judgement],
    answers: Mapping[str, list[Answer]],
    oracles: Mapping[str, Oracle],
) -> list[Judgement]:
    """Return the judgements, and replace the answers, of graphs that are right step by step."""
    settled = list(judgements)
    for name, oracle in oracles.items():
        places = [k for k, one in enumerate(drawn)
                  if isinstance(one, DrawnGraph) and _slightly_wrong(settled[k], name)]  # fmt: skip
        found = stepwise(oracle, [drawn[k].problem for k in places]) if places else []
        for k, answer in zip(places, found, strict=False):
            sides = {other: [of_all[k]] for other, of_all in answers.items()} | {name: [answer]}
            (judgement,) = judge_all([drawn[k].problem], sides)
            if answer.status == "ok" and not _deviates(judgement, name):
                settled[k], answers[name][k] = judgement, answer
    return settled


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
