"""Does our call of a framework compute the function we mean? Its values are compared first.

An operation's counterpart, with its options, reduction and padding, is our own translation and may
be wrong. Where an answer of a framework deviates, the framework is asked about the same network
with ordinary numbers. An operation whose value differs from the definition there is reported as
"our translation or the framework is wrong"; its gradient is not judged.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from reference.drawing.builder import ProblemBuilder, Stream
from reference.drawing.graphs import draw_graph
from reference.drawing.regimes import REGIMES
from reference.formats import format_of
from reference.judge import Judgement, another_function, differing_values, judge_all
from reference.oracles import Answer, Oracle
from reference.oracles.counterparts import Framework
from reference.problems import GRAPHS, AnyDrawn, AnyProblem, DrawnGraph, is_large, lowered

FRAMEWORKS: tuple[Framework, ...] = ("torch", "jax")
"""The oracles that call a framework's functions through our translation."""

DRAWS = 4
"""Problems of ordinary numbers for one network: one alone may miss the branch that is wrong."""


def settle_translation(
    drawn: Sequence[AnyDrawn], judgements: Sequence[Judgement], oracles: Mapping[str, Oracle]
) -> list[Judgement]:
    """Return the judgements, VALUE instead of DEVIATES where a framework computes another value."""
    settled = list(judgements)
    differing: dict[int, dict[str, frozenset[str]]] = {}
    for name in FRAMEWORKS:
        accused = [
            k for k, j in enumerate(judgements) if j.kind == "DEVIATES" and name in j.who
        ]  # fmt: skip
        found = _differing(oracles[name], [drawn[k] for k in accused]) if accused else []
        for k, operations in zip(accused, found, strict=True):
            differing.setdefault(k, {})[name] = operations
    for k, operations_of in differing.items():
        settled[k] = another_function(drawn[k].problem, judgements[k], operations_of)
    return settled


def ordinary(one: AnyDrawn) -> list[AnyProblem]:
    """Return problems of the same network and reduction, with ordinary numbers.

    They are of the same dtype; of float32 for a low one, in which rounding hides a function.
    """
    dtype, (_, base) = format_of(one.cell.dtype).inside, lowered(one.index)
    where = one.cell._replace(regime="ordinary", dtype=dtype)
    if isinstance(one, DrawnGraph):
        return [draw_graph(one.seed, base + k, base - GRAPHS, where) for k in range(DRAWS)]
    builder = ProblemBuilder(Stream(one.seed, base), where, large=is_large(one.seed, base))
    biases = [layer.bias for layer in one.problem.network.layers]
    if len(biases) == len(builder.biases):  # another regime may have given a layer its bias
        builder.biases = biases
    problems: list[AnyProblem] = []
    for _ in range(DRAWS):
        REGIMES["ordinary"](builder)
        problems.append(builder.problem())
    return problems


def _differing(oracle: Oracle, drawn: Sequence[AnyDrawn]) -> list[frozenset[str]]:
    """Return for each problem the operations whose values the oracle gets wrong at such numbers."""
    problems = [problem for one in drawn for problem in ordinary(one)]
    try:
        with np.errstate(all="ignore"):
            answers: Sequence[Answer] = oracle.answers(problems)
    except Exception:  # what fails here has no values to compare; the problem itself was answered
        return [frozenset() for _ in drawn]
    judgements = judge_all(problems, {oracle.name: answers})
    found = [
        differing_values(problem, answer, judgement)
        for problem, answer, judgement in zip(problems, answers, judgements, strict=True)
    ]
    return [
        frozenset().union(*found[start : start + DRAWS]) for start in range(0, len(found), DRAWS)
    ]
