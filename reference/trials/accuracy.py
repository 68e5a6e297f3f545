"""How accurate each implementation of each operation is, against the certified value.

The same points for all: even steps, normal numbers and all magnitudes, inside the operation's
domain. Points on a kink are left out: there is no one slope to be near to.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import Activation, FloatArray, Loss
from reference.arithmetic.balls import Ball
from reference.conventions.pointwise import (
    IMPLEMENTATIONS,
    Batch,
    Point,
    PointAnswers,
    ask,
    prove,
    prove_second,
    takes_rows,
)
from reference.formats import DTYPES, Array
from reference.judge import OUTSIDE_BY_CHANCE, STRICT, allowed_alone
from reports.records import Accuracy

Quantity = Literal["value", "slope", "second"]
QUANTITIES: tuple[Quantity, ...] = ("value", "slope", "second")
_CURVE = np.linspace(-12, 12, 193)


def measure(
    operations: Sequence[Activation | Loss] = (),
    *,
    points: int = 600,
    seed: int = 0,
    curves: bool = True,
    implementations: Sequence[str] = IMPLEMENTATIONS,
    order: int = 1,
) -> list[Accuracy]:
    """Return the accuracy of every operation (or of those given), value and slope, both dtypes.

    At order 2 also what the slope moves by; an implementation that has no such derivative has no
    row.
    """
    chosen = list(operations) or [*ACTIVATIONS.values(), *LOSSES.values()]
    rows: list[Accuracy] = []
    for dtype in DTYPES:
        batches = [batch_of(operation, points, seed, dtype) for operation in chosen]
        plain = [
            Batch(o, _CURVE[:, None].astype(dtype), None, o.defaults())
            for o in chosen
            if curves and dtype == "float64" and isinstance(o, Activation) and not o.rowwise
        ]
        replies = {name: ask(name, [*batches, *plain], order) for name in implementations}
        drawn = {batch.operation.name: (k, prove(batch)) for k, batch in enumerate(plain)}
        for k, batch in enumerate(batches):
            certified = prove(batch) if order == 1 else prove_second(batch, prove(batch))
            for quantity in QUANTITIES[: order + 1]:
                for name in implementations:
                    if quantity == "second" and replies[name][k].seconds is None:
                        continue
                    row = _row(batch, certified, replies[name][k], quantity, dtype, name)
                    if batch.operation.name in drawn and quantity != "second":
                        place, truth = drawn[batch.operation.name]
                        answer = replies[name][len(batches) + place]
                        row = _with_curve(row, plain[place], truth, answer, quantity)
                    rows.append(row)
    return rows


def behind(rows: Sequence[Accuracy]) -> list[str]:
    """Return, in words, where the hand-written side is less accurate than the better framework.

    Less accurate is who has the larger worst error and is outside *strict* at clearly more points.
    Inside it all are right to a few ulp, and which fraction of one is worst is chance; near a zero
    that two terms cancel to nobody is inside, and whose ulps are more there is chance, too.
    """
    groups: dict[tuple[str, str, str], dict[str, Accuracy]] = {}
    for row in rows:
        groups.setdefault((row.operation, row.quantity, row.dtype), {})[row.implementation] = row
    found = []
    for (operation, quantity, dtype), by in groups.items():
        ours, theirs = by["manual"], [by[name] for name in by if name != "manual"]
        if not theirs:  # nobody else has such a derivative
            continue
        better = min(theirs, key=lambda row: row.worst_ulp)
        oftener = _outside(ours) > 2 * _outside(better) + OUTSIDE_BY_CHANCE
        if ours.worst_ulp > better.worst_ulp and oftener:
            found.append(
                f"{operation}, {quantity}, {dtype}: {ours.worst_ulp:.3g} ulp "
                f"at {ours.worst_input}; {better.implementation} {better.worst_ulp:.3g} ulp"
            )
    return found


def _outside(row: Accuracy) -> int:
    """Return at how many points a side is outside *strict*."""
    return round((1 - (row.tight_share or 0.0)) * row.n)


def text(rows: Sequence[Accuracy]) -> str:
    """Return the worst errors as a table."""
    lines = [f"{'operation':28}{'':7}{'dtype':9}" + "".join(f"{n:>11}" for n in IMPLEMENTATIONS)]
    groups: dict[str, dict[str, Accuracy]] = {}
    for row in rows:
        head = f"{row.operation:28}{row.quantity:7}{row.dtype:9}"
        groups.setdefault(head, {})[row.implementation] = row
    for head, by in groups.items():
        errors = (f"{by[n].worst_ulp:.3g}" if n in by else "none" for n in IMPLEMENTATIONS)
        lines.append(head + "".join(f"{error:>11}" for error in errors))
    return "\n".join([*lines, "", "Worst error in ULP against the certified value."])


def batch_of(operation: Activation | Loss, points: int, seed: int, dtype: str) -> Batch:
    """Return points inside the domain of an operation, each exact in float32 as in float64."""
    stream = np.random.default_rng([seed, len(operation.name), *operation.name.encode()])
    width = 4
    rows = max(1, points // width)
    x = _inputs(stream, operation, (rows, width), takes_rows(operation))
    targets = None
    arrays: dict[str, FloatArray] = {}
    if isinstance(operation, Loss):
        targets = _targets(stream, operation, (rows, width))
        if targets.dtype.kind == "f":
            targets = targets.astype(np.float32).astype(dtype)
        for name, extent in operation.arrays.items():
            shape = (width,) if extent == "classes" else (rows, width)
            array = np.exp(stream.standard_normal(shape))
            arrays[name] = array.astype(np.float32).astype(dtype)
    x = x.astype(np.float32).astype(dtype)
    return Batch(operation, x, targets, operation.defaults(), arrays)


def _inputs(
    stream: np.random.Generator, operation: Activation | Loss, shape: tuple[int, int], by_row: bool
) -> npt.NDArray[np.float64]:
    domain = operation.predictions if isinstance(operation, Loss) else "real"
    if domain == "simplex" or (domain == "log_simplex" and by_row):
        logits = stream.standard_normal(shape) * stream.choice((1, 5), (shape[0], 1))
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return np.asarray(p if domain == "simplex" else np.log(p))
    kinds = stream.integers(0, 3, (shape[0], 1) if by_row else shape)
    magnitudes = 10.0 ** stream.uniform(-8, 2, shape) * stream.choice((-1, 1), shape)
    even = stream.uniform(-20, 20, shape)
    x = np.choose(kinds, (magnitudes, even, 2 * stream.standard_normal(shape)))
    if domain == "unit":  # near 0, anywhere, near 1 as far as float32 holds it
        near = 10.0 ** stream.uniform(-30, 0, shape)
        return np.choose(kinds, (near, stream.random(shape), 1 - np.maximum(near, 2.0**-20)))
    return np.asarray(-np.abs(x) if domain == "log_simplex" else x)


def _targets(stream: np.random.Generator, loss: Loss, shape: tuple[int, int]) -> Array:
    match loss.targets[0]:
        case "labels":
            return stream.integers(0, shape[1], shape[0])
        case "unit":
            t = stream.random(shape)
            return np.where(stream.random(shape) < 0.5, np.rint(t), t)
        case "sign":
            return stream.choice((-1.0, 1.0), shape)
        case "count":
            return np.floor(stream.exponential(3, shape))
        case "simplex":
            t = stream.exponential(1, shape)
            return np.asarray(t / t.sum(1, keepdims=True))
        case _:
            return stream.standard_normal(shape)


def _of(one: Point | PointAnswers, quantity: Quantity) -> list[Ball] | FloatArray:
    """Return the numbers of one quantity."""
    found = {"value": one.values, "slope": one.slopes, "second": one.seconds}[quantity]
    assert found is not None
    return found


def _errors(
    batch: Batch, certified: Sequence[Point], reply: PointAnswers, quantity: Quantity, dtype: str
) -> tuple[Array, Array, Array, Array]:
    """Return truth, error, allowed error and whether to count, flat over points."""
    balls = [_of(p, quantity) for p in certified]
    flat = [ball for row in balls for ball in row]
    truth = np.array([float(b.mid()) for b in flat])
    low = np.array([float(b.mid() - float(b.mid())) for b in flat])
    counts = np.array([b.is_finite() and b.rel_accuracy_bits() > 60 for b in flat])
    answers = np.asarray(_of(reply, quantity), np.float64).ravel()
    with np.errstate(all="ignore"):
        error = np.abs((answers - truth) - low)
        error = np.where(np.isfinite(answers), error, np.inf)
    inputs = np.array([p.inputs for p, row in zip(certified, balls, strict=True) for _ in row])
    scale = np.abs(truth)
    if batch.by_row and quantity != "value":
        # A sum over the row: its terms cancel, and its rounding is that of the largest.
        width = len(balls[0])
        scale = np.repeat(scale.reshape(-1, width).max(1), width)
    allowed = allowed_alone(scale, inputs, quantity, dtype, STRICT)
    counts &= scale < float(np.finfo(dtype).max)
    return truth, error, allowed, counts


def _ulps(error: Array, truth: Array, dtype: str) -> Array:
    with np.errstate(all="ignore"):
        spacing: Array = np.spacing(np.abs(truth).astype(dtype)).astype(np.float64)
        return np.asarray(error / spacing)


def _row(
    batch: Batch,
    certified: Sequence[Point],
    reply: PointAnswers,
    quantity: Quantity,
    dtype: str,
    name: str,
) -> Accuracy:
    truth, error, allowed, counts = _errors(batch, certified, reply, quantity, dtype)
    ulps = np.where(counts, _ulps(error, truth, dtype), -1.0)
    worst = int(np.argmax(ulps))
    strict, largest = (error <= allowed)[counts], np.abs(truth[counts]).max()
    note = "inside strict everywhere" if strict.all() else ""
    per_point = len(_of(certified[0], quantity))
    return Accuracy(
        operation=batch.operation.name,
        kind="activation" if isinstance(batch.operation, Activation) else "loss",
        quantity=quantity,
        dtype=dtype,
        implementation=name,
        worst_ulp=round(float(ulps[worst]), 2),
        worst_scaled=float(error[worst] / largest) if error[worst] else 0.0,
        worst_input=_input(batch, worst // per_point),
        tight_share=float(strict.mean()),
        note=note,
        n=int(counts.sum()),
    )


def _input(batch: Batch, point: int) -> str:
    if batch.by_row:
        n, x = point, repr(batch.x[point].tolist())
        t = None if batch.targets is None else batch.targets[n].tolist()
    else:
        n, j = divmod(point, batch.x.shape[1])
        x = repr(float(batch.x[n, j]))
        t = None if batch.targets is None else batch.targets[n, j].item()
    return f"x = {x}" if t is None else f"x = {x}, t = {t!r}"


def _with_curve(
    row: Accuracy, batch: Batch, certified: Sequence[Point], reply: PointAnswers, quantity: Quantity
) -> Accuracy:
    """Return the row with errors along the number line, and the function itself, for a chart."""
    truth, error, _, counts = _errors(batch, certified, reply, quantity, row.dtype)
    ulps = np.where(counts, _ulps(error, truth, row.dtype), 0.0)
    return msgspec.structs.replace(
        row,
        inputs=tuple(batch.x.ravel().tolist()),
        errors=tuple(round(float(u), 3) for u in np.minimum(ulps, 1e16)),
        curve=tuple(float(t) for t in truth),
    )


def lines(rows: Sequence[Accuracy]) -> Iterator[str]:
    """Yield the table and what is behind."""
    yield text(rows)
    found = behind(rows)
    yield ("The hand-written side is never less accurate." if not found else "Behind:")
    yield from found
