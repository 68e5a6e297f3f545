"""One problem drawn again, with all its numbers: `manual-backprop show SEED:INDEX`."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.graph import GraphProblem
from reference.campaign import judge_one
from reference.compare import compare
from reference.evidence import gather, tensor_of
from reference.findings import spelled
from reference.formats import Array
from reference.judge import Judgement
from reference.oracles import ORACLES, SECOND_ORDER, Answer
from reference.problems import (
    AnyDrawn,
    AnyProblem,
    arrays_of,
    check_order,
    draw_any,
    parse_address,
)

_PRECISION = {np.dtype("float32"): 9, np.dtype("float64"): 17}


def show(address: str, order: int = 1) -> tuple[AnyDrawn, dict[str, Answer], Judgement]:
    """Draw the problem at an address, ask every oracle of an order and judge what they say.

    Raises InvalidInput for an order that is neither 1 nor 2, and for an unknown address.
    """
    check_order(order)
    one = draw_any(*parse_address(address), order)
    return one, *judge_one(one, SECOND_ORDER if order == 2 else ORACLES)


def show_text(one: AnyDrawn, answers: Mapping[str, Answer], judgement: Judgement) -> str:
    """Return everything as text: structure, numbers, every answer, distances, verdict."""
    problem = one.problem
    lines = [f"Problem {one.at}: {describe(problem)}", f"Regime: {one.cell.regime}", ""]
    for name, array in arrays_of(problem).items():
        lines += [f"{name} {array.shape}", _numbers(array), ""]
    for name, answer in answers.items():
        if answer.status != "ok":
            lines += [f"{name}: {answer.status}: {answer.reason}", ""]
    ok = {name: answer for name, answer in answers.items() if answer.status == "ok"}
    moves = [f"{kind} {name}" for kind in ("tangent", "product")
             for name in getattr(ok["manual"], f"{kind}s")]  # fmt: skip
    for tensor in ("loss", *ok["manual"].gradients, *moves):
        lines.append(tensor if tensor in ("loss", *moves) else f"∂L/∂{tensor}")
        for name, answer in ok.items():
            value = tensor_of(answer, tensor)
            if value is not None:
                heads, rows = [name, *[""] * value.size], _numbers(np.asarray(value)).splitlines()
                lines += [f"  {head:13} {row}" for head, row in zip(heads, rows, strict=False)]
        lines.append("")
    lines.append(
        "Largest distance from the hand-written answer, relative to the largest number of its "
        "tensor (and in ULP)"
    )
    for name, answer in ok.items():
        if name == "manual":
            continue
        distances = compare(ok["manual"], answer)
        worst = max(distances, key=lambda d: d.scaled)
        lines.append(f"  {name:13} {worst.scaled:.1e} ({worst.ulp:.0f} ULP) on {worst.tensor}")
    return "\n".join(
        [*lines, "", f"Verdict: {judgement.verdict}. {_sentence(one, answers, judgement)}".rstrip()]
    )


def show_data(
    one: AnyDrawn, answers: Mapping[str, Answer], judgement: Judgement
) -> dict[str, object]:
    """Return the same as plain data, every float in its shortest exact spelling."""
    return {
        "at": one.at,
        "cell": one.cell._asdict(),
        "network": describe(one.problem),
        "arrays": {name: spelled(array) for name, array in arrays_of(one.problem).items()},
        "answers": {
            name: {
                "status": answer.status,
                "reason": answer.reason,
                "loss": None if answer.loss is None else spelled(np.asarray(answer.loss)),
                "gradients": {k: spelled(np.asarray(g)) for k, g in answer.gradients.items()},
            }
            for name, answer in answers.items()
        },
        "verdict": judgement.verdict,
        "sentence": _sentence(one, answers, judgement),
    }


def _sentence(one: AnyDrawn, answers: Mapping[str, Answer], judgement: Judgement) -> str:
    return gather(one.problem, answers, judgement).sentence


def describe(problem: AnyProblem) -> str:
    """Return the structure in one line: 4-8-3 relu, tanh, mse (mean), batch 5, float64."""
    if isinstance(problem, GraphProblem):
        steps = (_step(step.operation, step.inputs, step.options) for step in problem.graph.steps)
        return f"{'; '.join(steps)}; {problem.dtype}"
    network = problem.network
    activations = ", ".join(
        _with_parameters(layer.activation, layer.parameters) for layer in network.layers
    )
    loss = _with_parameters(network.loss, network.loss_parameters)
    widths = "-".join(str(width) for width in network.widths)
    return (
        f"{widths}, {activations}; {loss}, reduction {network.reduction}; "
        f"batch {problem.batch}, {problem.dtype}"
    )


def _step(operation: str, inputs: Mapping[str, str], options: Mapping[str, object]) -> str:
    given = [f"{k}={v}" for k, v in (*inputs.items(), *options.items())]
    return f"{operation}({', '.join(given)})"


def _with_parameters(name: str, parameters: Mapping[str, float]) -> str:
    inside = ", ".join(f"{k}={v:g}" for k, v in parameters.items())
    return f"{name}({inside})" if inside else name


def _numbers(array: Array) -> str:
    return np.array2string(
        array, max_line_width=100, precision=_PRECISION.get(array.dtype, 17), floatmode="unique"
    )
