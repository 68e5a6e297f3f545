"""Mistakes of second order, by name: what people leave out of a Hessian-vector product.

Each is one wrong formula of the two walks. Injected into the right walk it is a mutant that the
judge must catch. Where a user's products are wrong, the mistake that gives the same ones is named.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from manual_backprop.graph import Step
from manual_backprop.layers import Dense
from manual_backprop.network import Problem
from manual_backprop.operation import Activation, FloatArray, Loss
from manual_backprop.second_order import product_along
from reference.diagnosis.closeness import same_to_rounding
from reference.problems import DirectedProblem

Formula = Callable[..., FloatArray]
Arrays = Mapping[str, FloatArray]


@dataclass(frozen=True)
class SecondOrderRules:
    """The formulas of the walks: of an activation, of a dense layer, of the loss."""

    tangent: Formula = lambda op, z, a, tz, **o: op.tangent(z, a, tz, **o)
    pull: Formula = lambda op, z, a, da, tda, **o: op.backward(z, a, tda, **o)
    second: Formula = lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, da, tz, **o)
    dense_tangent: Formula = lambda a, ta, w, tw, tb: Dense.tangent(a, ta, w, tw, tb)
    weight: Formula = lambda a, ta, dz, tdz: a.T @ tdz + ta.T @ dz
    bias: Formula = lambda dz, tdz: np.ones(len(dz), dz.dtype) @ tdz
    below: Formula = lambda dz, tdz, w, tw: tdz @ w.T + dz @ tw.T
    loss: Formula = lambda op, y, t, dL, ty, **o: op.second(y, t, dL, ty, **o)


@dataclass(frozen=True)
class SecondMistake:
    """A mistake: its name, what a teacher would say, the line as it was written, the formulas."""

    name: str
    sentence: str
    wrong: str
    rules: Mapping[str, Formula] = field(compare=False)


def products_by(
    problem: DirectedProblem, mistake: SecondMistake | None = None
) -> dict[str, FloatArray]:
    """Return the directional derivative of every cotangent, computed with the mistake."""
    rules = replace(SecondOrderRules(), **(mistake.rules if mistake else {}))
    push, pull_along = partial(_pushed, rules), partial(_pulled_along, rules)
    return product_along(problem, problem.direction, push, pull_along).products


def _pushed(
    rules: SecondOrderRules,
    step: Step,
    arrays: Arrays,
    y: FloatArray,
    tangents: Arrays,
) -> FloatArray:
    """Return the tangent of a step's value."""
    if step.operation == "dense":
        tx, tweight, tbias = tangents["x"], tangents["weight"], tangents.get("bias")
        return rules.dense_tangent(arrays["x"], tx, arrays["weight"], tweight, tbias)
    return rules.tangent(step.description, arrays["x"], y, tangents["x"], **step.options)


def _pulled_along(
    rules: SecondOrderRules,
    step: Step,
    arrays: Arrays,
    y: FloatArray,
    cotangents: tuple[FloatArray, FloatArray],
    tangents: Arrays,
) -> Arrays:
    """Return the directional derivatives of the cotangents of a step's arguments."""
    (dy, tdy), op = cotangents, step.description
    if isinstance(op, Loss):
        rest = {name: a for name, a in arrays.items() if name not in ("y", "t")} | dict(
            step.options
        )
        return {"y": rules.loss(op, arrays["y"], arrays["t"], dy, tangents["y"], **rest)}
    x, tx = arrays["x"], tangents["x"]
    if step.operation == "dense":
        found = {"x": rules.below(dy, tdy, arrays["weight"], tangents["weight"])}
        found["weight"] = rules.weight(x, tx, dy, tdy)
        return found | ({"bias": rules.bias(dy, tdy)} if "bias" in arrays else {})
    ty = rules.tangent(op, x, y, tx, **step.options)
    pulled = rules.pull(op, x, y, dy, tdy, **step.options)
    return {"x": pulled + rules.second(op, x, y, dy, tdy, tx, ty, **step.options)}


def name_mistakes(problem: Problem, products: Mapping[str, FloatArray]) -> Iterator[SecondMistake]:
    """Yield the mistakes with which our products are the given ones, the likeliest first.

    Only what the given names are compared; where the right walk gives the same, none is named.
    """
    if not isinstance(problem, DirectedProblem):
        return
    with np.errstate(all="ignore"):
        if _equal(products_by(problem), products):
            return
        for mistake in SECOND_MISTAKES:
            try:
                found = products_by(problem, mistake)
            except ValueError:  # shapes that only a square layer would have
                continue
            if _equal(found, products):
                yield mistake


def _equal(found: Mapping[str, FloatArray], given: Mapping[str, FloatArray]) -> bool:
    largest = max((float(np.abs(v).max(initial=0)) for v in given.values()), default=0.0)
    return all(same_to_rounding(found[n], v, largest) for n, v in given.items() if n in found)


def _centred(p: FloatArray, v: FloatArray) -> FloatArray:
    centred: FloatArray = v - np.sum(p * v, axis=-1, keepdims=True)
    return centred


def _softmax_only(change: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]) -> Formula:
    """Return the second of every activation, that of softmax changed."""

    def second(
        op: Activation,
        z: FloatArray,
        a: FloatArray,
        da: FloatArray,
        tda: FloatArray,
        tz: FloatArray,
        ta: FloatArray,
        **o: float,
    ) -> FloatArray:
        return change(a, da, tz) if op.name == "softmax" else op.second(z, a, da, tz, **o)

    return second


def _cross_entropy_only(
    change: Callable[[FloatArray, FloatArray, FloatArray], FloatArray],
) -> Formula:
    """Return the second of every loss, that of cross entropy changed; `change` gets p, ty, dL."""

    def second(
        op: Loss, y: FloatArray, t: FloatArray, dL: FloatArray, ty: FloatArray, **o: float
    ) -> FloatArray:
        if op.name != "cross_entropy":
            return np.asarray(op.second(y, t, dL, ty, **o))
        e = np.exp(y - y.max(axis=-1, keepdims=True))
        return change(e / e.sum(axis=-1, keepdims=True), ty, dL[..., None])

    return second


_S = "How the slope itself moves"
SECOND_MISTAKES: tuple[SecondMistake, ...] = (
    SecondMistake("second_left_out", f"{_S} is left out: f' is taken for a constant.",
        "tdz = f'(z) tda", {"second": lambda op, z, a, da, tda, tz, ta, **o: 0 * tz}),
    SecondMistake("second_sign", f"{_S} has the wrong sign.",
        "tdz = f' tda - f'' da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: -op.second(z, a, da, tz, **o)}),
    SecondMistake("second_doubled", f"{_S} is counted twice.",
        "tdz = f' tda + 2 f'' da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: 2 * op.second(z, a, da, tz, **o)}),
    SecondMistake("second_halved", f"{_S} is halved, as in a Taylor series.",
        "tdz = f' tda + f''/2 da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, da, tz, **o) / 2}),
    SecondMistake("second_without_tangent", "f'' is not multiplied by the tangent of z.",
        "tdz = f' tda + f'' da",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, da, 0 * tz + 1, **o)}),
    SecondMistake("second_without_cotangent", "f'' is not multiplied by the cotangent of a.",
        "tdz = f' tda + f'' tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, 0 * da + 1, tz, **o)}),
    SecondMistake("first_in_place_of_second", "f' is used instead of f''.",
        "tdz = f' tda + f' da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.backward(z, a, da, **o) * tz}),
    SecondMistake("slope_squared", "The square of f' is used instead of f''.",
        "tdz = f' tda + f'² da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o:
            op.backward(z, a, op.backward(z, a, da, **o), **o) * tz}),
    SecondMistake("second_at_output", "f'' is taken at the activation, not at the pre-activation.",
        "tdz = f' tda + f''(a) da tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o:
            op.second(a, op.forward(a, **o), da, tz, **o)}),
    SecondMistake("tangent_of_output", "The tangent of a is used instead of that of z.",
        "tdz = f' tda + f'' da ta",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, da, ta, **o)}),
    SecondMistake("moved_cotangent_twice", "f'' is multiplied by what da moves by, not by da.",
        "tdz = f' tda + f'' tda tz",
        {"second": lambda op, z, a, da, tda, tz, ta, **o: op.second(z, a, tda, tz, **o)}),
    SecondMistake("cotangent_not_moved", "The slope is multiplied by da, not by what it moves by.",
        "tdz = f' da + f'' da tz",
        {"pull": lambda op, z, a, da, tda, **o: op.backward(z, a, da, **o)}),
    SecondMistake("moved_cotangent_left_out", "Only the slope moves: the moved cotangent is lost.",
        "tdz = f'' da tz", {"pull": lambda op, z, a, da, tda, **o: 0 * tda}),
    SecondMistake("tangent_without_slope", "The tangent passes an activation without its slope.",
        "ta = tz", {"tangent": lambda op, z, a, tz, **o: tz}),
    SecondMistake("softmax_diagonal", "Softmax's second order is that of each entry by itself.",
        "tdx = y (1 - y)(1 - 2y) dy tx",
        {"second": _softmax_only(lambda y, dy, tx: y * (1 - y) * (1 - 2 * y) * dy * tx)}),
    SecondMistake("softmax_sum_left_out", "The sum that keeps softmax's row at 1 is left out.",
        "tdx = y a b",
        {"second": _softmax_only(lambda y, dy, tx: y * _centred(y, dy) * _centred(y, tx))}),
    SecondMistake("softmax_not_centred", "dy and tx are not counted from their means.",
        "tdx = y (dy tx - Σ y dy tx)",
        {"second": _softmax_only(lambda y, dy, tx: y * _centred(y, dy * tx))}),
    SecondMistake("weight_tangent_left_out", "The weight's own tangent is left out.",
        "tz = ta W + tb",
        {"dense_tangent": lambda a, ta, w, tw, tb: Dense.tangent(a, ta, w, 0 * tw, tb)}),
    SecondMistake("input_tangent_left_out", "What comes from the layer below does not move.",
        "tz = a tW + tb",
        {"dense_tangent": lambda a, ta, w, tw, tb: Dense.tangent(a, 0 * ta, w, tw, tb)}),
    SecondMistake("bias_tangent_left_out", "The bias' tangent is left out.",
        "tz = ta W + a tW",
        {"dense_tangent": lambda a, ta, w, tw, tb: Dense.tangent(a, ta, w, tw)}),
    SecondMistake("moved_input_left_out", "dW moves with dz alone, not with what goes in.",
        "tdW = aᵀ tdz", {"weight": lambda a, ta, dz, tdz: a.T @ tdz}),
    SecondMistake("moved_dz_left_out", "dW moves with what goes in alone, not with dz.",
        "tdW = taᵀ dz", {"weight": lambda a, ta, dz, tdz: ta.T @ dz}),
    SecondMistake("both_moved", "Both factors of dW are moved at once.",
        "tdW = taᵀ tdz", {"weight": lambda a, ta, dz, tdz: ta.T @ tdz}),
    SecondMistake("bias_not_moved", "The bias has its gradient instead of its product.",
        "tdb = 1ᵀ dz", {"bias": lambda dz, tdz: np.ones(len(dz), dz.dtype) @ dz}),
    SecondMistake("bias_mean", "The bias' product is a mean over the batch, not a sum.",
        "tdb = 1ᵀ tdz/N", {"bias": lambda dz, tdz: tdz.mean(axis=0)}),
    SecondMistake("moved_weight_left_out", "dx moves with dz alone, not with the weight.",
        "tda = tdz Wᵀ", {"below": lambda dz, tdz, w, tw: tdz @ w.T}),
    SecondMistake("moved_weight_alone", "dx moves with the weight alone, not with dz.",
        "tda = dz tWᵀ", {"below": lambda dz, tdz, w, tw: dz @ tw.T}),
    SecondMistake("moved_weight_not_transposed", "The weight's tangent is not transposed.",
        "tda = tdz Wᵀ + dz tW", {"below": lambda dz, tdz, w, tw: tdz @ w.T + dz @ tw}),
    SecondMistake("loss_left_out", "The loss's slope does not move.",
        "tdy = 0", {"loss": lambda op, y, t, dL, ty, **o: 0 * ty}),
    SecondMistake("loss_without_tangent", "The loss's curvature is not multiplied by the tangent.",
        "tdy = L''", {"loss": lambda op, y, t, dL, ty, **o: op.second(y, t, dL, 0 * ty + 1, **o)}),
    SecondMistake("loss_doubled", "The loss's curvature has a factor 2 too many.",
        "tdy = 2 L'' ty",
        {"loss": lambda op, y, t, dL, ty, **o: 2 * op.second(y, t, dL, ty, **o)}),
    SecondMistake("loss_halved", "The factor 2 of the square is left out of its curvature.",
        "tdy = L''/2 ty",
        {"loss": lambda op, y, t, dL, ty, **o: op.second(y, t, dL, ty, **o) / 2}),
    SecondMistake("loss_not_averaged", "The curvature is not divided as the loss is.",
        "tdy = L'' ty, without 1/N",
        {"loss": lambda op, y, t, dL, ty, **o: op.second(y, t, 0 * dL + 1, ty, **o)}),
    SecondMistake("loss_gradient", "The loss's slope is used instead of its curvature.",
        "tdy = L' ty",
        {"loss": lambda op, y, t, dL, ty, **o: op.backward(y, t, dL, **o) * ty}),
    SecondMistake("cross_entropy_diagonal", "Of the curvature only the diagonal is there.",
        "tdy = p (1 - p) ty",
        {"loss": _cross_entropy_only(lambda p, ty, dL: p * (1 - p) * ty * dL)}),
    SecondMistake("cross_entropy_without_outer", "The outer product p pᵀ is left out.",
        "tdy = p ty", {"loss": _cross_entropy_only(lambda p, ty, dL: p * ty * dL)}),
)  # fmt: skip
