"""How accurate the implementations are on a layer: values, and slopes by input and parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from manual_backprop.spec import FloatArray, LayerOperation
from reference.arithmetic.balls import Arithmetic, Dual, exact, precision
from reference.formats import DTYPES
from reference.oracles.counterparts import resolve
from reference.oracles.jax_x64 import double_precision
from reports.book import AccuracyRow

_SHAPES = {"x": (8, 6), "weight": (6, 5), "bias": (5,)}
Answers = dict[str, FloatArray]


def layer_accuracy(
    operation: LayerOperation, implementations: Sequence[str]
) -> tuple[AccuracyRow, ...]:
    """Return the worst errors; the unit is that of the largest entry, since sums cancel."""
    rows = []
    for dtype in DTYPES:
        draw = np.random.default_rng(11)
        given = {n: draw.standard_normal(s).astype(np.float32) for n, s in _SHAPES.items()}
        given = {n: a.astype(dtype) for n, a in given.items()}
        dy = draw.standard_normal((8, 5)).astype(np.float32).astype(dtype)
        truth = _certified(operation, given, dy)
        replies = {name: _ASK[name](operation, given, dy) for name in implementations}
        for quantity, certified in truth.items():
            unit = max(
                float(np.spacing(np.abs(np.array(float(b.mid()), dtype)))) for b in certified
            )
            worst = {
                name: (_worst(answers[quantity], certified, unit), "")
                for name, answers in replies.items()
            }
            what = "value" if quantity == "y" else f"slope by {quantity}"
            rows.append(AccuracyRow(what, dtype, worst, len(certified)))
    return tuple(rows)


def _worst(answer: FloatArray, certified: Sequence[Any], unit: float) -> float:
    pairs = zip(answer.ravel().tolist(), certified, strict=True)
    return max(float(abs(exact(value) - ball.mid())) / unit for value, ball in pairs)


def _certified(
    operation: LayerOperation, given: Mapping[str, FloatArray], dy: FloatArray
) -> dict[str, list[Any]]:
    """Return y and the slopes of L = Σ dy · y, as balls."""
    with precision(256):
        m = Arithmetic()
        flat = m.variables([exact(v) for a in given.values() for v in a.ravel().tolist()])
        entries = iter(flat)
        x, weight, bias = (
            [next(entries) for _ in range(array.size)] for array in given.values()
        )  # fmt: skip
        rows, inside = given["x"].shape
        outside = len(bias)
        matrix = [weight[i * outside : (i + 1) * outside] for i in range(inside)]
        y = [
            value
            for n in range(rows)
            for value in operation.definition(m, x[n * inside : (n + 1) * inside], matrix, bias)
        ]
        total = sum(
            (value * exact(d) for value, d in zip(y, dy.ravel().tolist(), strict=True)),
            Dual(exact(0), y[0].slope * exact(0)),
        )
        found = {"y": [value.value for value in y]}
        start = 0
        for name, array in given.items():
            found[name] = [total.slope.by[k] for k in range(start, start + array.size)]
            start += array.size
    return found


def _manual(operation: LayerOperation, given: Mapping[str, FloatArray], dy: FloatArray) -> Answers:
    y = operation.forward(**given)
    parameters = {name: array for name, array in given.items() if name != "x"}
    return {"y": y, **operation.backward(given["x"], dy, **parameters)}


def _torch(operation: LayerOperation, given: Mapping[str, FloatArray], dy: FloatArray) -> Answers:
    import torch

    tensors = {n: torch.from_numpy(a.copy()).requires_grad_() for n, a in given.items()}
    y = resolve(operation, "torch")(*tensors.values())
    y.backward(torch.from_numpy(dy.copy()))
    slopes = {n: np.asarray(t.grad) for n, t in tensors.items()}
    return {"y": y.detach().numpy(), **slopes}


def _jax(operation: LayerOperation, given: Mapping[str, FloatArray], dy: FloatArray) -> Answers:
    import jax

    with double_precision():
        arrays = [jax.numpy.asarray(a) for a in given.values()]
        y, pull = jax.vjp(resolve(operation, "jax"), *arrays)
        slopes = pull(jax.numpy.asarray(dy))
        return {"y": np.asarray(y), **dict(zip(given, map(np.asarray, slopes), strict=True))}


_ASK: Mapping[str, Callable[..., Answers]] = {"manual": _manual, "torch": _torch, "jax": _jax}
