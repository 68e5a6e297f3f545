"""Writes one operation, with the numbers of its second-order verdict, as one script.

See `repro`: the script needs NumPy and PyTorch or JAX, and nothing of this project.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from manual_backprop.network import forward, losses_cotangent
from manual_backprop.operation import Operation
from reference.evidence import Evidence
from reference.formats import Array
from reference.oracles import Answer
from reference.oracles.counterparts import Framework
from reference.problems import DirectedGraph, DirectedProblem
from reference.repro import (
    HEAD,
    LARGEST,
    STACKED,
    TORCH_NAMES,
    Arrays,
    array_text,
    arrays_text,
    call_text,
    collect_own,
    loss_text,
    step_call,
)

FRAMEWORKS: tuple[Framework, ...] = ("torch", "jax")

_SECOND = """

def torch_reverse():
    x = {{n: torch.tensor(a, requires_grad=True) for n, a in X.items()}}
    dy, tdy = torch.tensor(DY), torch.tensor(TDY)

    def pull(cotangent):
        total = (torch_value(TorchNamespace(), x, C) * cotangent).sum()
        found = torch.autograd.grad(total, list(x.values()), create_graph=True, allow_unused=True)
        return {{n: x[n] * 0 if g is None else g for n, g in zip(x, found)}}

    moved = sum((g * torch.tensor(TX[n])).sum() for n, g in pull(dy).items())
    second = torch.zeros_like(x[WHICH])
    if moved.requires_grad:
        found = torch.autograd.grad(moved, x[WHICH], allow_unused=True)[0]
        second = second if found is None else found
    return second, pull(tdy)[WHICH]


def torch_forward():
    x, tx = ({{n: torch.tensor(a) for n, a in part.items()}} for part in (X, TX))
    pull = lambda dy: torch.func.grad(
        lambda x: (torch_value(TorchNamespace(), x, C) * torch.tensor(dy)).sum())
    return torch.func.jvp(pull(DY), (x,), (tx,))[1][WHICH], pull(TDY)(x)[WHICH]


def torch_nested():
    x, tx = ({{n: torch.tensor(a) for n, a in part.items()}} for part in (X, TX))
    total = lambda dy: lambda x: (torch_value(TorchNamespace(), x, C) * torch.tensor(dy)).sum()
    along = lambda x: torch.func.jvp(total(DY), (x,), (tx,))[1]
    return torch.func.jacfwd(along)(x)[WHICH], torch.func.jacfwd(total(TDY))(x)[WHICH]


def jax_forward():
    pull = lambda dy: jax.grad(lambda x: (jax_value(jnp, x, C) * dy).sum())
    x, tx = ({{n: jnp.asarray(a) for n, a in part.items()}} for part in (X, TX))
    return jax.jvp(pull(DY), (x,), (tx,))[1][WHICH], pull(TDY)(x)[WHICH]


def jax_reverse():
    pull = lambda dy: jax.grad(lambda x: (jax_value(jnp, x, C) * dy).sum())
    x = {{n: jnp.asarray(a) for n, a in X.items()}}
    along = lambda x: sum((g * TX[n]).sum() for n, g in pull(DY)(x).items())
    return jax.grad(along)(x)[WHICH], pull(TDY)(x)[WHICH]


WAYS = []
try:
    import torch
except ImportError:
    print("torch is not installed")
else:
    C = {{name: torch.tensor(a) for name, a in ARRAYS.items()}}
    ways = (torch_reverse, torch_forward, torch_nested)
    WAYS += [("torch " + torch.__version__, way, C) for way in ways]
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    print("jax is not installed")
else:
    jax.config.update("jax_enable_x64", True)
    WAYS += [("jax " + jax.__version__, way, ARRAYS) for way in (jax_forward, jax_reverse)]

print("certified: {low}")
print("{who}, as judged: {given}")
for version, way, C in WAYS:
    try:
        parts = [np.asarray(part.detach() if hasattr(part, "detach") else part) for part in way()]
    except Exception as error:
        print(way.__name__, version, type(error).__name__, str(error).splitlines()[0][:80])
    else:
        print(way.__name__, version, "together", (parts[0] + parts[1])[{entry}],
              "= by what moves", parts[0][{entry}], "+ by its cotangent", parts[1][{entry}])
"""


class _Moved(NamedTuple):
    """One operation at the numbers at which its second order was judged.

    `x` are the arrays that move by `tx`, `which` of them is asked for and at which entry; `others`
    are the arrays beside them, `calls` the operation by the framework.
    """

    operation: Operation
    x: Arrays
    tx: Arrays
    dy: Array
    tdy: Array
    which: str
    entry: tuple[int, ...]
    others: Arrays
    calls: Mapping[Framework, str]


def script_of_second(
    problem: DirectedProblem | DirectedGraph, answer: Answer, evidence: Evidence
) -> str | None:
    """Return the script for one operation at the numbers at which its second order was judged.

    None where the tensor is a sum, or no operation's cotangent.
    """
    if not evidence.tensor.startswith("product ") or evidence.enclosure is None:
        return None
    step = evidence.tensor.removeprefix("product ")
    if isinstance(problem, DirectedGraph):
        moved = _of_graph(problem, answer, step, evidence.entry)
    else:
        moved = _of_chain(problem, answer, step, evidence.entry)
    if moved is None or sum(a.size for a in moved.x.values()) > LARGEST:
        return None
    text = HEAD.format(title=f"{moved.operation.name}: {evidence.sentence}", file="repro.py")
    text += (
        f"\nDY = {array_text(moved.dy)}\nTDY = {array_text(moved.tdy)}\nWHICH = {moved.which!r}\n"
    )
    text += (
        arrays_text("X", moved.x)
        + arrays_text("TX", moved.tx)
        + arrays_text("ARRAYS", moved.others)
    )
    sources: dict[str, str] = {}
    for framework in FRAMEWORKS:
        collect_own(moved.operation, framework, sources)
    text += "".join("\n\n" + source for source in sources.values()) + f"{TORCH_NAMES}\n\n{STACKED}"
    for framework, call in moved.calls.items():
        text += f"\n\ndef {framework}_value(xp, v, c):\n    return {call}\n"
    return text + _SECOND.format(
        low=evidence.enclosure.low, who=answer.oracle, entry=moved.entry,
        given=evidence.answers.get(answer.oracle, ""),
    )  # fmt: skip


def _of_graph(
    problem: DirectedGraph, answer: Answer, name: str, entry: tuple[int, ...]
) -> _Moved | None:
    """Return the only step that takes a value, if there is one."""
    uses = [(step, argument) for step in problem.graph.steps
            for argument, given in step.inputs.items() if given == name]  # fmt: skip
    if len(uses) != 1:
        return None
    ((step, which),) = uses
    values, moves = {**problem.arrays, **answer.values}, {**problem.direction, **answer.tangents}
    x = {a: np.asarray(values[n]) for a, n in step.inputs.items() if n in moves}
    others = {a: values[n] for a, n in step.inputs.items() if n not in moves}
    tx = {a: np.asarray(moves[step.inputs[a]]) for a in x}
    operation = step.description
    texts = {a: f'v["{a}"]' if a in x else f'c["{a}"]' for a in step.inputs}
    calls = {f: step_call(operation, f, step.options, texts) for f in FRAMEWORKS}
    dy, tdy = (np.asarray(part[step.name]) for part in (answer.gradients, answer.products))
    return _Moved(operation, x, tx, dy, tdy, which, entry, others, calls)


def _of_chain(
    problem: DirectedProblem, answer: Answer, step: str, entry: tuple[int, ...]
) -> _Moved | None:
    """Return the activation or the loss that a cotangent of a chain comes from."""
    network, last = problem.network, f"layers.{len(problem.network.layers) - 1}.a"
    n, j = entry if len(entry) == 2 else (0, 0)
    is_loss = step == last
    if not is_loss and not step.endswith(".z"):
        return None
    layer = network.layers[int(step.split(".")[1])]
    operation: Operation = network.loss_operation if is_loss else layer.operation
    whole = not network.loss_operation.elementwise if is_loss else layer.operation.rowwise
    at = (slice(n, n + 1), slice(None) if whole else slice(j, j + 1))
    others: dict[str, Array] = {}
    if is_loss:
        with np.errstate(all="ignore"):
            losses = np.asarray(losses_cotangent(problem, forward(problem).losses))
        dy = np.array(losses[at[: losses.ndim]], problem.dtype)
        t = problem.targets
        others = {"targets": t[at[: t.ndim]]}
        others |= {k: v[at] if v.ndim == 2 else v for k, v in problem.arrays.items()}
        tdy = np.zeros_like(dy)
    else:
        a = step[:-1] + "a"
        dy, tdy = answer.gradients[a][at], answer.products[a][at]
    calls = {
        f: loss_text(problem, f, 'v["x"]')
        if is_loss
        else call_text(operation, f, ['v["x"]'], dict(layer.parameters))
        for f in FRAMEWORKS
    }
    x, tx = {"x": answer.values[step][at]}, {"x": answer.tangents[step][at]}
    return _Moved(operation, x, tx, dy, tdy, "x", (0, j if whole else 0), others, calls)
