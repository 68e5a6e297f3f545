"""A layer's chapter: its uses judged in place of its formulas, and how accurate each side is.

A docstring of a layer over several axes is shown as it was written. What is checked is what the
code computes: the value and every cotangent of some uses that the layer draws itself.
"""

from collections.abc import Sequence

from manual_backprop.operation import LayerOperation
from reference.conventions.uses import by_framework, by_hand, draw, problem_of, truth
from reference.evidence import gather
from reference.formats import DTYPES
from reference.judge import judge
from reference.oracles.manual import Manual
from reports.book import BookAccuracy

SEEDS = (0, 1, 2)
"""Uses of ordinary numbers; every fourth use of a layer has its edge."""


def judged(operation: LayerOperation) -> tuple[int, list[str]]:
    """Return how many numbers of the hand-written side were judged, and what is wrong with them."""
    numbers, faults = 0, []
    for dtype in DTYPES:
        for seed in SEEDS:
            problem = problem_of(operation, draw(operation, seed, dtype))
            answer = Manual().answer(problem)
            numbers += sum(a.size for a in (*answer.values.values(), *answer.gradients.values()))
            judgement = judge(problem, {"manual": answer})
            if judgement.kind in ("DEVIATES", "CRASHED"):
                sentence = gather(problem, {"manual": answer}, judgement).sentence
                faults.append(f"its code, use {seed}, {dtype}: {sentence}")
    return numbers, faults


def layer_accuracy(
    operation: LayerOperation, implementations: Sequence[str]
) -> tuple[BookAccuracy, ...]:
    """Return the worst errors in units of rounding of a tensor's largest terms, since sums cancel.

    `truth` has the terms of an entry: Σ |dy ∂y/∂x| of a cotangent.
    """
    rows = []
    for dtype in DTYPES:
        worst: dict[str, dict[str, tuple[float, str]]] = {}
        points: dict[str, int] = {}
        for use in (draw(operation, seed, dtype) for seed in SEEDS):
            true = truth(operation, use)
            answers = {
                name: by_hand(operation, use)
                if name == "manual"
                else by_framework(name, operation, use)
                for name in implementations
            }
            for name in ("y", *use.floats):
                points[name] = points.get(name, 0) + true.low[name].size
                of_all = worst.setdefault(name, dict.fromkeys(implementations, (0.0, "")))
                for who, answer in answers.items():
                    found = answer.value if name == "y" else answer.gradient[name]
                    of_all[who] = max(of_all[who], (true.error(name, found), ""))
        for name, of_all in worst.items():
            what = "value" if name == "y" else f"cotangent of {name}"
            rows.append(BookAccuracy(what, dtype, of_all, points[name]))
    return tuple(rows)
