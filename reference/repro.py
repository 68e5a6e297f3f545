"""Writes a problem as one standalone script: the numbers, the forward, and every answer.

The script needs NumPy and PyTorch or JAX, and nothing of this project, so that it can be pasted
into a bug report.
"""

import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem, forward
from manual_backprop.operation import Operation
from reference.evidence import Evidence
from reference.oracles import Answer
from reference.oracles.counterparts import Framework
from reference.problems import computed_in

Arrays = Mapping[str, npt.NDArray[Any]]
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


def script_of(
    problem: Problem,
    given: Arrays,
    title: str,
    *,
    kind: str = "network",
    who: str = "yours",
    file: str = "repro.py",
) -> str:
    """Return the script for one problem and an answer to it."""
    variables = {"x": problem.x, **problem.parameters}
    constants: dict[str, npt.NDArray[Any]] = {}
    weights = np.ones(problem.batch, problem.dtype) if problem.weights is None else problem.weights
    operations: list[Operation] = [layer.operation for layer in problem.network.layers]
    if kind in ("activation", "dense"):
        constants["cotangent"] = -problem.targets * weights[:, None]
        if kind == "activation":
            variables = {"x": problem.x}
    else:
        operations.append(problem.network.loss_operation)
        constants |= {"targets": problem.targets, "weights": weights, **problem.arrays}
        if kind == "loss":
            variables = {"x": problem.x}
    renamed = _renamed(given, kind)
    plain = title.replace(chr(92), "/").replace('"' * 3, "'''")
    text = HEAD.format(title=plain, file=file)
    text += arrays_text("VARIABLES", variables) + arrays_text("CONSTANTS", constants)
    text += arrays_text("GIVEN", renamed)
    sources: dict[str, str] = {}
    for operation in operations:
        for framework in ("torch", "jax"):
            if operation.counterpart(framework).composed and operation.composition is not None:
                collect_sources(operation.composition, operation.name + "_composed", sources)
    text += "".join("\n\n" + s for s in sources.values())
    for framework, gradients in GRADIENTS.items():
        text += "\n\n" + _loss_function(problem, kind, framework) + gradients
    return text + TAIL.format(who=who)


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


def _renamed(given: Arrays, kind: str) -> dict[str, npt.NDArray[Any]]:
    """Return what was given under the script's names; steps inside are left out."""
    if kind in ("activation", "loss"):
        first = {"activation": "layers.0.z", "loss": "layers.0.a"}[kind]
        return {"x": given[first]} if first in given else {}
    return {k: v for k, v in given.items() if not k.endswith((".z", ".a"))}


def _loss_function(problem: Problem, kind: str, framework: Framework) -> str:
    lines = [f"def {framework}_loss(xp, v, c):", '    a = v["x"]']
    for i, layer in enumerate(problem.network.layers):
        if kind in ("network", "dense"):
            product = f'a @ v["layers.{i}.weight"]'
            lines.append(f"    z = {product}" + (f' + v["layers.{i}.bias"]' if layer.bias else ""))
        elif kind == "activation":
            lines.append("    z = a")
        else:
            continue
        call = call_text(layer.operation, framework, ["z"], dict(layer.parameters))
        lines.append(f"    a = {call}")
    if kind in ("activation", "dense"):
        return "\n".join([*lines, '    return (a * c["cotangent"]).sum()']) + "\n"
    operation = problem.network.loss_operation
    extra: dict[str, Any] = dict(problem.network.loss_parameters)
    if framework == "torch" and not operation.torch.composed:
        extra["reduction"] = "none"
    call = call_text(operation, framework, ["a", 'c["targets"]'], extra, tuple(problem.arrays))
    weights = 'c["weights"][:, None]' if operation.elementwise else 'c["weights"]'
    lines += [f"    losses = {call}", f"    losses = losses * {weights}"]
    match problem.network.reduction:
        case "none":
            lines.append("    return losses")
        case "sum":
            lines.append("    return losses.sum()")
        case reduction:
            with np.errstate(all="ignore"):
                ours = forward(computed_in(problem)).losses
            count: Any = problem.batch
            if reduction == "mean":
                count = operation.count(ours, problem.targets, **problem.loss_arguments())
            lines.append(f"    return losses.sum() / {float(count)!r}")
    return "\n".join(lines) + "\n"


def call_text(
    operation: Operation,
    framework: Framework,
    positional: list[str],
    keywords: dict[str, Any],
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


def collect_sources(function: Callable[..., Any], name: str, sources: dict[str, str]) -> None:
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


def array_text(value: npt.NDArray[Any]) -> str:
    """Return an array as code, every number exactly."""
    text = np.array2string(
        value, separator=", ", threshold=value.size + 1, max_line_width=100,
        formatter={"float_kind": lambda x: _number(float(x))},
    )  # fmt: skip
    return f'np.array({text}, dtype="{value.dtype}")'


def _number(value: float) -> str:
    return repr(value) if np.isfinite(value) else f'float("{value}")'
