"""One operation alone, at many points: value and slope by each implementation and by proof.

A batch is rows of inputs. For an elementwise operation every number is a point of its own; for
one on rows, a row is a point, and its slope is the product of the Jacobian with `COTANGENT`. At
order 2 there is also the derivative of the slope: f'', or for rows the one along `DIRECTION`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from manual_backprop.operation import Activation, FloatArray, Loss
from reference.arithmetic.balls import Ball, exact, precision
from reference.arithmetic.point_derivative import PointDerivative, at_number, at_row, constants
from reference.blocks.tapes import activation_tape, loss_tape, pattern_of
from reference.formats import Array
from reference.oracles.counterparts import resolve
from reference.oracles.jax_x64 import double_precision

COTANGENT = (1.0, -0.5, 2.0, 0.25)
"""The cotangents of a row's outputs. With equal cotangents the slopes of a softmax would be 0."""
DIRECTION = (0.5, 2.0, -1.0, 0.75)
"""The tangents of a row's inputs, at order 2."""

IMPLEMENTATIONS = ("manual", "torch", "jax")
_BITS = 256
_MAX_BITS = 2048


def takes_rows(operation: Activation | Loss) -> bool:
    """Say whether an operation works on whole rows, not on each number."""
    return operation.rowwise if isinstance(operation, Activation) else not operation.elementwise


@dataclass(frozen=True)
class Batch:
    """Inputs to one operation: x (n, C), for a loss its targets, and its arguments."""

    operation: Activation | Loss
    x: FloatArray
    targets: Array | None = None
    arguments: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def by_row(self) -> bool:
        """Whether a point is a row."""
        return takes_rows(self.operation)

    def cotangent(self, outputs: FloatArray) -> FloatArray:
        """Return the cotangents of the outputs."""
        if isinstance(self.operation, Activation) and self.operation.rowwise:
            row = np.resize(COTANGENT, outputs.shape[-1])
            return np.broadcast_to(row.astype(outputs.dtype), outputs.shape)
        return np.ones_like(outputs)

    @property
    def direction(self) -> FloatArray:
        """The tangents of the inputs."""
        if not self.by_row:
            return np.ones_like(self.x)
        row = np.resize(DIRECTION, self.x.shape[-1]).astype(self.x.dtype)
        return np.broadcast_to(row, self.x.shape)


@dataclass(frozen=True)
class PointAnswers:
    """Values and slopes. Values have the shape of x, for a loss on rows (n,).

    `seconds` are the derivatives of the slopes, or None if not asked for or not available.
    """

    values: FloatArray
    slopes: FloatArray
    seconds: FloatArray | None = None


def ask(implementation: str, batches: Sequence[Batch], order: int = 1) -> list[PointAnswers]:
    """Return the answers of "manual", "torch" or "jax" to some batches."""
    with np.errstate(all="ignore"):
        if implementation == "jax":
            return _jax(batches, order)
        one = {"manual": _manual, "torch": _torch}[implementation]
        return [one(batch, order) for batch in batches]


def _manual(batch: Batch, order: int) -> PointAnswers:
    operation, given = batch.operation, {**batch.arguments, **batch.arrays}
    seconds: FloatArray | None = None
    if isinstance(operation, Activation):
        y = operation.forward(batch.x, **given)
        dy = batch.cotangent(y)
        if order == 2:
            seconds = operation.second(batch.x, y, dy, batch.direction, **given)
        return PointAnswers(y, operation.backward(batch.x, y, dy, **given), seconds)
    losses = operation.forward(batch.x, batch.targets, **given)
    ones = np.ones_like(losses)
    slopes = operation.backward(batch.x, batch.targets, ones, **given)
    if order == 2:
        seconds = operation.second(batch.x, batch.targets, ones, batch.direction, **given)
    return PointAnswers(losses, np.asarray(slopes), seconds)


def _torch(batch: Batch, order: int) -> PointAnswers:
    import torch

    function = resolve(batch.operation, "torch")
    x = torch.from_numpy(batch.x.copy()).requires_grad_()
    given = {**batch.arguments, **{k: torch.from_numpy(v.copy()) for k, v in batch.arrays.items()}}
    if isinstance(batch.operation, Activation):
        y = function(x, **given)
    else:
        if not batch.operation.torch.composed:
            given["reduction"] = "none"
        assert batch.targets is not None
        y = function(x, torch.from_numpy(batch.targets.copy()), **given)
    values = y.detach().numpy()
    nothing = torch.zeros_like(x)
    if not y.requires_grad:  # a constant function
        return PointAnswers(values, nothing.numpy(), nothing.numpy() if order == 2 else None)
    dy = torch.from_numpy(batch.cotangent(values).copy())
    (slopes,) = torch.autograd.grad(y, x, dy, create_graph=order == 2, allow_unused=True)
    slopes = nothing if slopes is None else slopes
    seconds = nothing if order == 2 else None
    if slopes.requires_grad and order == 2:
        along = torch.from_numpy(batch.direction.copy())
        try:
            (seconds,) = torch.autograd.grad(slopes, x, along, materialize_grads=True)
        except RuntimeError as error:
            if LACKED not in str(error):
                raise
            seconds = None
    return PointAnswers(
        values, slopes.detach().numpy(), None if seconds is None else seconds.numpy(force=True)
    )


LACKED = "is not implemented"
"""In PyTorch's error where it has no derivative of a backward."""


def _jax(batches: Sequence[Batch], order: int) -> list[PointAnswers]:
    """Compile all batches as one program: compiling each alone takes ten times as long."""
    import jax

    def pulled(
        batch: Batch, x: jax.Array, targets: jax.Array, arrays: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, ...]:
        function: Callable[..., jax.Array] = resolve(batch.operation, "jax")

        def of_x(x: jax.Array) -> jax.Array:
            if isinstance(batch.operation, Activation):
                return function(x, **batch.arguments)
            return function(x, targets, **batch.arguments, **arrays)

        def slopes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            y, pull = jax.vjp(of_x, x)
            return pull(batch.cotangent(np.empty(y.shape, y.dtype)))[0], y

        if order == 1:
            return slopes(x)[::-1]
        found, pull, y = jax.vjp(slopes, x, has_aux=True)
        return y, found, pull(batch.direction)[0]

    def everything(
        inputs: Sequence[tuple[jax.Array, jax.Array, dict[str, jax.Array]]],
    ) -> list[tuple[jax.Array, ...]]:
        return [pulled(batch, *given) for batch, given in zip(batches, inputs, strict=True)]

    inputs = [(batch.x, batch.targets, dict(batch.arrays)) for batch in batches]
    with double_precision():
        found = jax.device_get(jax.jit(everything)(inputs))
    return [PointAnswers(*map(np.asarray, parts)) for parts in found]


@dataclass(frozen=True)
class Point:
    """The certified values and slopes at one point, as balls, in the order of the row."""

    values: list[Ball]
    slopes: list[Ball]
    inputs: float  # the largest magnitude of its inputs
    seconds: list[Ball] = field(default_factory=list)


def prove(batch: Batch, *, limits: bool = False) -> list[Point]:
    """Return the certified values and slopes at every point.

    `limits`: at infinite inputs return the limits; otherwise they are undefined there.
    """
    width = batch.x.shape[-1]
    points = []
    for n, row in enumerate(batch.x.tolist()):
        if batch.by_row:
            points.append(_decided(batch, row, n, None, limits))
        else:
            points += [_decided(batch, [row[j]], n, j, limits) for j in range(width)]
    return points


def prove_second(batch: Batch, points: Sequence[Point]) -> list[Point]:
    """Return the points with the certified derivatives of their slopes."""
    entries = [None] if batch.by_row else range(batch.x.shape[-1])
    places = [(n, j) for n in range(len(batch.x)) for j in entries]
    return [
        replace(point, seconds=_seconds(batch, *place))
        for place, point in zip(places, points, strict=True)
    ]


def _seconds(batch: Batch, n: int, j: int | None) -> list[Ball]:
    operation, at = batch.operation, slice(None) if j is None else slice(j, j + 1)
    width = batch.x.shape[-1] if j is None else None
    x = batch.x[n, at].tolist()
    if isinstance(operation, Activation):
        tape, given = activation_tape(operation, batch.arguments, width, 2), x
    else:
        assert batch.targets is not None
        t = batch.targets[n]
        labels = np.ndim(t) == 0
        row = [] if labels else t[at].tolist()
        bends = j is not None and "real" in operation.targets
        key = int(t) if labels else (None,) if bends else pattern_of(row)
        free = [] if labels else [v for v, k in zip(row, key, strict=True) if k is None]  # type: ignore[arg-type]
        arrays = [np.broadcast_to(a, batch.x.shape)[n, at] for a in batch.arrays.values()]
        tape = loss_tape(operation, batch.arguments, width, key, tuple(batch.arrays), 2)
        given = [*x, *free, *(v for a in arrays for v in a.tolist())]
    made = tape.evaluate_with_arb([exact(v) for v in given], exact(1) / 2**1100)
    inputs = len(x)
    outputs = len(made.values) // (1 + inputs)  # the slopes stand behind them
    dy = np.resize(COTANGENT, outputs) if outputs > 1 else [1.0]
    tx = [1.0] if j is not None else np.resize(DIRECTION, inputs)
    pairs = [exact(float(d) * float(v)) for d in dy for v in tx]
    weighted = list(zip(pairs, made.slopes[outputs:], strict=True))
    with precision(_MAX_BITS):
        return [sum((p * row[k] for p, row in weighted), exact(0)) for k in range(inputs)]


def _decided(batch: Batch, x: list[float], n: int, j: int | None, limits: bool) -> Point:
    """Evaluate one point, at a precision that decides it."""
    if not all(np.isfinite(x)):
        return _limit(batch, x, n, j) if limits else _undefined(batch, x)
    bits = _BITS
    while True:
        with precision(bits):
            point = _at(batch, [exact(v) for v in x], n, j)
            thin = all(
                b.rel_accuracy_bits() >= 104 or b.rad() < 2.0**-1100
                for b in (*point.values, *point.slopes)
            )
        # A ball that stays wide at the highest precision is an interval of slopes at a kink.
        if thin or bits >= _MAX_BITS:
            return point
        bits *= 8


def _at(batch: Batch, x: list[Ball], n: int, j: int | None) -> Point:
    operation, arguments = batch.operation, dict(constants(batch.arguments))
    before: tuple[object, ...] = ()
    inputs = [abs(float(b.mid())) for b in x]
    if isinstance(operation, Loss):
        assert batch.targets is not None
        labels = np.issubdtype(batch.targets.dtype, np.integer)
        for name, array in batch.arrays.items():
            per_class = operation.arrays[name] == "classes"
            values = array if per_class else array[n]
            arguments[name] = (
                [exact(v) for v in values.tolist()] if j is None else exact(float(values[j]))
            )
            inputs.append(float(np.abs(values).max()))
        t = batch.targets[n].tolist()
        if labels:
            before = (t,)
        else:
            before = ([exact(v) for v in t],) if j is None else (exact(t[j]),)
            inputs.append(float(np.abs(batch.targets[n]).max()))
    found: list[PointDerivative]
    if j is None:
        found = at_row(operation.definition, x, before, arguments)
    else:
        found = [at_number(operation.definition, x[0], before, arguments)]
    values = [local.value for local in found]
    if j is not None:
        return Point(values, [found[0].slope], max(inputs))
    weights = np.resize(COTANGENT, len(found)) if len(found) > 1 else [1.0]
    slopes = []
    for k in range(len(x)):
        terms = [local.slope[k] * float(w) for local, w in zip(found, weights, strict=True)]
        slopes.append(sum(terms[1:], terms[0]))
    return Point(values, slopes, max(inputs))


def _undefined(batch: Batch, x: Sequence[float]) -> Point:
    outputs = len(x) if isinstance(batch.operation, Activation) else 1
    nan = exact(float("nan"))
    return Point([nan] * outputs, [nan] * len(x), float("nan"))


def _limit(batch: Batch, x: list[float], n: int, j: int | None) -> Point:
    """Return the limit where an entry goes to infinity: at 2^1100, then at 2^2200.

    If the two differ, the limit is infinite if the numbers grow, and undefined (nan) otherwise.
    """
    if any(np.isnan(x)) or np.isinf(x).sum() > 1:  # together to infinity: no one limit
        return _undefined(batch, x)
    near, far = (
        [exact(v) if np.isfinite(v) else exact(int(np.sign(v)) * 2**e) for v in x]
        for e in (1100, 2200)
    )
    with precision(4096):
        first, second = _at(batch, near, n, j), _at(batch, far, n, j)
        values = [_limit_of(p, q) for p, q in zip(first.values, second.values, strict=True)]
        slopes = [_limit_of(p, q) for p, q in zip(first.slopes, second.slopes, strict=True)]
    return Point(values, slopes, 1.0)


def _limit_of(first: Ball, second: Ball) -> Ball:
    """Return the limit of a sequence, guessed from two of its terms."""
    if not (first.is_finite() and second.is_finite()):
        return exact(float("nan"))
    vast, negligible = exact(2**1000), exact(1) / 2**1000
    if abs(second) < negligible:
        return exact(0)
    if abs(second) > vast and abs(second) > abs(first):
        return exact(float("inf") if second > 0 else float("-inf"))
    return (
        second
        if abs(first - second) < negligible or first.overlaps(second)
        else exact(float("nan"))
    )
