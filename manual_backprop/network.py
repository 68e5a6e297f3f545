"""Networks, problems, and the two walks: forward from x to the loss, backward from the loss to x.

A step is named as PyTorch names parameters: `layers.0.z` is the first pre-activation,
`layers.0.a` its activation, `layers.0.weight` and `layers.0.bias` the parameters of this layer.
Shapes: x (N, D_in), z and a (N, D_out). `forward` and `backward` also accept a stack of batches,
with one more axis before N; `check_problem` does not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np

from manual_backprop import graph as graphs
from manual_backprop.activations import ACTIVATIONS
from manual_backprop.graph import Arrays, Graph, Step
from manual_backprop.losses import LOSSES
from manual_backprop.operation import (
    Activation,
    ByName,
    FloatArray,
    Form,
    InvalidInput,
    Loss,
    Operation,
)

Reduction = Literal["none", "sum", "mean", "batch_mean"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


@dataclass(frozen=True)
class Layer:
    """A dense layer of `width` units, its activation and that activation's parameters.

    It is not one of the operations in `manual_backprop.layers`, which are steps of a `Graph`.
    """

    width: int
    activation: str = "identity"
    parameters: Mapping[str, float] = field(default_factory=dict)
    bias: bool = True

    def __post_init__(self) -> None:
        if type(self.width) is not int or self.width < 1:
            object.__setattr__(self, "width", _width("width", self.width))
        if type(self.bias) is not bool:
            raise InvalidInput(f"bias={self.bias!r}: expected True or False")
        complete = _complete("parameters", ACTIVATIONS[self.activation], self.parameters)
        object.__setattr__(self, "parameters", complete)

    @property
    def operation(self) -> Activation:
        """The activation's record."""
        return ACTIVATIONS[self.activation]


@dataclass(frozen=True)
class Network:
    """Dense layers one after another and a loss with its parameters and reduction."""

    input_width: int
    layers: tuple[Layer, ...]
    loss: str
    loss_parameters: Mapping[str, float] = field(default_factory=dict)
    reduction: Reduction = "mean"
    _graphs: dict[tuple[str, ...], Graph] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if type(self.input_width) is not int or self.input_width < 1:
            object.__setattr__(self, "input_width", _width("input_width", self.input_width))
        if type(self.layers) is not tuple:
            object.__setattr__(self, "layers", _tuple(self.layers))
        if not self.layers:
            raise InvalidInput("layers=(): a network has at least one layer")
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise InvalidInput(f"layers={self.layers!r}: {layer!r} is not a Layer")
        if self.reduction not in REDUCTIONS:
            raise InvalidInput(f"reduction={self.reduction!r}: expected one of {REDUCTIONS}")
        complete = _complete("loss_parameters", LOSSES[self.loss], self.loss_parameters)
        object.__setattr__(self, "loss_parameters", complete)
        object.__setattr__(self, "_graphs", {})

    @property
    def loss_operation(self) -> Loss:
        """The loss's record."""
        return LOSSES[self.loss]

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """The width of the input and of every layer: (4, 8, 3) for a 4-8-3 network."""
        return (self.input_width, *(layer.width for layer in self.layers))

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every parameter, in order."""
        return dict(self._parameter_shapes)

    @cached_property
    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (layer, d_in) in enumerate(zip(self.layers, self.widths, strict=False)):
            shapes[f"layers.{i}.weight"] = (d_in, layer.width)
            if layer.bias:
                shapes[f"layers.{i}.bias"] = (layer.width,)
        return shapes

    def graph(self, arrays: tuple[str, ...] = ()) -> Graph:
        """Return the network as a graph; `arrays` are the loss's array arguments that are given."""
        if arrays not in self._graphs:
            self._graphs[arrays] = Graph(tuple(self._steps(arrays)), (LOSSES_STEP,))
        return self._graphs[arrays]

    def _steps(self, arrays: tuple[str, ...]) -> Iterator[Step]:
        a = "x"
        for i, layer in enumerate(self.layers):
            name = f"layers.{i}"
            inputs = {"x": a, "weight": f"{name}.weight"}
            if layer.bias:
                inputs["bias"] = f"{name}.bias"
            yield Step(f"{name}.z", "dense", inputs)
            a = f"{name}.a"
            yield Step(a, layer.activation, {"x": f"{name}.z"}, layer.parameters)
        inputs = {"y": a, "t": "targets", **{name: name for name in arrays}}
        yield Step(LOSSES_STEP, self.loss, inputs, self.loss_parameters)

    def step_names(self) -> list[str]:
        """Return the names of the intermediate steps in forward order."""
        return [f"layers.{i}.{step}" for i in range(len(self.layers)) for step in "za"]


@dataclass(frozen=True)
class Problem:
    """Everything a gradient depends on: network, parameters, input, targets, sample weights.

    `weights` are sample weights: the loss of sample n is multiplied by weights[n]. With them the
    cotangents of the losses differ from sample to sample, so that mistakes in the batch axis become
    visible. `arrays` has the loss's array arguments.
    """

    network: Network
    parameters: Mapping[str, FloatArray]
    x: FloatArray
    targets: np.ndarray
    weights: FloatArray | None = None
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The floating type that everything is computed in."""
        return self.x.dtype

    @property
    def batch(self) -> int:
        """N, the number of samples."""
        return int(self.x.shape[-2])

    def loss_arguments(self) -> ByName:
        """Return the loss's parameters and array arguments together."""
        return {**self.network.loss_parameters, **self.arrays}


@dataclass(frozen=True)
class Trace:
    """What the forward walk computed: every step, the losses before reduction, and the loss."""

    steps: dict[str, FloatArray]
    losses: FloatArray
    loss: FloatArray
    form: Form = "stable"


LOSSES_STEP = "losses"
"""The last step of a network's graph: the losses before reduction."""


def forward(problem: Problem, form: Form = "stable") -> Trace:
    """Compute the loss from x, and keep the values that `backward` needs.

    `backward` uses the same form of the formulas.
    The walk does not check its input, which may be complex or traced; `check_problem` does. Input
    that it would refuse gives wrong numbers here, or an error from NumPy.
    """
    values = graphs.forward(*network_graph(problem), form)
    losses = values.pop(LOSSES_STEP)
    return Trace(values, losses, reduce_losses(problem, losses), form)


def backward(problem: Problem, trace: Trace) -> dict[str, FloatArray]:
    """Walk from the loss to x; return the cotangent of every step, parameter and of x.

    The chain rule at each layer, with δ for the cotangent of a step's value:
    δa from the next layer (or the loss), δz = δa · f'(z), then dW = aᵀ δz, db = 1ᵀ δz and
    δa of the previous layer = δz Wᵀ.

    It takes the trace that `forward` returned for the same problem. Like `forward`, it does not
    check its input; `check_problem` does.
    """
    cotangents = graphs.backward(
        *network_graph(problem),
        {**trace.steps, LOSSES_STEP: trace.losses},
        {LOSSES_STEP: losses_cotangent(problem, trace.losses)},
        trace.form,
    )
    del cotangents[LOSSES_STEP]
    return cotangents


def network_graph(problem: Problem) -> tuple[Graph, Arrays]:
    """Return the network as a graph, and the arrays it takes; a missing array is an error."""
    shapes = problem.network.parameter_shapes()
    parameters = problem.parameters
    if missing := [name for name in shapes if name not in parameters]:
        raise _missing("parameters", missing[0], shapes[missing[0]])
    given = {name: parameters[name] for name in shapes}
    arrays = {"x": problem.x, "targets": problem.targets, **given, **problem.arrays}
    return problem.network.graph(tuple(problem.arrays)), arrays


def reduce_losses(problem: Problem, losses: FloatArray) -> FloatArray:
    """Return the weighted losses, reduced: Σ w L / divisor, or w L itself for reduction "none"."""
    weighted = losses
    if problem.weights is not None:
        weighted = losses * _per_sample(problem, problem.weights)
    if problem.network.reduction == "none":
        return weighted
    if problem.network.loss_operation.elementwise:
        weighted = weighted.reshape((*weighted.shape[:-2], -1))
    # A product with a row of ones sums, several times faster than sum.
    total = weighted @ np.ones(weighted.shape[-1], problem.dtype)
    return cast(FloatArray, total / loss_divisor(problem, losses, total.dtype))


def losses_cotangent(problem: Problem, losses: FloatArray) -> FloatArray:
    """Return ∂(Σ w L / divisor)/∂L in the shape of L; for "none" the cotangent of w L is ones."""
    dtype = problem.dtype
    scale = dtype.type(1) / loss_divisor(problem, losses, dtype)
    if problem.weights is None:
        return np.broadcast_to(scale, losses.shape)
    return np.broadcast_to(_per_sample(problem, problem.weights * scale), losses.shape)


def _per_sample(problem: Problem, weights: FloatArray) -> FloatArray:
    return weights[:, None] if problem.network.loss_operation.elementwise else weights


def loss_divisor(problem: Problem, losses: FloatArray, dtype: np.dtype) -> Any:
    """Return the divisor of the sum of the losses, in the problem's own arithmetic."""
    match problem.network.reduction:
        case "mean":
            operation = problem.network.loss_operation
            # In a stack of batches (a leading axis) the terms of one batch are counted.
            first = losses[(0,) * (losses.ndim - (2 if operation.elementwise else 1))]
            count = operation.count(first, problem.targets, **problem.loss_arguments())
            # A count that depends on data (labels, weights) is an array, so that it can be traced.
            return count.astype(dtype) if hasattr(count, "astype") else dtype.type(count)
        case "batch_mean":
            return dtype.type(problem.batch)
        case _:
            return dtype.type(1)


def _width(name: str, value: object) -> int:
    """Return a width as a Python integer; NumPy integers are accepted, too."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{name}={value!r}: expected an integer of at least 1")
    return int(value)


def _tuple(layers: object) -> tuple[object, ...]:
    if not isinstance(layers, tuple | list):
        raise InvalidInput(f"layers={layers!r}: expected a tuple of Layer")
    return tuple(layers)


def _complete(argument: str, operation: Operation, given: Mapping[str, float]) -> dict[str, float]:
    """Return the defaults, replaced by the given parameters; an unknown or invalid one is an error.

    They are Python numbers: a NumPy float64 would turn float32 arrays into float64.
    """
    if type(given) is not dict and not isinstance(given, Mapping):
        raise InvalidInput(f"{argument}={given!r}: expected a mapping from names to numbers")
    complete = operation.defaults()
    if not given:
        return complete
    for name, value in given.items():
        if name not in complete:
            known = ", ".join(operation.parameters) or "none"
            raise InvalidInput(f"{operation.name} has no parameter {name!r}; it has: {known}")
        parameter = operation.parameters[name]
        number = value if type(value) is float or type(value) is int else _number(value)
        if number is None or not parameter.admits(number):
            raise InvalidInput(f"{operation.name}: {name}={value!r}, expected {parameter.expected}")
        complete[name] = number
    return complete


def _number(value: object) -> float | None:
    """Return a number as a Python int or float; None if it is not a real number."""
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    return None


def check_problem(problem: Problem) -> None:
    """Raise InvalidInput, naming the argument, unless the problem can be computed.

    Arrays must be plain NumPy arrays of finite numbers, all in the dtype of x, float32 or float64,
    and of the network's shapes; every parameter of the network must be there and no other.

    Labels may be of any integer dtype, signed or not, in shape (N,); each is a class, 0 to C - 1,
    or the loss's `ignore_index`. All of them may be ignored: their mean is then 0/0. Other targets
    are checked as arrays of shape (N, C), but not for their values: the caller must make sure that
    a row of soft labels sums to 1, or that a count is whole.
    """
    _check_type("problem", problem, Problem, "a Problem")
    network = problem.network
    _check_type("network", network, Network, "a Network")
    _check_type("parameters", problem.parameters, Mapping, "a mapping from names to arrays")
    _check_type("arrays", problem.arrays, Mapping, "a mapping from names to arrays")
    x = _check_array("x", problem.x, problem.x.dtype if hasattr(problem.x, "dtype") else None)
    if x.ndim != 2 or x.shape[1] != network.input_width:
        raise InvalidInput(f"x: shape {x.shape}, expected (N, {network.input_width})")
    if len(x) == 0:
        raise InvalidInput("x: an empty batch (0 samples), expected at least 1")
    shapes = network.parameter_shapes()
    for name, shape in shapes.items():
        if name not in problem.parameters:
            raise _missing("parameters", name, shape)
    for name, value in problem.parameters.items():
        if name not in shapes:
            raise InvalidInput(f"parameters: {name!r} is not of this network ({', '.join(shapes)})")
        _check_shape(name, _check_array(name, value, x.dtype), shapes[name])
    if problem.weights is not None:
        _check_shape("weights", _check_array("weights", problem.weights, x.dtype), (len(x),))
    operation = network.loss_operation
    for name, value in problem.arrays.items():
        if name not in operation.arrays:
            raise InvalidInput(f"arrays: {name!r} is not an argument of {operation.name}")
        _check_array(name, value, x.dtype)
    for name, extent in operation.arrays.items():
        shape = network.widths[-1:] if extent == "classes" else (len(x), network.widths[-1])
        if name in problem.arrays:
            _check_shape(name, problem.arrays[name], shape)
        elif extent == "entries":  # class weights may be left out
            raise _missing("arrays", name, shape)
    _check_targets(problem)


def _missing(argument: str, name: str, shape: tuple[int, ...]) -> InvalidInput:
    return InvalidInput(f"{argument}: {name!r} is missing, expected shape {shape}")


def _check_type(name: str, value: object, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise InvalidInput(f"{name}: a {type(value).__name__}, expected {expected}")


def _check_plain(name: str, value: object) -> None:
    """Refuse other types than arrays, and subclasses with other rules: masked arrays, np.matrix."""
    if type(value) not in (np.ndarray, np.memmap):
        kind = "a plain NumPy array" if isinstance(value, np.ndarray) else "a NumPy array"
        raise InvalidInput(f"{name}: a {type(value).__name__}, expected {kind}")


def _check_array(name: str, value: FloatArray, dtype: object) -> FloatArray:
    _check_plain(name, value)
    array: FloatArray = value
    if array.dtype not in (np.float32, np.float64):
        raise InvalidInput(f"{name}: dtype {array.dtype}, expected float32 or float64")
    if array.dtype != dtype:
        raise InvalidInput(f"{name}: dtype {array.dtype}, expected {dtype} as x has")
    if not np.isfinite(array).all():
        worst = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InvalidInput(f"{name}: {array[worst]} at {worst}, expected finite numbers")
    return array


def _check_shape(name: str, value: np.ndarray, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise InvalidInput(f"{name}: shape {value.shape}, expected {shape}")


def _check_targets(problem: Problem) -> None:
    network, targets = problem.network, problem.targets
    classes = network.widths[-1]
    kinds = network.loss_operation.targets
    _check_plain("targets", targets)
    # By the kind: timedelta64 is a subclass of np.integer.
    if targets.dtype.kind in "iu":
        if "labels" not in kinds:
            raise InvalidInput(
                f"targets: dtype {targets.dtype}, but {network.loss} takes {' or '.join(kinds)}"
            )
        _check_shape("targets", targets, (problem.batch,))
        outside = (targets < 0) | (targets >= classes)
        if "ignore_index" in network.loss_parameters:
            outside &= targets != network.loss_parameters["ignore_index"]
        if outside.any():
            raise InvalidInput(f"targets: label {targets[outside][0]}, expected 0 to {classes - 1}")
        return
    soft = (problem.batch, classes)
    if "labels" in kinds and (len(kinds) == 1 or targets.ndim < 2 or targets.dtype.kind != "f"):
        other = f" or rows of {problem.dtype} of shape {soft}" if len(kinds) > 1 else ""
        raise InvalidInput(
            f"targets: dtype {targets.dtype}, but {network.loss} takes class indices: "
            f"integers of shape ({problem.batch},){other}"
        )
    _check_array("targets", targets, problem.dtype)
    _check_shape("targets", targets, soft)
