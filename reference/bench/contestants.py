"""Who is timed. Each prepares one training step: loss and the gradient of every parameter.

Everything that a user would do once (tensors, parameters, compiling) is done in the preparation;
the prepared call, which is timed, computes from arrays that stand ready, for all alike.
"""

import importlib.util
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from manual_backprop.fast import compile_step
from manual_backprop.network import Layer, Network, Problem, backward, forward
from manual_backprop.operation import Form, InvalidInput

if TYPE_CHECKING:
    import jax
    import torch

T = TypeVar("T")


class BenchCase(msgspec.Struct, frozen=True):
    """One training step: a classifier's widths, batch, dtype and hidden activation."""

    widths: tuple[int, ...]
    batch: int
    dtype: str = "float64"
    activation: str = "tanh"

    @property
    def shape(self) -> str:
        """The widths as text: 784-256-128-10."""
        return "-".join(map(str, self.widths))


SHAPES: tuple[tuple[tuple[int, ...], int], ...] = (
    ((4, 8, 3), 4),
    ((64, 64, 64, 10), 32),
    ((784, 256, 128, 10), 128),
    ((1024, 1024, 1024, 1024, 10), 256),
)


def problem_of(case: BenchCase) -> Problem:
    """Return the case as a problem with random numbers: cross entropy on labels, mean."""
    rng = np.random.default_rng(0)
    *hidden, classes = case.widths[1:]
    layers = (*(Layer(width, case.activation) for width in hidden), Layer(classes))
    network = Network(case.widths[0], layers, "cross_entropy")
    parameters = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(case.dtype)
        for name, shape in network.parameter_shapes().items()
    }
    x = rng.standard_normal((case.batch, case.widths[0])).astype(case.dtype)
    return Problem(network, parameters, x, rng.integers(0, classes, case.batch))


def floor_of(case: BenchCase) -> Callable[[], None]:
    """Return a function that makes the step's matrix products and nothing else.

    Forward a W; backward aᵀ dz for every layer and dz Wᵀ for all but the first, whose cotangent
    nobody needs in training. Operands lie as they do in the step: the transposed are views.
    """
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(case.dtype)

    steps = [numbers(case.batch, width) for width in case.widths]
    cotangents = [numbers(case.batch, width) for width in case.widths]
    weights = [numbers(*pair) for pair in zip(case.widths, case.widths[1:], strict=False)]
    gradients = [np.empty_like(weight) for weight in weights]
    products = [(a, weight, z) for a, weight, z in zip(steps, weights, steps[1:], strict=False)]
    for i in reversed(range(len(weights))):
        products.append((steps[i].T, cotangents[i + 1], gradients[i]))
        if i:
            products.append((cotangents[i + 1], weights[i].T, cotangents[i]))
    matmul = np.matmul

    def floor() -> None:
        for a, b, out in products:
            matmul(a, b, out=out)

    return floor


LossOf = Callable[[Mapping[str, T], T, T], T]
"""f(parameters, x, targets) -> the loss."""


def torch_loss(problem: Problem) -> LossOf["torch.Tensor"]:
    """Return the loss of addmm, the activation and PyTorch's own loss."""
    import torch

    functional = torch.nn.functional
    hidden = {"tanh": torch.tanh, "relu": torch.relu}[problem.network.layers[0].activation]
    losses: dict[str, Callable[..., torch.Tensor]] = {
        "cross_entropy": functional.cross_entropy,
        "mse": functional.mse_loss,
    }
    depth, of_output = len(problem.network.layers), losses[problem.network.loss]

    def loss(
        parameters: Mapping[str, torch.Tensor], a: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        for i in range(depth):
            a = torch.addmm(parameters[f"layers.{i}.bias"], a, parameters[f"layers.{i}.weight"])
            a = hidden(a) if i < depth - 1 else a
        return of_output(a, targets)

    return loss


def jax_loss(problem: Problem) -> LossOf["jax.Array"]:
    """Return the same in JAX; the targets are an argument, so that XLA folds nothing."""
    import jax

    jnp = jax.numpy
    hidden = {"tanh": jnp.tanh, "relu": jax.nn.relu}[problem.network.layers[0].activation]
    depth, labels = len(problem.network.layers), problem.network.loss == "cross_entropy"

    def loss(parameters: Mapping[str, jax.Array], a: jax.Array, targets: jax.Array) -> jax.Array:
        for i in range(depth):
            a = a @ parameters[f"layers.{i}.weight"] + parameters[f"layers.{i}.bias"]
            a = hidden(a) if i < depth - 1 else a
        if not labels:
            return ((a - targets) ** 2).mean()
        chosen = jnp.take_along_axis(jax.nn.log_softmax(a), targets[:, None], axis=1)
        return -jnp.mean(chosen)

    return loss


# -- the contestants -------------------------------------------------------------------------------

Gradients = dict[str, np.ndarray]
Prepared = tuple[Callable[[], Any], Callable[[Any], Gradients]]
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


def _torch(
    problem: Problem, prepared: Callable[[LossOf["torch.Tensor"]], LossOf["torch.Tensor"]]
) -> Prepared:
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

    def loss(parameters: Mapping[str, np.ndarray]) -> object:
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
