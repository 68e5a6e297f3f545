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
from reference.arithmetic.tape import Tape
from reference.blocks.tapes import activation_tape, loss_tape, pattern_of
from reference.formats import Array
from reference.oracles.counterparts import resolve
from reference.oracles.jax_x64 import double_precision

COTANGENT = (1.0, -0.5, 2.0, 0.25)
"""The cotangents of a row's outputs. With equal cotangents the slopes of a softmax would be 0."""
DIRECTION = (0.5, 2.0, -1.0, 0.75)
"""The tangents of a row's inputs, at order 2."""

IMPLEMENTATIONS = ("manual", "torch", "jax")
_NEGLIGIBLE = exact(1) / 2**1100
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
    return [_decided(batch, *place, limits) for place in _places(batch)]


def prove_second(batch: Batch, points: Sequence[Point]) -> list[Point]:
    """Return the points with the certified derivatives of their slopes."""
    return [
        replace(point, seconds=_seconds(batch, *place))
        for place, point in zip(_places(batch), points, strict=True)
    ]


def _places(batch: Batch) -> list[tuple[int, int | None]]:
    """Return row and entry of each point; the entry is None if a point is a row."""
    entries = [None] if batch.by_row else range(batch.x.shape[-1])
    return [(n, j) for n in range(len(batch.x)) for j in entries]


def _seconds(batch: Batch, n: int, j: int | None) -> list[Ball]:
    x = _own(batch, n, j)
    tape, rest = _tape(batch, n, j, 2)
    made = tape.evaluate_with_arb([*map(exact, x), *rest], _NEGLIGIBLE)
    inputs = len(x)
    outputs = len(made.values) // (1 + inputs)  # the slopes stand behind them
    dy = np.resize(COTANGENT, outputs) if outputs > 1 else [1.0]
    tx = [1.0] if j is not None else np.resize(DIRECTION, inputs)
    pairs = [exact(float(d) * float(v)) for d in dy for v in tx]
    with precision(_MAX_BITS):
        return _weighted(pairs, made.slopes[outputs:])


def _own(batch: Batch, n: int, j: int | None) -> list[float]:
    """Return the entry, or the row, of a point."""
    row: list[float] = batch.x[n].tolist()
    return row if j is None else [row[j]]


def _tape(batch: Batch, n: int, j: int | None, order: int) -> tuple[Tape, list[Ball]]:
    """Return the tape of a point, and its inputs besides x: a loss's targets and arrays."""
    operation, at = batch.operation, slice(None) if j is None else slice(j, j + 1)
    width = batch.x.shape[-1] if j is None else None
    if isinstance(operation, Activation):
        return activation_tape(operation, batch.arguments, width, order), []
    assert batch.targets is not None
    t = batch.targets[n]
    labels = np.ndim(t) == 0
    row = [] if labels else t[at].tolist()
    bends = j is not None and "real" in operation.targets
    key = int(t) if labels else (None,) if bends else pattern_of(row)
    free = [] if labels else [v for v, k in zip(row, key, strict=True) if k is None]  # type: ignore[arg-type]
    arrays = [np.broadcast_to(a, batch.x.shape)[n, at] for a in batch.arrays.values()]
    tape = loss_tape(operation, batch.arguments, width, key, tuple(batch.arrays), order)
    return tape, [exact(v) for v in (*free, *(v for a in arrays for v in a.tolist()))]


def _decided(batch: Batch, n: int, j: int | None, limits: bool) -> Point:
    """Evaluate one point, at a precision that decides it."""
    x = _own(batch, n, j)
    if not all(np.isfinite(x)):
        return _limit(batch, x, n, j) if limits else _undefined(batch, x)
    tape, rest = _tape(batch, n, j, 1)
    made = tape.evaluate_with_arb([*map(exact, x), *rest], _NEGLIGIBLE)
    with precision(_MAX_BITS):
        slopes = _weighted(_cotangents(len(made.values)), made.slopes)
    beside = [] if batch.targets is None or batch.targets.dtype.kind in "iu" else [batch.targets[n]]
    beside += [np.broadcast_to(array, batch.x.shape)[n] for array in batch.arrays.values()]
    largest = max(float(np.abs(part).max()) for part in (x, *beside))
    return Point(made.values, slopes, largest)


def _cotangents(outputs: int) -> list[Ball]:
    return [exact(float(w)) for w in np.resize(COTANGENT, outputs)] if outputs > 1 else [exact(1)]


def _weighted(weights: Sequence[Ball], rows: Sequence[Sequence[Ball]]) -> list[Ball]:
    """Return Σ weight · slope for each input."""
    weighted = list(zip(weights, rows, strict=True))
    return [sum((w * row[k] for w, row in weighted), exact(0)) for k in range(len(rows[0]))]


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
    tape, rest = _tape(batch, n, j, 1)
    with precision(4096):
        first, second = (tape.balls([*row, *rest]) for row in (near, far))
        values = [_limit_of(first[k], second[k]) for k in tape.values]
        slopes = [
            _weighted(_cotangents(len(values)), [[balls[k] for k in row] for row in tape.slopes])
            for balls in (first, second)
        ]
        return Point(values, [_limit_of(p, q) for p, q in zip(*slopes, strict=True)], 1.0)


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
