"""How small an error the judge finds: one entry of one tensor wrong, by regime and by shape.

Any tensor that an answer names may be the wrong one: values and cotangents of steps, gradients of
parameters, the loss. Beside the judge stand torch's gradcheck and JAX's check_grads, who see final
gradients only. What rounding in the dtype hides is counted apart: where the error is
less than the spacing of the smallest numbers, or nothing in the tensor is finite and not zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from manual_backprop.network import Layer, Network, Problem
from reference.drawing.regimes import REGIMES
from reference.formats import DTYPES, format_of
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import Selection, draw
from reference.trials.mutation import MutationProblem, caught
from reports.records import TrialRow

STATED = {"float64": 10, "float32": 4}
"""The sensitivity that is stated: one entry wrong by 10^-k of the tensor's largest."""

FLOOR = 64
"""An error below so many spacings of the smallest numbers is below the floor of the dtype."""

SHAPES = tuple((width, depth) for depth in (1, 4, 16, 32) for width in (4, 16, 64, 128))


def sensitivity(
    seed: int = 0,
    *,
    injected: int = 100,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    regimes: Sequence[str] = tuple(REGIMES),
    checkers: bool = True,
) -> Iterator[TrialRow]:
    """Yield a row for each dtype and regime, and for each dtype, width and depth."""
    for dtype in DTYPES:
        size = f"wrong by 1e-{STATED[dtype]}"
        for regime in regimes:
            selection = Selection(regimes=(regime,), dtypes=(dtype,))
            problems = [draw(seed, selection.index(37 * k)).problem for k in range(injected)]
            columns, _ = _columns(problems, seed, 1)
            yield TrialRow(
                section="sensitivity by regime", row=f"{dtype}, {regime}, {size}", columns=columns
            )
        for width, depth in shapes:
            stream = np.random.default_rng([seed, width, depth])
            problem = deep(stream, width, depth, dtype)
            columns, wrong = _columns([problem], seed, injected)
            if checkers:
                columns |= _rivals(problem, wrong, width, depth)
            row = f"{dtype}, width {width}, depth {depth}, {size}"
            yield TrialRow(section="sensitivity by shape", row=row, columns=columns)


def _columns(
    problems: Sequence[Problem], seed: int, each: int
) -> tuple[dict[str, float | int | str | None], list[Answer]]:
    """Make errors in the answers to some problems; return the share caught, and the answers."""
    stream = np.random.default_rng([seed, len(problems), each])
    right = Manual().answers(problems)
    wrong: list[tuple[MutationProblem, Answer]] = []
    floor = 0
    for problem, answer in zip(problems, right, strict=True):
        for _ in range(each):
            found = inject(answer, 10.0 ** -STATED[str(problem.dtype)], stream)
            if found is None:
                floor += 1
            else:
                wrong.append((MutationProblem(problem, answer), found))
    hits = [hit for k in range(0, len(wrong), 50) for hit in caught(wrong[k : k + 50])]
    share = sum(hits) / len(hits) if hits else None
    columns: dict[str, float | int | str | None] = {
        "injected": len(hits),
        "manual-backprop": share,
        "below the floor": floor,
    }
    return columns, [answer for _, answer in wrong]


def inject(answer: Answer, by: float, stream: np.random.Generator) -> Answer | None:
    """Return the answer with one entry of any tensor wrong; None where the dtype cannot show it."""
    names = ["loss", *answer.gradients, *(f"forward {name}" for name in answer.values)]
    name = names[stream.integers(len(names))]
    values, gradients = dict(answer.values), dict(answer.gradients)
    step = name.removeprefix("forward ")
    before = answer.loss if name == "loss" else (values if name != step else gradients)[step]
    assert before is not None
    tensor = np.array(before)
    finite = np.abs(np.where(np.isfinite(tensor), tensor, 0))
    entry = stream.integers(tensor.size)
    error = by * float(finite.max(initial=0.0))
    smallest = format_of(tensor.dtype).smallest
    with np.errstate(all="ignore"):
        changed = tensor.dtype.type(float(tensor.flat[entry]) + stream.choice((-1, 1)) * error)
    if not np.isfinite(changed) or error < FLOOR * smallest:
        return None
    tensor.flat[entry] = changed
    if name == "loss":
        return replace(answer, loss=tensor)
    (values if name != step else gradients)[step] = tensor
    return replace(answer, values=values, gradients=gradients)


def _rivals(
    problem: Problem, wrong: Sequence[Answer], width: int, depth: int
) -> dict[str, float | None]:
    """Return what the frameworks' checkers catch of the errors in final gradients."""
    from reference.trials.rivals import CHECKERS

    final = [a for a in wrong if _final(problem, a)]
    shares: dict[str, float | None] = {}
    for name, checker in CHECKERS.items():
        few = final[: checker.injected(width)] if depth <= 4 else []
        found = [checker.rejects(problem, answer) for answer in few]
        shares[name] = sum(found) / len(found) if found else None
    return shares


def _final(problem: Problem, answer: Answer) -> bool:
    """Say whether it is a parameter's gradient, or that of x, which is wrong."""
    right = Manual().answer(problem).gradients
    names = ("x", *problem.parameters)
    return any(not np.array_equal(answer.gradients[name], right[name]) for name in names)


def deep(stream: np.random.Generator, width: int, depth: int, dtype: str) -> Problem:
    """Return an ordinary network: so many layers of a width, smooth and piecewise in turn."""
    activations = ("tanh", "gelu", "relu", "silu")
    layers = tuple(Layer(width, activations[i % 4]) for i in range(depth - 1))
    network = Network(width, (*layers, Layer(max(2, width // 2))), "mse")
    parameters = {
        k: (stream.standard_normal(s) / np.sqrt(s[0])).astype(dtype)
        for k, s in network.parameter_shapes().items()
    }
    x = stream.standard_normal((8, width)).astype(dtype)
    targets = stream.standard_normal((8, network.widths[-1])).astype(dtype)
    return Problem(network, parameters, x, targets, stream.uniform(0.5, 2, 8).astype(dtype))
