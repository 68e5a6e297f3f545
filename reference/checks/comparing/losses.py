"""Losses that are not in the code: the first line of a backward shows which (a − y).

Every objective is a scalar made of tracked numbers, so that one sweep differentiates it.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from reference.balls import BallArray, values
from reference.checks.code import NumericValue
from reference.formats import Array


@dataclass(frozen=True)
class CandidateLoss:
    """A loss that is not in the code: its name, its formula, its value for outputs and targets."""

    name: str
    formula: str
    value: Callable[[Array, Array], NumericValue]
    inside: bool = False
    """Whether the outputs have to lie strictly between 0 and 1."""


def _softmax(a: Array, y: Array, axis: int = -1) -> NumericValue:
    top = np.max(np.asarray(values(a)), axis=axis, keepdims=True)
    logs = np.log(np.exp(a - top).sum(axis=axis)) + 0.0
    loss: NumericValue = logs.sum() + ((top * y).sum() - (a * y).sum())
    return loss


LOSSES = (
    CandidateLoss(
        "half the squared error", "½ Σ (a − y)²", lambda a, y: ((a - y) * (a - y)).sum() * 0.5
    ),
    CandidateLoss(
        "binary cross-entropy",
        "−Σ (y log a + (1 − y) log(1 − a))",
        lambda a, y: -(np.log(a) * y + np.log(1 - a) * (1 - y)).sum(),
        inside=True,
    ),
    CandidateLoss("cross-entropy", "−Σ y log a", lambda a, y: -(np.log(a) * y).sum(), inside=True),
    CandidateLoss("softmax cross-entropy", "Σ (log Σ exp(a) − y·a)", _softmax),
    CandidateLoss(
        "softmax cross-entropy over columns", "Σ (log Σ exp(a) − y·a)", partial(_softmax, axis=0)
    ),
)


def matching_targets(output: Array, target: object) -> Iterator[Array]:
    """Yield the ways in which a target fits an output: as it is, turned, or one-hot of labels."""
    shape = np.shape(output)
    t = np.asarray(target)
    if t.shape == shape:
        yield t
    elif t.shape[::-1] == shape and t.ndim == 2:
        yield t.T
    elif t.size == int(np.prod(shape, dtype=int)) and t.dtype.kind == "f":
        yield t.reshape(shape)
    if t.dtype.kind in "iu" and len(shape) == t.ndim + 1:
        if shape[:-1] == t.shape and t.max(initial=0) < shape[-1]:
            yield np.eye(shape[-1])[t]
        elif shape[1:] == t.shape and t.max(initial=0) < shape[0]:
            yield np.moveaxis(np.eye(shape[0])[t], -1, 0)
    if t.dtype.kind in "iu" and t.ndim == 0 and len(shape) == 2 and 1 in shape:
        flat = np.eye(max(shape))[int(t)] if int(t) < max(shape) else None
        if flat is not None:
            yield flat.reshape(shape)


def evaluate(loss: CandidateLoss, output: NumericValue, target: Array) -> NumericValue | None:
    """Return the loss of an output, or None where it has no value there."""
    plain = values(output)
    if loss.inside and not ((plain > 0).all() and (plain < 1).all()):
        return None
    if not isinstance(output, np.ndarray):
        output = np.array([output], dtype=object).view(BallArray)
        target = np.reshape(target, (1,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loss.value(output, target)
