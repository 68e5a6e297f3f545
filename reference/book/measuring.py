"""How accurate the implementations are on a fixed set of inputs, and what they do on kinks.

A docstring of a layer over several axes is shown as it was written. What is checked is what the
code computes: the value and every cotangent of some uses that the layer draws itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from manual_backprop.operation import Activation, LayerOperation, Loss
from reference.arithmetic.balls import exact, precision
from reference.arithmetic.point_derivative import at_point, constants
from reference.conventions.pointwise import Batch, PointAnswers, ask
from reference.conventions.uses import by_framework, by_hand, draw, problem_of, truth
from reference.drawing.regimes import kinks, one_sided
from reference.evidence import gather
from reference.formats import DTYPES
from reference.judge import TEXTBOOK, allowed_alone, judge
from reference.oracles.manual import Manual
from reference.trials.accuracy import measure
from reports.book import BookAccuracy, KinkRow
from reports.records import Accuracy

_POINTS = 240
_TARGETS: Mapping[str, float] = {"real": 0.25, "unit": 0.25, "sign": -1.0, "count": 2.0}


def accuracy(
    operations: Sequence[Activation | Loss], implementations: Sequence[str]
) -> dict[str, tuple[BookAccuracy, ...]]:
    """Return the worst errors of every operation, as `reference.trials.accuracy` measures them."""
    found: dict[str, dict[tuple[str, str], dict[str, Accuracy]]] = {o.name: {} for o in operations}
    if operations:
        for row in measure(
            operations, points=_POINTS, curves=False, implementations=implementations
        ):
            by = found[row.operation].setdefault((row.quantity, row.dtype), {})
            by[row.implementation] = row
    return {
        name: tuple(
            BookAccuracy(
                quantity,
                dtype,
                {who: (row.worst_ulp, _short(row.worst_input)) for who, row in by.items()},
                max(row.n for row in by.values()),
            )
            for (quantity, dtype), by in rows.items()
        )
        for name, rows in found.items()
    }


def _short(text: str) -> str:
    """Return an input with its numbers to six digits."""
    return re.sub(r"-?\d+\.\d+(?:e[-+]?\d+)?", lambda m: f"{float(m[0]):.6g}", text)


def kink_rows(operation: Activation | Loss, implementations: Sequence[str]) -> list[KinkRow]:
    """Return what every implementation answers on the operation's kinks, beside the proof."""
    loss = isinstance(operation, Loss)
    target = _TARGETS.get(operation.targets[0], 0.5) if isinstance(operation, Loss) else 0.0
    parameters = operation.defaults()
    at = kinks(operation.name, tuple(parameters.items()), target)
    if not at:
        return []
    x = np.array(at)[:, None]
    t = np.full_like(x, target) if loss else None
    given = Batch(operation, x, t, parameters)
    replies = {name: ask(name, [given])[0] for name in implementations}
    return [_kink_row(operation, n, k, target if loss else None, replies) for n, k in enumerate(at)]


def _kink_row(
    operation: Activation | Loss, n: int, at: float, target: float | None,
    replies: Mapping[str, PointAnswers],
) -> KinkRow:  # fmt: skip
    before = () if target is None else (exact(target),)
    arguments = constants(operation.defaults())
    with precision(192):
        at_kink, *beside = (
            at_point(operation.definition, exact(at) + by, before, arguments)[0]
            for by in (0, -(2.0**-60), 2.0**-60)
        )
        decisions = at_kink.decisions
        ties = [i for i, d in enumerate(decisions) if d.tie or abs(d.value) < 2.0**-40]
        slopes = [
            local.slopes[0]
            for i in ties
            for local in one_sided(operation.definition, exact(at), i, before, arguments)
        ]
        below, above = (local.slopes[0] for local in beside)
    low = min(float(s.lower()) for s in [*slopes, below, above])
    high = max(float(s.upper()) for s in [*slopes, below, above])
    answers = {name: float(one.slopes[n, 0]) for name, one in replies.items()}
    ends, inputs = np.array([low, high]), np.array([abs(at), abs(target or 0.0)]).max()
    pad = float(allowed_alone(ends, inputs, "slope", "float64", TEXTBOOK).max())
    where = f"{'y' if target is not None else 'x'} = {at:.6g}"
    return KinkRow(
        where=where if target is None else f"{where}, t = {target:g}",
        left=f"{float(below.mid()):.6g}",
        right=f"{float(above.mid()):.6g}",
        slopes={name: f"{value + 0.0:.6g}" for name, value in answers.items()},
        inside={name: low - pad <= value <= high + pad for name, value in answers.items()},
    )


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the implementations that can be asked here and their versions."""
    from importlib import metadata

    found = {}
    for name in names:
        package = "numpy" if name == "manual" else name
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


# -- layers ----------------------------------------------------------------------------------------

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
