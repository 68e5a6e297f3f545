"""How accurate the implementations are on a fixed set of inputs, and what they do on kinks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from manual_backprop.spec import Activation, FloatArray, Loss
from reference.judge import CUSTOMARY, allowed_alone
from reference.kinks import kinks, one_sided
from reference.oracles.balls import exact, precision
from reference.oracles.local import at_number, constants
from reference.pointwise import Batch, Point, Said, ask, prove
from reports.book import AccuracyRow, KinkRow

DTYPES = ("float64", "float32")
_POINTS, _ROWS, _CLASSES = 160, 40, 5
_TARGETS: Mapping[str, tuple[float, ...]] = {
    "real": (0.25, -1.5, 2.0, 0.0),
    "unit": (0.0, 0.25, 0.75, 1.0),
    "sign": (-1.0, 1.0),
    "count": (0.0, 1.0, 5.0),
    "simplex": (0.125, 0.5, 0.25, 0.0),
}


def batch(operation: Activation | Loss, dtype: str) -> Batch:
    """Return the fixed inputs of an operation: the same numbers in both dtypes."""
    draw = np.random.default_rng(2026)
    by_row = operation.rowwise if isinstance(operation, Activation) else not operation.elementwise
    if by_row:
        scale = np.resize([0.5, 2.0, 8.0], _ROWS)[:, None]
        x: FloatArray = scale * draw.standard_normal((_ROWS, _CLASSES))
    else:
        near = draw.uniform(-8.0, 8.0, _POINTS // 2)
        far = draw.choice([-1.0, 1.0], _POINTS // 2) * 2.0 ** draw.uniform(-20, 6, _POINTS // 2)
        x = np.concatenate([near, far])[:, None]
    if isinstance(operation, Loss):
        x = _domain(operation.predictions, x)
    x = x.astype(np.float32).astype(dtype)
    arguments = operation.defaults()
    if isinstance(operation, Activation):
        return Batch(operation, x, None, arguments)
    arrays: dict[str, FloatArray] = {}
    for name, extent in operation.arrays.items():
        if extent == "entries":
            values = 2.0 ** draw.uniform(-6, 6, x.shape)
            arrays[name] = values.astype(np.float32).astype(dtype)
    return Batch(operation, x, _target(operation, x, draw), arguments, arrays)


def _domain(domain: str, x: FloatArray) -> FloatArray:
    if domain == "unit":
        return np.asarray(1 / (1 + np.exp(-x)))
    if domain in ("simplex", "log_simplex"):
        x = x - np.log(np.exp(x).sum(axis=-1, keepdims=True)) if x.shape[-1] > 1 else -np.abs(x)
        return x if domain == "log_simplex" else np.asarray(np.exp(x))
    return x


def _target(operation: Loss, x: FloatArray, draw: np.random.Generator) -> Any:
    if operation.elementwise:
        return np.resize(_TARGETS[operation.targets[0]], x.shape).astype(x.dtype)
    if operation.targets[0] == "labels":
        return draw.integers(0, x.shape[-1], len(x))
    if operation.targets[0] == "simplex":
        return np.resize([0.5, 0.125, 0.25, 0.0, 0.125], x.shape).astype(x.dtype)
    return np.round(draw.standard_normal(x.shape), 2).astype(np.float32).astype(x.dtype)


def accuracy(
    operations: Sequence[Activation | Loss], implementations: Sequence[str]
) -> dict[str, tuple[AccuracyRow, ...]]:
    """Return the worst errors of every operation, in units in the last place."""
    found: dict[str, list[AccuracyRow]] = {o.name: [] for o in operations}
    # The inputs are exact in float32, so one proof serves both dtypes.
    proofs = [prove(batch(operation, DTYPES[0])) for operation in operations]
    for dtype in DTYPES:
        batches = [batch(operation, dtype) for operation in operations]
        answers = {name: ask(name, batches) for name in implementations}
        for k, (operation, given) in enumerate(zip(operations, batches, strict=True)):
            points = proofs[k]
            said = {name: answers[name][k] for name in implementations}
            for quantity in ("value", "slope"):
                worst = {
                    name: _worst(given, points, said[name], quantity) for name in implementations
                }
                row = AccuracyRow(quantity, dtype, worst, len(points))
                found[operation.name].append(row)
    return {name: tuple(rows) for name, rows in found.items()}


def _worst(given: Batch, points: Sequence[Point], said: Said, quantity: str) -> tuple[float, str]:
    """Return the largest error and the input where it is."""
    dtype = given.x.dtype
    array = said.values if quantity == "value" else said.slopes
    rows = array.reshape(len(points), -1)
    worst, where = 0.0, ""
    for n, point in enumerate(points):
        truths = point.values if quantity == "value" else point.slopes
        if any(not t.is_finite() or (t.rel_accuracy_bits() < 80 and t.rad() > 0) for t in truths):
            continue  # a kink, or not defined
        units = [_unit(float(t.mid()), dtype) for t in truths]
        if given.by_row and quantity == "slope":
            units = [max(units)] * len(units)  # a sum cancels: the unit is the row's largest
        for value, truth, unit in zip(rows[n].tolist(), truths, units, strict=True):
            error = float(abs(exact(value) - truth.mid()) / unit) if np.isfinite(value) else np.inf
            if error > worst:
                worst, where = error, ", ".join(f"{v:.6g}" for v in given.x[n].tolist())
    return worst, where


def _unit(truth: float, dtype: Any) -> float:
    return float(np.spacing(np.abs(dtype.type(truth))))


def kink_rows(operation: Activation | Loss, implementations: Sequence[str]) -> list[KinkRow]:
    """Return what every implementation answers on the operation's kinks, beside the proof."""
    loss = isinstance(operation, Loss)
    if (isinstance(operation, Activation) and operation.rowwise) or (
        isinstance(operation, Loss) and (not operation.elementwise or operation.arrays)
    ):
        return []
    target = _TARGETS[operation.targets[0]][0] if isinstance(operation, Loss) else 0.0
    parameters = operation.defaults()
    at = kinks(operation.name, tuple(parameters.items()), target)
    if not at:
        return []
    x = np.array(at)[:, None]
    t = np.full_like(x, target) if loss else None
    given = Batch(operation, x, t, parameters)
    said = {name: ask(name, [given])[0] for name in implementations}
    return [_kink_row(operation, n, k, target if loss else None, said) for n, k in enumerate(at)]


def _kink_row(
    operation: Activation | Loss, n: int, at: float, target: float | None,
    said: Mapping[str, Said],
) -> KinkRow:  # fmt: skip
    before = () if target is None else (exact(target),)
    arguments = constants(operation.defaults())
    with precision(192):
        decisions = at_number(operation.definition, exact(at), before, arguments).decisions
        ties = [i for i, d in enumerate(decisions) if d.tie or abs(d.value) < 2.0**-40]
        slopes = [
            local.slope
            for i in ties
            for local in one_sided(operation.definition, exact(at), i, before, arguments)
        ]
        below = at_number(operation.definition, exact(at) - 2.0**-60, before, arguments).slope
        above = at_number(operation.definition, exact(at) + 2.0**-60, before, arguments).slope
    low = min(float(s.lower()) for s in [*slopes, below, above])
    high = max(float(s.upper()) for s in [*slopes, below, above])
    answers = {name: float(one.slopes[n, 0]) for name, one in said.items()}
    ends, inputs = np.array([low, high]), np.array([abs(at), abs(target or 0.0)]).max()
    pad = float(allowed_alone(ends, inputs, "slope", "float64", CUSTOMARY).max())
    where = f"{'y' if target is not None else 'x'} = {at:.6g}"
    return KinkRow(
        where=where if target is None else f"{where}, t = {target:g}",
        left=f"{float(below.mid()):.6g}",
        right=f"{float(above.mid()):.6g}",
        slopes={name: f"{value + 0.0:.6g}" for name, value in answers.items()},
        inside={name: low - pad <= value <= high + pad for name, value in answers.items()},
    )


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the implementations that can be asked here and their versions."""
    from importlib import metadata

    found = {}
    for name in names:
        package = "numpy" if name == "manual" else name
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
