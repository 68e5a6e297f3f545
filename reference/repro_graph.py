"""Writes the operations of a graph that one tensor comes from as one standalone script.

See `repro`: the script needs NumPy and one of PyTorch and JAX, and nothing of this project. The
operations stand at the answer's own numbers, as the judge had them.
"""

from collections.abc import Mapping

import numpy as np

from manual_backprop.graph import GraphProblem, Step
from manual_backprop.operation import LayerOperation, Operation
from reference.evidence import Evidence
from reference.oracles import Answer
from reference.oracles.counterparts import Framework
from reference.repro import GRADIENTS, LARGEST, call_text, collect_own, script, title_of

STACKED = """\
def stacked(xp, y):
    return xp.stack(y) if isinstance(y, tuple) else y
"""


def script_of_graph(problem: GraphProblem, answer: Answer, evidence: Evidence) -> str | None:
    """Return the script for a value, by its operation, or for a cotangent, by all that take it.

    None of the loss, which no operation makes, and of more numbers than a bug report has.
    """
    name = evidence.tensor.removeprefix("forward ")
    forward = name != evidence.tensor
    steps = [s for s in problem.graph.steps
             if (s.name == name if forward else name in s.inputs.values())]  # fmt: skip
    values = {**problem.arrays, **answer.values}
    taken = {n: np.asarray(values[n]) for step in steps for n in step.inputs.values()}
    if not steps or sum(array.size for array in taken.values()) > LARGEST:
        return None
    floats = {n: array for n, array in taken.items() if array.dtype.kind == "f"}
    others = {n: array for n, array in taken.items() if n not in floats}
    given = {"loss": answer.values[name]} if forward else {name: answer.gradients[name]}
    if not forward:
        others |= {_cotangent(step.name): answer.gradients[step.name] for step in steps}
        if name in problem.cotangents:
            others[_cotangent(name)] = problem.cotangents[name]
    sources: dict[str, str] = {}
    losses: dict[Framework, str] = {}
    for framework in GRADIENTS:
        for step in steps:
            collect_own(step.record, framework, sources)
        calls = [_call(step, framework, floats) for step in steps]
        terms = [
            f'({call} * c["{_cotangent(step.name)}"]).sum()'
            for call, step in zip(calls, steps, strict=True)
        ]
        if name in problem.cotangents and not forward:
            terms.append(f'(v["{name}"] * c["{_cotangent(name)}"]).sum()')
        total = calls[0] if forward else "\n            + ".join(terms)
        losses[framework] = f"def {framework}_loss(xp, v, c):\n    return ({total})\n"
    functions = [STACKED, *sources.values()]
    who = f"{answer.oracle}, as judged"
    return script(title_of(evidence), floats, others, given, functions, losses, who)


def _cotangent(step: str) -> str:
    return f"cotangent of {step}"


def _call(step: Step, framework: Framework, floats: Mapping[str, object]) -> str:
    given = {a: f'v["{n}"]' if n in floats else f'c["{n}"]' for a, n in step.inputs.items()}
    return step_call(step.record, framework, step.options, given)


def step_call(
    operation: Operation,
    framework: Framework,
    options: Mapping[str, object],
    given: Mapping[str, str],
) -> str:
    """Return the call of a step of a graph; `given` are the texts of its arrays by argument."""
    if not isinstance(operation, LayerOperation):
        return call_text(operation, framework, [given["x"]], dict(options))
    ordered = [given.get(argument, "None") for argument in operation.arguments]
    keywords = {**operation.options, **options}
    if getattr(operation, f"with_{framework}") is None:
        return call_text(operation, framework, ordered, keywords)
    counterpart = operation.counterpart(framework)
    spelled = [f"{k}={v!r}" for k, v in {**keywords, **counterpart.keywords}.items()]
    call = ", ".join([counterpart.name, *ordered, *spelled])
    return f"stacked(xp, {operation.name}_with_{framework}({call}))"
