"""Many dense networks through one compiled JAX program, each padded to one size.

Widths and batch are padded with zeros, and the depth with layers that pass their input on. A scan
goes through the layers, a switch chooses the activation and the loss, and a loop goes through the
block of networks. Padding changes only the speed, not the numbers, for these reasons:

- Everything in the padding is an exact zero, forward and backward: a mask after each
  pre-activation and each activation ensures this (otherwise 0 · ∞ in the padding would give NaN).
- Operations on whole rows (softmax, cross-entropy) have a branch for each width, which cuts the
  row to that width and applies JAX's own function to it.
- Nothing is vectorised over networks: `vmap` computes all branches of a switch and selects one,
  and a branch that is not selected can still give NaN. So a network's bits depend only on it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem
from manual_backprop.operation import ByName, FloatArray, Loss, Operation
from reference.drawing.builder import LARGE_ROWS
from reference.oracles import jax_cache
from reference.oracles.counterparts import resolve
from reference.oracles.jax_derivatives import PARTS, Derivative, LossResult, Tree
from reference.problems import DirectedProblem

INPUTS = ("x", "weight", "bias")


Branch = Callable[[Any, Tree], jax.Array]
Switch = Callable[[jax.Array, Any, Tree], jax.Array]
"""switch(k, x, rest) returns branches[k](x, rest)."""


class Size(NamedTuple):
    """How large a problem may be: layers, units in a layer, samples; and networks in a block.

    Each of `row_widths` has a branch in every operation on rows; rows of other widths do not fit.
    """

    depth: int
    width: int
    batch: int
    block: int
    row_widths: tuple[int, ...]


SIZES = (
    Size(depth=4, width=8, batch=8, block=64, row_widths=tuple(range(1, 9))),
    Size(depth=12, width=64, batch=8, block=8, row_widths=(*range(1, 6), *LARGE_ROWS)),
    Size(depth=4, width=32, batch=32, block=16, row_widths=(*range(1, 11), 12, 16, 20, 24, 32)),
)
"""In the order in which they are tried; each is compiled when a problem needs it.

The first is for most problems. The second is for those that are drawn large: their rows have the
widths `LARGE_ROWS` (9, 10, 12), but at special inputs (the regime special) 1 to 5. The third is for
other networks, for example those of a test or of a user."""

_PASS_ON = 0  # the activation branch of the layers that pad the depth


class PaddedProgram:
    """The compiled program of one dtype and size.

    `derivative` is a function of `jax_derivatives`; `switch_order` says how many times it
    differentiates in reverse mode.
    """

    def __init__(
        self, dtype: np.dtype, size: Size, derivative: Derivative, switch_order: int
    ) -> None:
        self.dtype, self.size, self._derivative = dtype, size, derivative
        self._switch_order = switch_order
        self._activations: dict[tuple[str, int | None], int] = {}
        self._losses: dict[tuple[str, bool, int | None], int] = {}
        self._parameters = max(
            [1, *(len(op.parameters) for table in (ACTIVATIONS, LOSSES) for op in table.values())]
        )
        self._arrays = {
            name: extent for op in LOSSES.values() for name, extent in op.arrays.items()
        }
        branches = self._activation_branches(), self._loss_branches()
        activate, apply_loss = (switch_of(some, switch_order) for some in branches)
        self._over_block = jax.jit(
            _over_block(self._answer(_loss_function(size, activate, apply_loss)))
        )
        self._compiled: Callable[[Tree, int], Tree] | None = None

    def _answer(self, of_data: Callable[[Tree, Tree], LossResult]) -> Callable[[Tree, Tree], Tree]:
        """Return f(probes, data) -> the arrays of one answer, which `_unpacked` reads."""

        def answer(probes: Tree, data: Tree) -> Tree:
            def loss(inputs: Tree, probes: Tree, taps: Tree) -> LossResult:
                tapped = {f"tap.{name}": value for name, value in taps.items()}
                return of_data({**inputs, **probes}, {**data, **tapped})

            inputs = {name: data[name] for name in INPUTS}
            moves = {n: data[f"direction.{n}"] for n in INPUTS if f"direction.{n}" in data}
            total, losses, *parts = self._derivative(loss, inputs, probes, moves)
            named = {f"{part}.{n}": v for part, of_part in zip(PARTS, parts, strict=False)
                     for n, v in of_part.items()}  # fmt: skip
            return {"total": total, "losses": losses, **named}

        return answer

    def holds(self, problem: Problem) -> bool:
        """Say whether the problem fits: its size, its row-wise widths, its operations."""
        network, size = problem.network, self.size
        return (
            len(network.layers) <= size.depth
            and max(network.widths) <= size.width
            and problem.batch <= size.batch
            and all(
                _activation_key(layer.activation, layer.width) in self._activations
                for layer in network.layers
            )
            and _loss_key(problem) in self._losses
        )

    def run(
        self, problems: Sequence[Problem], divisors: Sequence[np.floating]
    ) -> list[tuple[FloatArray, Tree]]:
        """Return, for each problem of at most a block, its loss and, by name, its other numbers."""
        block = self._packed(problems, divisors)
        if self._compiled is None:
            # Tracing takes as long as a block, and is not kept: only the compilation holds a lock.
            lowered = self._over_block.lower(block, 0)
            order = self._switch_order
            with jax_cache.persistent(f"lock-{self.dtype}-{self.size.width}-{order}"):
                self._compiled = lowered.compile()
        found: Tree = jax.device_get(self._compiled(block, len(problems)))
        return [_unpacked(problem, k, found) for k, problem in enumerate(problems)]

    # -- the branches -------------------------------------------------------------------------

    def _activation_branches(self) -> list[Branch]:
        branches: list[Branch] = [lambda z, _: z]
        for name, operation in ACTIVATIONS.items():
            function = resolve(operation, "jax")
            for width in self.size.row_widths if operation.rowwise else (None,):
                self._activations[name, width] = len(branches)
                branches.append(_activation_branch(operation, function, width))
        return branches

    def _loss_branches(self) -> list[Branch]:
        branches: list[Branch] = []
        for name, operation in LOSSES.items():
            function = resolve(operation, "jax")
            for labels in sorted({kind == "labels" for kind in operation.targets}):
                whole_rows = not operation.elementwise or labels
                for width in self.size.row_widths if whole_rows else (None,):
                    self._losses[name, labels, width] = len(branches)
                    branches.append(_loss_branch(operation, function, labels, width))
        return branches

    # -- in and out ---------------------------------------------------------------------------

    def _packed(self, problems: Sequence[Problem], divisors: Sequence[np.floating]) -> Tree:
        """Lay a block of problems into arrays of the program's shapes."""
        block = self._empty()
        if isinstance(problems[0], DirectedProblem):
            block |= {f"direction.{name}": np.zeros_like(block[name]) for name in INPUTS}
        for k, problem in enumerate(problems):
            network, batch = problem.network, problem.batch
            widths = network.widths
            outputs = widths[-1]
            block["batch"][k], block["outputs"][k] = batch, outputs
            block["width"][k] = outputs  # the layers that pass on are as wide as the last
            _pack_inputs(block, "", k, problem, {"x": problem.x, **problem.parameters})
            if isinstance(problem, DirectedProblem):
                _pack_inputs(block, "direction.", k, problem, problem.direction)
            for i, layer in enumerate(network.layers):
                block["width"][k, i] = layer.width
                block["branch"][k, i] = self._activations[
                    _activation_key(layer.activation, layer.width)
                ]
                for j, parameter in enumerate(layer.parameters.values()):
                    block["parameters"][k, i, j] = parameter
            block["loss"][k] = self._losses[_loss_key(problem)]
            for j, parameter in enumerate(network.loss_parameters.values()):
                block["loss_parameters"][k, j] = parameter
            block["columns"][k] = outputs if network.loss_operation.elementwise else 1
            if problem.targets.ndim == 1:
                block["labels"][k, :batch] = problem.targets
            else:
                block["targets"][k, :batch, :outputs] = problem.targets
            block["weights"][k, :batch] = 1 if problem.weights is None else problem.weights
            block["divisor"][k] = divisors[k]
            for name, value in problem.arrays.items():
                where = (k, *(slice(n) for n in value.shape))
                block[f"array.{name}"][where] = value
        return block

    def _empty(self) -> Tree:
        depth, width, batch, block, _ = self.size
        kinds: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
            "batch": ((), np.int32),
            "outputs": ((), np.int32),
            "x": ((batch, width), self.dtype),
            "weight": ((depth, width, width), self.dtype),
            "bias": ((depth, width), self.dtype),
            "width": ((depth,), np.int32),
            "branch": ((depth,), np.int32),
            "parameters": ((depth, self._parameters), self.dtype),
            "loss": ((), np.int32),
            "loss_parameters": ((self._parameters,), self.dtype),
            "columns": ((), np.int32),
            "labels": ((batch,), np.int64),
            "targets": ((batch, width), self.dtype),
            "weights": ((batch,), self.dtype),
            "divisor": ((), self.dtype),
        }
        empty = {name: np.zeros((block, *shape), dtype) for name, (shape, dtype) in kinds.items()}
        for name, extent in self._arrays.items():
            # Class weights that are left out are ones: to multiply by 1 is exact.
            shape = (width,) if extent == "classes" else (batch, width)
            empty[f"array.{name}"] = np.ones((block, *shape), self.dtype)
        return empty


@lru_cache(maxsize=32)
def padded_program(
    dtype: np.dtype,
    size: Size,
    derivative: Derivative,
    switch_order: int,
    operations: tuple[int, ...],
) -> PaddedProgram:
    """Return a program, kept for all oracles of the process, because tracing it takes seconds.

    `operations` is used only as part of the cache's key: it has the identities of the operations
    from `jax_grad.registered`. If one is registered again, another program is made. The cached
    program keeps the old operations alive, so that no new one gets an old identity.
    """
    return PaddedProgram(dtype, size, derivative, switch_order)


def _pack_inputs(block: Tree, prefix: str, k: int, problem: Problem, given: ByName) -> None:
    """Copy x and the parameters, or their tangents, into the k-th place of a block."""
    widths = problem.network.widths
    block[f"{prefix}x"][k, : problem.batch, : widths[0]] = given["x"]
    for i, layer in enumerate(problem.network.layers):
        weight = given[f"layers.{i}.weight"]
        block[f"{prefix}weight"][k, i, : widths[i], : layer.width] = weight
        if layer.bias:
            block[f"{prefix}bias"][k, i, : layer.width] = given[f"layers.{i}.bias"]


def _activation_key(name: str, width: int) -> tuple[str, int | None]:
    return name, width if ACTIVATIONS[name].rowwise else None


def _loss_key(problem: Problem) -> tuple[str, bool, int | None]:
    operation, labels = problem.network.loss_operation, problem.targets.ndim == 1
    whole_rows = not operation.elementwise or labels
    width = problem.network.widths[-1] if whole_rows else None
    return operation.name, labels, width


def _activation_branch(
    operation: Operation, function: Callable[..., jax.Array], width: int | None
) -> Branch:
    def branch(z: jax.Array, rest: Tree) -> jax.Array:
        keywords = _keywords(operation, rest["parameters"])
        return _wide(function(z[:, :width], **keywords), z.shape)

    return branch


def _loss_branch(
    operation: Loss, function: Callable[..., jax.Array], labels: bool, width: int | None
) -> Branch:
    def branch(y: jax.Array, rest: Tree) -> jax.Array:
        targets = rest["labels"] if labels else rest["targets"][:, :width]
        keywords = _keywords(operation, rest["parameters"])
        keywords |= {name: rest[f"array.{name}"][..., :width] for name in operation.arrays}
        losses = function(y[:, :width], targets, **keywords)
        return _wide(losses if losses.ndim == 2 else losses[:, None], y.shape)

    return branch


def _keywords(operation: Operation, values: jax.Array) -> Tree:
    """Return the parameters by name, as integers if all their choices are integers."""
    keywords = {}
    for j, (name, parameter) in enumerate(operation.parameters.items()):
        whole = all(isinstance(choice, int) for choice in parameter.choices)
        keywords[name] = values[j].astype(jnp.int64) if whole else values[j]
    return keywords


def _wide(value: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return the value padded to a shape with columns of zeros."""
    missing = shape[1] - value.shape[1]
    return jnp.pad(value, ((0, 0), (0, missing))) if missing else value


# -- the program ------------------------------------------------------------------------------


def switch_of(branches: list[Branch], order: int = 1) -> Switch:
    """Return switch(k, x, rest) = branches[k](x, rest), differentiable by x.

    The formula: its vjp is pullbacks[k]((x, dy), rest), where pullbacks[k] is JAX's vjp of
    branches[k]. So it is JAX's own derivative, but with one switch for it.

    The reason: JAX's derivative of a plain `lax.switch` stores what the vjp of every branch would
    need, about a hundred arrays for each layer.

    `order` is how many times reverse mode is applied. At order 2 the switch over the pullbacks gets
    its own such rule. At order 1 it stays a plain `lax.switch`, so that forward mode, which cannot
    differentiate a function with a custom vjp, can be applied to it.
    """

    def pullback(branch: Branch) -> Branch:
        return lambda given, rest: jax.vjp(lambda x: branch(x, rest), given[0])[1](given[1])[0]

    pullbacks = [pullback(branch) for branch in branches]

    def plain(index: jax.Array, given: object, rest: Tree) -> jax.Array:
        found: jax.Array = lax.switch(index, pullbacks, given, rest)
        return found

    pull = switch_of(pullbacks, order - 1) if order > 1 else plain

    @jax.custom_vjp
    def switch(index: jax.Array, x: jax.Array, rest: Tree) -> jax.Array:
        found: jax.Array = lax.switch(index, branches, x, rest)
        return found

    def forward(
        index: jax.Array, x: jax.Array, rest: Tree
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Tree]]:
        value = switch(index, x, rest) if order > 1 else lax.switch(index, branches, x, rest)
        return value, (index, x, rest)

    def backward(
        saved: tuple[jax.Array, jax.Array, Tree], dy: jax.Array
    ) -> tuple[None, jax.Array, None]:
        index, x, rest = saved
        return None, pull(index, (x, dy), rest), None

    switch.defvjp(forward, backward)
    return switch


@jax.custom_vjp
def tap(value: jax.Array, added: jax.Array) -> jax.Array:
    """Return the value unchanged. Going backward, its cotangent dy becomes dy + added.

    `added` is an array of zeros that exists only to be differentiated by. The gradient of the loss
    depends on it linearly, by the transposed Jacobian, as on dy. So ∂⟨gradient, direction⟩/∂added
    is the tangent of the value.
    """
    return value


tap.defvjp(lambda value, added: (value, added), lambda added, dy: (dy + added, None))


def _loss_function(
    size: Size, activate: Switch, apply_loss: Switch
) -> Callable[[Tree, Tree], LossResult]:
    """Return f(inputs and probes, data) -> (Σ w L / divisor, (w L, every z and a)), padded.

    The probes are zeros added to each z and a. The derivatives with respect to them are the
    cotangents of z and a.
    """
    dense = resolve(LAYERS["dense"], "jax")
    rows, columns = jnp.arange(size.batch)[:, None], jnp.arange(size.width)[None, :]

    def function(differentiated: Tree, data: Tree) -> LossResult:
        def walk(a: jax.Array, layer: Tree) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            real = (rows < data["batch"]) & (columns < layer["width"])
            z = jnp.where(layer["branch"] == _PASS_ON, a, dense(a, layer["weight"], layer["bias"]))
            z = jnp.where(real, z, 0) + layer["probe.z"]
            z = tap(z, layer["tap.z"]) if "tap.z" in layer else z
            a = activate(layer["branch"], z, {"parameters": layer["parameters"]})
            a = jnp.where(real, a, 0) + layer["probe.a"]
            a = tap(a, layer["tap.a"]) if "tap.a" in layer else a
            return a, (z, a)

        layers = {name: differentiated[name] for name in ("weight", "bias")}
        layers |= {f"probe.{name}": differentiated[name] for name in "za"}
        layers |= {name: data[name] for name in ("tap.z", "tap.a") if name in data}
        layers |= {name: data[name] for name in ("width", "branch", "parameters")}
        prediction, (z, a) = lax.scan(walk, differentiated["x"], layers)
        rest = {name: v for name, v in data.items() if name.startswith("array.")}
        rest |= {"parameters": data["loss_parameters"]}
        rest |= {name: data[name] for name in ("labels", "targets")}
        losses = apply_loss(data["loss"], prediction, rest)
        real = (rows < data["batch"]) & (columns < data["columns"])
        weighted = jnp.where(real, losses, 0) * data["weights"][:, None]
        # The losses are divided too, so that a wrong divisor is seen also without a reduction.
        return weighted.sum() / data["divisor"], (weighted / data["divisor"], {"z": z, "a": a})

    return function


def _over_block(one: Callable[[Tree, Tree], Tree]) -> Callable[[Tree, int], Tree]:
    """Return f(block, count), which answers the first `count` networks in one loop."""

    def answer(block: Tree, k: jax.Array) -> Tree:
        data = {n: lax.dynamic_index_in_dim(v, k, keepdims=False) for n, v in block.items()}
        steps = (data["weight"].shape[0], *data["x"].shape)
        return one({name: jnp.zeros(steps, data["x"].dtype) for name in "za"}, data)

    def over_block(block: Tree, count: int) -> Tree:
        shapes = jax.eval_shape(answer, block, 0)
        length = len(block["batch"])
        found = {n: jnp.zeros((length, *s.shape), s.dtype) for n, s in shapes.items()}

        def body(k: jax.Array, found: Tree) -> Tree:
            return {
                n: lax.dynamic_update_index_in_dim(found[n], v, k, 0)
                for n, v in answer(block, k).items()
            }

        walked: Tree = lax.fori_loop(0, count, body, found)
        return walked

    return over_block


def _unpacked(
    problem: Problem, k: int, found: Mapping[str, np.ndarray]
) -> tuple[FloatArray, dict[str, Tree]]:
    """Return one problem's answer without the padding: its loss, and {part: {name: array}}."""
    network, batch = problem.network, problem.batch
    widths = network.widths
    loss = found["total"][k].copy()
    if network.reduction == "none":
        columns = slice(widths[-1]) if network.loss_operation.elementwise else 0
        loss = found["losses"][k, :batch, columns].copy()
    answer: dict[str, Tree] = {}
    for key, array in found.items():
        if key in ("total", "losses"):
            continue
        group, _, name = key.partition(".")
        of_group = answer.setdefault(group, {})
        if name == "x":
            of_group["x"] = array[k, :batch, : widths[0]].copy()
            continue
        for i, layer in enumerate(network.layers):
            out = layer.width
            match name:
                case "weight":
                    of_group[f"layers.{i}.weight"] = array[k, i, : widths[i], :out].copy()
                case "bias" if layer.bias:
                    of_group[f"layers.{i}.bias"] = array[k, i, :out].copy()
                case "z" | "a":
                    of_group[f"layers.{i}.{name}"] = array[k, i, :batch, :out].copy()
    return loss, answer
