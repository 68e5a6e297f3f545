"""Finds the losses on a tape: those whose slope by a named value the objective has.

The loss, its numbers, its divisor and its sample weights are found by their values.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from manual_backprop.losses import LOSSES
from manual_backprop.operation import Loss
from reference.balls import is_tracked, values
from reference.checks.comparing.losses import matching_targets
from reference.checks.explain.graph import Array
from reference.checks.explain.hypothesis import Spot
from reference.checks.explain.problem import NamedValue, ReadingProblem
from reference.checks.tolerances import DIGITS
from reference.diagnosis.mistakes.catalogue import LossLine

Arguments = Mapping[str, float | np.ndarray]
"""What a loss takes beside its prediction and its target, by name."""


def losses(problem: ReadingProblem) -> Iterator[Spot]:
    """Yield the losses whose slope the objective has by a named value."""
    targets = {
        p: np.asarray(values(v) if is_tracked(v) else v)
        for p, v in {**problem.outcome.others, **problem.outcome.inputs}.items()
        if np.size(v) > 1
    }
    for y in problem.named.values():
        if y.value.ndim not in (1, 2) or (y.places < 0).any() or y.value.size < 2:
            continue
        if y.path[0] in ("hidden", "terms"):
            continue
        truth = _matrix_of_samples(problem.cotangent(y))
        if not np.isfinite(truth).all() or not truth.any():
            continue
        for path, raw in targets.items():
            if path != y.path:
                yield from _losses_of(problem, y, truth, path, raw)


def _matrix_of_samples(x: Array) -> Array:
    return x if x.ndim == 2 else x.reshape(-1, 1)


def _losses_of(
    problem: ReadingProblem, y: NamedValue, truth: Array, path: tuple[str, ...], raw: np.ndarray
) -> Iterator[Spot]:
    fits = [*matching_targets(y.value, raw), *_broadcast(raw, y.shape)]
    if not fits:
        return
    prediction, target = _matrix_of_samples(y.value), _matrix_of_samples(np.asarray(fits[0], float))
    whole = np.issubdtype(raw.dtype, np.integer) and raw.shape == prediction.shape[:1]
    for loss in LOSSES.values():
        labels = whole and "labels" in loss.targets
        t = raw if labels else target
        own = _by_class(loss, prediction, raw, truth) if labels else ()
        for arguments in (*_arguments(loss, problem, prediction.shape[-1] * labels), *own):
            found = _fitted(loss, prediction, t, arguments, truth, problem)
            if found is not None:
                yield _loss_spot(y, t, loss, arguments, found, path)
                break


def _by_class(loss: Loss, y: Array, labels: np.ndarray, truth: Array) -> Iterator[Arguments]:
    """Yield the class weights with which a mean over the samples, or a sum, has the true slope."""
    with np.errstate(all="ignore"):
        slope = loss.backward(y, labels, np.ones(len(y)), **loss.defaults())
        shares = (slope * truth).sum(axis=1) / (slope * slope).sum(axis=1)
    if np.isfinite(shares).all() and (shares > 0).all() and np.ptp(shares):
        for times in (len(y), 1):
            weights = np.ones(y.shape[1])
            weights[labels] = times * shares
            yield {**loss.defaults(), "class_weight": weights}


def _broadcast(raw: np.ndarray, shape: tuple[int, ...]) -> Iterator[Array]:
    if raw.ndim == len(shape) and raw.dtype.kind == "f" and raw.shape != shape:
        if all(n in (1, m) for n, m in zip(raw.shape, shape, strict=True)):
            yield np.broadcast_to(raw, shape)


def _arguments(loss: Loss, problem: ReadingProblem, classes: int) -> Iterator[Arguments]:
    """Yield the numbers that a loss may have been written with: named ones, its defaults."""
    named = {**problem.outcome.others, **problem.outcome.kept, **problem.outcome.values}
    plain = {float(np.ravel(v)[0]) for v in named.values() if np.size(v) == 1 and not is_tracked(v)}
    numbers = [*sorted(v for v in plain if v > 0 and np.isfinite(v)), 0.1, 0.5][:8]
    defaults: Arguments = loss.defaults()
    if "var" in loss.arrays:
        yield from ({**defaults, "var": np.array(v)} for v in numbers)
        return
    yield defaults
    yield from ({**defaults, "ignore_index": k} for k in range(classes))
    for name in defaults:
        if name not in ("ignore_index", "eps"):
            yield from ({**defaults, name: v} for v in numbers)


class _Reduction(NamedTuple):
    """∂/∂L of each sample, what the losses are divided by, and the samples' weights."""

    dL: Array
    divisor: float
    weights: Array | None = None


def _fitted(
    loss: Loss,
    y: Array,
    t: np.ndarray,
    arguments: Arguments,
    truth: Array,
    problem: ReadingProblem,
) -> _Reduction | None:
    """Return the reduction under which a loss has the true slope by y, None where there is none."""
    shape = y.shape if loss.elementwise else y.shape[:1]
    weights = [None, *(w for w in _named_weights(problem, len(y)))]
    try:
        with np.errstate(all="ignore"):
            slope = loss.backward(y, t, np.ones(shape), **arguments)
    except Exception:
        return None
    for w in weights:
        weighted = slope if w is None else slope * w[:, None]
        norm = float(np.sum(weighted * weighted))
        c = float(np.sum(weighted * truth)) / norm if np.isfinite(norm) and norm else 0.0
        plain = w is not None or _divides(1 / c if c > 0 else 0.0, y.shape, t)
        if plain and c > 0 and np.abs(c * weighted - truth).max() <= DIGITS * np.abs(truth).max():
            column = np.full(len(y), c) if w is None else c * w
            dL = np.broadcast_to(column[:, None] if loss.elementwise else column, shape)
            return _Reduction(dL, 1 / c, w)
    return None


def _divides(divisor: float, shape: tuple[int, ...], t: np.ndarray) -> bool:
    """Whether a mean divides by this: N, C, N C, or the labels that count; 1 for a sum.

    The catalogue has no line for half a square: it is reported as a factor.
    """
    samples, classes = shape
    if np.issubdtype(t.dtype, np.integer):
        return abs(divisor - round(divisor)) < DIGITS * divisor and 1 <= divisor <= samples
    known = (1, samples, classes, samples * classes)
    return any(abs(divisor - n) < DIGITS * n for n in known)


def _named_weights(problem: ReadingProblem, samples: int) -> Iterator[Array]:
    for value in (*problem.outcome.others.values(), *problem.outcome.inputs.values()):
        plain = np.asarray(values(value))
        if plain.dtype.kind == "f" and plain.shape in ((samples,), (samples, 1)) and samples > 1:
            yield plain.ravel().astype(float)


def _loss_spot(
    y: NamedValue,
    target: np.ndarray,
    loss: Loss,
    arguments: Arguments,
    found: _Reduction,
    path: tuple[str, ...],
) -> Spot:
    prediction = _matrix_of_samples(y.value)
    with np.errstate(all="ignore"):
        losses = loss.forward(prediction, target, **arguments)
    line = LossLine(
        loss, arguments, prediction, target, losses, found.dL, found.divisor,
        "sum" if abs(found.divisor - 1) < DIGITS else "mean", found.weights,
    )  # fmt: skip
    slope = f"∂ℓ/∂{y.text}"
    texts = {"δy": f"δ{y.text}", "y": y.text, "t": path[-1], "∂L/∂y": slope,
             "divisor": _divisor_text(found.divisor, prediction.shape)}  # fmt: skip
    if found.weights is None:
        texts["w ∂L/∂y"] = slope
    key = ("loss", loss.name, *y.path, "of", *path)
    places = y.places.reshape(prediction.shape)
    what, depth = f"ℓ = {loss.name}({y.text}, {path[-1]}), a sample's loss", int(y.places.max())
    return Spot(key, "loss", places, lambda _: line, texts, what, "", depth)


def _divisor_text(divisor: float, shape: tuple[int, ...]) -> str:
    samples, classes = shape
    known = {samples: "N", samples * classes: "(N C)", classes: "C"}
    return known.get(round(divisor), f"{divisor:.6g}")
