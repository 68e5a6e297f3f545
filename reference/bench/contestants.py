"""Who is timed. Each prepares one training step: loss and the gradient of every parameter.

Everything that a user would do once (tensors, parameters, compiling) is done in the preparation;
the prepared call, which is timed, computes from arrays that stand ready, for all alike.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from manual_backprop.fast import compile_step
from manual_backprop.network import Problem, backward, forward
from manual_backprop.operation import ByName, Form, InvalidInput
from reference.bench.cases import BenchCase
from reference.bench.frameworks import LossOf, jax_loss, torch_loss

Gradients = dict[str, np.ndarray]
Prepared = tuple[Callable[[], object], Callable[[Any], Gradients]]
"""The step, and what turns its result into gradients under our names."""


def numpy_plain(problem: Problem, form: Form = "textbook") -> Prepared:
    """Our operations as they are written, each result a new array."""
    return lambda: backward(problem, forward(problem, form)), dict


def numpy_fast(problem: Problem, form: Form = "textbook") -> Prepared:
    """The same operations, replayed into buffers.

    The textbook's formulas, for the others compute these too (1 - tanh², p - [j = t]): like for
    like. The goals are measured on this row.
    """
    step = compile_step(problem, form=form)
    x, targets = step.inputs["x"], step.inputs["targets"]
    return lambda: step(x, targets), lambda found: dict(found[1])


def numpy_plain_stable(problem: Problem) -> Prepared:
    """The stable formulas, which keep the digits where a unit or a class saturates."""
    return numpy_plain(problem, "stable")


def numpy_fast_stable(problem: Problem) -> Prepared:
    """The stable formulas, replayed: what the last digits cost."""
    return numpy_fast(problem, "stable")


def torch_eager(problem: Problem) -> Prepared:
    """PyTorch as it is usually written: addmm, the activation, cross_entropy, autograd.grad."""
    return _torch(problem, lambda loss: loss)


def torch_compile(problem: Problem) -> Prepared:
    """The same through torch.compile; the gradient of a compiled forward is compiled with it."""
    import torch

    return _torch(problem, lambda loss: torch.compile(loss, dynamic=False))


def _torch(problem: Problem, prepared: Callable[[LossOf], LossOf]) -> Prepared:
    import torch

    loss = prepared(torch_loss(problem))
    leaves = {n: torch.tensor(p, requires_grad=True) for n, p in problem.parameters.items()}
    data = torch.tensor(problem.x), torch.tensor(problem.targets)
    return (
        lambda: torch.autograd.grad(loss(leaves, *data), list(leaves.values())),
        lambda found: {n: g.detach().numpy() for n, g in zip(leaves, found, strict=True)},
    )


def jax_jit(problem: Problem) -> Prepared:
    """JAX: jit(value_and_grad), waited for. Its process has JAX_ENABLE_X64 set."""
    import jax

    step = jax.jit(jax.value_and_grad(jax_loss(problem)))
    parameters = {name: jax.numpy.asarray(value) for name, value in problem.parameters.items()}
    x, targets = jax.numpy.asarray(problem.x), jax.numpy.asarray(problem.targets)

    def call() -> object:
        return jax.block_until_ready(step(parameters, x, targets))  # type: ignore[no-untyped-call]

    return call, lambda found: {name: np.asarray(g) for name, g in found[1].items()}


def sklearn_backprop(problem: Problem) -> Prepared:
    """scikit-learn's own hand-written pass, MLPClassifier._backprop."""
    from sklearn.neural_network import MLPClassifier

    network = problem.network
    layers = range(len(network.layers))
    model = MLPClassifier(activation=_hidden(problem), alpha=0.0)
    model.n_layers_, model.n_outputs_ = len(network.widths), network.widths[-1]
    model.out_activation_, model.loss = "softmax", "log_loss"
    model.coefs_ = [problem.parameters[f"layers.{i}.weight"] for i in layers]
    model.intercepts_ = [problem.parameters[f"layers.{i}.bias"] for i in layers]
    targets = np.eye(network.widths[-1], dtype=problem.dtype)[problem.targets]

    def empty() -> list[np.ndarray]:
        return [np.empty((problem.batch, width), problem.dtype) for width in network.widths[1:]]

    activations, deltas = [problem.x, *empty()], empty()
    weights, biases = ([np.empty_like(p) for p in ps] for ps in (model.coefs_, model.intercepts_))

    def call() -> object:
        return model._backprop(problem.x, targets, None, activations, deltas, weights, biases)

    return call, lambda found: {
        f"layers.{i}.{kind}": found[k][i]
        for i in layers
        for k, kind in ((1, "weight"), (2, "bias"))
    }


def hips_autograd(problem: Problem) -> Prepared:
    """HIPS autograd: NumPy, traced again at every call."""
    import autograd.numpy as anp  # type: ignore[import-untyped]
    from autograd import value_and_grad

    depth, rows = len(problem.network.layers), np.arange(problem.batch)
    hidden = {"tanh": anp.tanh, "relu": lambda z: anp.maximum(z, 0.0)}[_hidden(problem)]

    def loss(parameters: ByName) -> object:
        a = problem.x
        for i in range(depth):
            a = anp.dot(a, parameters[f"layers.{i}.weight"]) + parameters[f"layers.{i}.bias"]
            a = hidden(a) if i < depth - 1 else a
        shifted = a - anp.max(a, axis=1, keepdims=True)
        total = anp.log(anp.sum(anp.exp(shifted), axis=1))
        return anp.mean(total - shifted[rows, problem.targets])

    step, parameters = value_and_grad(loss), dict(problem.parameters)
    return lambda: step(parameters), lambda found: dict(found[1])


CONTESTANTS: dict[str, Callable[[Problem], Prepared]] = {
    contestant.__name__: contestant
    for contestant in (
        numpy_plain,
        numpy_fast,
        numpy_plain_stable,
        numpy_fast_stable,
        torch_eager,
        torch_compile,
        jax_jit,
        sklearn_backprop,
        hips_autograd,
    )
}
_MODULES = {
    "torch_eager": "torch",
    "torch_compile": "torch",
    "jax_jit": "jax",
    "sklearn_backprop": "sklearn",
    "hips_autograd": "autograd",
}


def unavailable(name: str) -> str | None:
    """Return why a contestant cannot run here, or None."""
    if name not in CONTESTANTS:
        raise InvalidInput(f"implementation={name!r}: expected one of {', '.join(CONTESTANTS)}")
    module = _MODULES.get(name)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    return None


def form_of(name: str) -> str:
    """Return the form of a contestant's formulas: ours have two, the frameworks' are their own."""
    if not name.startswith("numpy_"):
        return ""
    return "stable" if name.endswith("_stable") else "textbook"


def takes(name: str, case: BenchCase) -> bool:
    """Tell whether a contestant is worth its minutes: torch.compile takes half a minute a case."""
    return name != "torch_compile" or (case.dtype, case.activation) == ("float32", "tanh")


def _hidden(problem: Problem) -> str:
    return problem.network.layers[0].activation
