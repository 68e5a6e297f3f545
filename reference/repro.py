"""Writes a problem as one standalone script: the numbers, the forward, and every answer.

The script needs NumPy and PyTorch or JAX, and nothing of this project, so that it can be pasted
into a bug report. Of a graph it has only the operations that one tensor comes from, at the answer's
own numbers, as the judge had them.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from manual_backprop.graph import GraphProblem, Step
from manual_backprop.network import Problem, forward, loss_divisor
from manual_backprop.operation import LayerOperation, Operation
from reference.evidence import Evidence
from reference.formats import Array
from reference.oracles import Answer
from reference.oracles.counterparts import Framework
from reference.problems import computed_in

Arrays = Mapping[str, Array]
LARGEST = 300  # numbers in a problem; a script with more is not a bug report

HEAD = '''\
"""{title}

Needs numpy, and torch or jax. Run it: python {file}
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

np.set_printoptions(precision=17, floatmode="maxprec", linewidth=100)
'''

TORCH_NAMES = '''

class TorchNamespace:
    """torch under the names of NumPy."""

    def __getattr__(self, name):
        return getattr(torch, name)

    def max(self, x, axis, keepdims=False):
        return torch.amax(x, axis, keepdims)

    def min(self, x, axis, keepdims=False):
        return torch.amin(x, axis, keepdims)

    def maximum(self, x, y):
        return torch.maximum(torch.as_tensor(x, dtype=y.dtype if torch.is_tensor(y) else x.dtype),
                             torch.as_tensor(y, dtype=x.dtype if torch.is_tensor(x) else y.dtype))

    def asarray(self, x, dtype=None, **_):
        return torch.as_tensor(x, dtype=dtype)

    def astype(self, x, dtype):
        return x.to(dtype)

    def permute_dims(self, x, axes):
        return torch.permute(x, axes)
'''

_TORCH = (
    TORCH_NAMES
    + """

def torch_gradients():
    xp = TorchNamespace()
    v = {name: torch.tensor(a, requires_grad=True) for name, a in VARIABLES.items()}
    c = {name: torch.tensor(a) for name, a in CONSTANTS.items()}
    loss = torch_loss(xp, v, c)
    loss.sum().backward()
    none = {name: np.zeros(t.shape) for name, t in v.items() if t.grad is None}
    found = {name: t.grad.numpy() for name, t in v.items() if name not in none}
    return {"loss": loss.detach().numpy(), **none, **found}
"""
)

_JAX = """

def jax_gradients():
    c = {name: jnp.asarray(a) for name, a in CONSTANTS.items()}
    v = {name: jnp.asarray(a) for name, a in VARIABLES.items()}
    loss = jax_loss(jnp, v, c)
    found = jax.grad(lambda v: jax_loss(jnp, v, c).sum())(v)
    return {"loss": np.asarray(loss), **{name: np.asarray(g) for name, g in found.items()}}
"""

GRADIENTS: Mapping[Framework, str] = {"torch": _TORCH, "jax": _JAX}
"""The function that asks each framework, for a loss function of its own."""

TAIL = """

ANSWERS = {{"{who}": GIVEN}}
try:
    import torch
except ImportError:
    print("torch is not installed")
else:
    ANSWERS["torch " + torch.__version__] = torch_gradients()
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    print("jax is not installed")
else:
    jax.config.update("jax_enable_x64", True)
    ANSWERS["jax " + jax.__version__] = jax_gradients()

for name in GIVEN:
    print(name)
    for who, answer in ANSWERS.items():
        if name in answer:
            print(f"  {{who:24}}", np.array2string(np.asarray(answer[name]), prefix=" " * 27))
    others = [np.asarray(a[name]) for who, a in ANSWERS.items() if who != "{who}" and name in a]
    if others:
        given = np.asarray(GIVEN[name])
        same = given.shape == others[0].shape
        largest = np.max(np.abs(given - others[0])) if same else math.inf
        print(f"  {{'largest difference':24}}", largest)
"""


def script(
    title: str,
    variables: Arrays,
    constants: Arrays,
    given: Arrays,
    sources: Iterable[str],
    losses: Mapping[Framework, str],
    who: str,
) -> str:
    """Return a script that asks each framework for the gradients of its loss function.

    `sources` are functions that the losses call; `given` is the answer of `who`.
    """
    text = HEAD.format(title=title.replace(chr(92), "/").replace('"' * 3, "'''"), file="repro.py")
    text += arrays_text("VARIABLES", variables) + arrays_text("CONSTANTS", constants)
    text += arrays_text("GIVEN", given)
    text += "".join(f"\n\n{source}" for source in sources)
    for framework, gradients in GRADIENTS.items():
        text += f"\n\n{losses[framework]}{gradients}"
    return text + TAIL.format(who=who)


def script_of(problem: Problem, given: Arrays, title: str, *, who: str = "yours") -> str:
    """Return the script for one network and an answer to it."""
    weights = np.ones(problem.batch, problem.dtype) if problem.weights is None else problem.weights
    network, sources = problem.network, dict[str, str]()
    for operation in (*(layer.operation for layer in network.layers), network.loss_operation):
        for framework in GRADIENTS:
            collect_own(operation, framework, sources)
    return script(
        title,
        {"x": problem.x, **problem.parameters},
        {"targets": problem.targets, "weights": weights, **problem.arrays},
        {name: array for name, array in given.items() if not name.endswith((".z", ".a"))},
        sources.values(),
        {framework: _loss_function(problem, framework) for framework in GRADIENTS},
        who,
    )


def script_of_deviation(problem: Problem, answer: Answer, evidence: Evidence) -> str | None:
    """Return the script for an answer that deviates: fit for a bug report to a framework."""
    if sum(a.size for a in (problem.x, *problem.parameters.values())) > LARGEST:
        return None
    given = dict(answer.gradients)
    if evidence.tensor == "loss" and answer.loss is not None:
        given = {"loss": answer.loss}
    elif evidence.tensor in given and not evidence.tensor.endswith((".z", ".a")):
        given = {evidence.tensor: given[evidence.tensor]}
    return script_of(problem, given, title_of(evidence), who=f"{answer.oracle}, as judged")


def title_of(evidence: Evidence) -> str:
    """Return what a script of a deviation says first."""
    title = evidence.sentence
    if evidence.enclosure is not None:
        entry = list(evidence.entry)
        title += (
            f"\n\nCertified, at its own inputs: {evidence.tensor}{entry if entry else ''} "
            "lies between\n"
            f"{evidence.enclosure.low} and\n{evidence.enclosure.high}."
        )
    return title


def _loss_function(problem: Problem, framework: Framework) -> str:
    lines = [f"def {framework}_loss(xp, v, c):", '    a = v["x"]']
    for i, layer in enumerate(problem.network.layers):
        bias = f' + v["layers.{i}.bias"]' if layer.bias else ""
        call = call_text(layer.operation, framework, ["z"], dict(layer.parameters))
        lines += [f'    z = a @ v["layers.{i}.weight"]{bias}', f"    a = {call}"]
    elementwise = problem.network.loss_operation.elementwise
    weights = 'c["weights"][:, None]' if elementwise else 'c["weights"]'
    lines.append(f"    losses = {loss_text(problem, framework, 'a')}")
    lines.append(f"    losses = losses * {weights}")
    match problem.network.reduction:
        case "none":
            lines.append("    return losses")
        case "sum":
            lines.append("    return losses.sum()")
        case _:
            inside = computed_in(problem)
            with np.errstate(all="ignore"):
                ours = forward(inside).losses
            count = loss_divisor(inside, ours, np.dtype(float))
            lines.append(f"    return losses.sum() / {float(count)!r}")
    return "\n".join(lines) + "\n"


def loss_text(problem: Problem, framework: Framework, prediction: str) -> str:
    """Return the call of a network's loss, before its reduction, as code."""
    network, operation = problem.network, problem.network.loss_operation
    extra: dict[str, object] = dict(network.loss_parameters)
    if framework == "torch" and not operation.torch.composed:
        extra["reduction"] = "none"
    return call_text(
        operation, framework, [prediction, 'c["targets"]'], extra, tuple(problem.arrays)
    )


def call_text(
    operation: Operation,
    framework: Framework,
    positional: list[str],
    keywords: dict[str, object],
    arrays: tuple[str, ...] = (),
) -> str:
    """Return the call of a framework's counterpart as code."""
    counterpart = operation.counterpart(framework)
    spelled = {k: repr(v) for k, v in keywords.items()} | {k: f'c["{k}"]' for k in arrays}
    if counterpart.composed:
        name, positional = f"{operation.name}_composed", ["xp", *positional]
    else:
        name = counterpart.name
        spelled = {counterpart.renamed.get(k, k): v for k, v in spelled.items()}
        spelled |= {k: repr(v) for k, v in counterpart.keywords.items()}
    return f"{name}({', '.join([*positional, *(f'{k}={v}' for k, v in spelled.items())])})"


def collect_own(operation: Operation, framework: Framework, sources: dict[str, str]) -> None:
    """Collect the sources of what the framework lacks, or takes in another way."""
    if operation.counterpart(framework).composed and operation.composition is not None:
        collect_sources(operation.composition, f"{operation.name}_composed", sources)
    adapted = getattr(operation, f"with_{framework}", None)
    if adapted is not None:
        collect_sources(adapted, f"{operation.name}_with_{framework}", sources)


def collect_sources(function: Callable[..., object], name: str, sources: dict[str, str]) -> None:
    """Collect a function's source, and that of what it uses of its own package."""
    if name in sources:
        return
    source = textwrap.dedent(inspect.getsource(function)).replace("@staticmethod\n", "")
    used = function.__code__.co_names
    for other in used:
        value = function.__globals__.get(other)
        if inspect.isfunction(value):
            collect_sources(value, other, sources)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            sources.setdefault(other, f"{other} = {value!r}\n")
    sources[name] = source.replace(f"def {function.__name__}(", f"def {name}(", 1)


def arrays_text(name: str, arrays: Arrays) -> str:
    """Spell arrays as code, every number exactly."""
    entries = [f'    "{k}": {array_text(np.asarray(v))},\n' for k, v in arrays.items()]
    return f"\n{name} = {{\n{''.join(entries)}}}\n"


def array_text(value: Array) -> str:
    """Return an array as code, every number exactly."""
    text = np.array2string(
        value, separator=", ", threshold=value.size + 1, max_line_width=100,
        formatter={"float_kind": lambda x: repr(float(x)) if np.isfinite(x) else f'float("{x}")'},
    )  # fmt: skip
    return f'np.array({text}, dtype="{value.dtype}")'


# -- graphs ----------------------------------------------------------------------------------------

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
            collect_own(step.description, framework, sources)
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


def _call(step: Step, framework: Framework, floats: Mapping[str, Array]) -> str:
    given = {a: f'v["{n}"]' if n in floats else f'c["{n}"]' for a, n in step.inputs.items()}
    return step_call(step.description, framework, step.options, given)


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
