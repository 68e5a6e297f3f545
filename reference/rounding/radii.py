"""How far rounding may carry an answer from the proven gradient: radii around a `Certificate`.

The walk of the network is done once more, with radii in place of numbers (running error
analysis). Inside a registered operation nothing is rounded: the operation's value and slopes are
right to a stated number of ulps, whatever formula made them. Across operations, radii pass on by
slopes and products, and every sum of n terms adds n u Σ|terms|. So a badly conditioned network is
excused and a badly conditioned formula is not.

Two radii are kept: `radius` holds everything, `jump` only what comes from decisions that rounding
alone can flip (a pre-activation within its own rounding of a kink). An intermediate beyond the
dtype's range makes the radius infinite from there on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.arithmetic.balls import precision
from reference.arithmetic.fields import Extended
from reference.arithmetic.local import at_number, at_row, constants
from reference.arithmetic.spread import (
    Numbers,
    Part,
    Rows,
    columns_first,
    constants_of,
    spread_numbers,
    spread_rows,
)
from reference.oracles.certified import Certificate, Doubles, loss_terms
from reference.rounding.ball_spread import is_bounded, spread_number, spread_row

# Radii are wanted to a few digits; a proof may have needed thousands of bits for an exact zero.
_MOST_BITS = 384
_WIDE_BALLS = 2.0**-24


@dataclass(frozen=True)
class Rounding:
    """A model of rounding: how many ulps an operation may err, of what, and what underflows to 0.

    tight: `ulps` of the value and of the slope. customary: value to ulps · max(|f(x)|,
    min(|x|, 1)), slope to ulps · max(|f'|, 1, min(|x|, -log u)), which is lost when a slope is
    taken from the rounded output (1 - y², p - 1) and, in x σ(x), when that is multiplied by x.
    flush: numbers below the normal range may become 0. probable: errors are taken to be
    independent, so that they add up as a random walk does; no bound, but what is to be expected.
    """

    ulps: float
    customary: bool = False
    flush: bool = False
    probable: bool = False

    @property
    def name(self) -> str:
        """The strength in words."""
        strength = "customary" if self.customary else "tight"
        return f"{strength} with flush to zero" if self.flush else strength


@dataclass(frozen=True)
class Radii:
    """The radius of every tensor under one model of rounding, and the part that is jumps."""

    model: Rounding
    radius: Mapping[str, Doubles]
    jump: Mapping[str, Doubles]

    @property
    def ranged(self) -> bool:
        """Whether somewhere the range of the dtype was left."""
        return any(np.isinf(r).any() for r in self.radius.values())


class Unit:
    """The dtype's numbers under a model."""

    def __init__(self, dtype: np.dtype[Any], model: Rounding) -> None:
        info = np.finfo(dtype)
        self.u = float(info.eps) / 2
        self.biggest = float(info.max)
        self.tiny = float(info.tiny)
        self.floor = self.tiny if model.flush else float(info.smallest_subnormal)
        self.model = model
        self.k = model.ulps

    def bounded(self, radius: Doubles, magnitude: Doubles) -> Doubles:
        """Return the radius; infinite where a magnitude leaves the range, or nothing is known."""
        return np.where(np.isnan(radius) | ~(magnitude <= self.biggest), np.inf, radius)

    def given(self, array: npt.NDArray[Any]) -> Doubles:
        """Return the radii of floats as they are given: 0, but for those that flush."""
        a = np.abs(np.asarray(array, np.float64))
        return np.where(a < self.tiny, a, 0.0) if self.model.flush else np.zeros(a.shape)

    def value(self, values: Doubles, inputs: Doubles) -> Doubles:
        """Return how far an operation's value may be rounded."""
        if self.model.customary:
            values = np.maximum(values, np.minimum(inputs, 1.0))
        return self.k * (self.u * values + self.floor)

    def slope(self, slopes: Doubles, inputs: Doubles) -> Doubles:
        """Return how far an operation's slope may be rounded."""
        if self.model.customary:
            # x σ'(x), with σ' from a rounded σ, is off by u |x|, while σ' is not yet nothing.
            reach = np.minimum(inputs, -np.log(self.u))
            slopes = np.maximum(slopes, np.maximum(reach, 1.0))
        return self.k * (self.u * slopes + self.floor)

    def total(self, n: int, magnitude: Doubles) -> Doubles:
        """Return how far a sum of n terms, whose magnitudes sum to `magnitude`, may be rounded."""
        if self.model.probable:  # √n of the terms' root of squares, which is about their sum
            return self.u * magnitude + n * self.floor
        return n * (self.u * magnitude + self.floor)

    def through(self, radius: Doubles, matrix: Doubles) -> Doubles:
        """Return the radius of a product with a matrix, or with one matrix for each row."""
        if self.model.probable:
            return np.sqrt(_product(radius * radius, matrix * matrix))
        return _product(radius, matrix)


@dataclass
class _Spread:
    """Values and slopes of operations at points known to a radius."""

    value: Doubles
    slope: Doubles
    value_radius: Doubles
    slope_radius: Doubles
    value_jump: Doubles
    slope_jump: Doubles


def radii(certificate: Certificate, model: Rounding) -> Radii:
    """Return how far rounding under `model` may carry each tensor from its proven value."""
    with precision(min(certificate.bits, _MOST_BITS)), np.errstate(all="ignore"):
        return _walk(certificate, Unit(certificate.problem.dtype, model))


def _walk(certificate: Certificate, unit: Unit) -> Radii:
    problem, network = certificate.problem, certificate.problem.network
    n = problem.batch
    a = np.abs(np.asarray(problem.x, np.float64))
    a_radius, a_jump = unit.given(problem.x), np.zeros(a.shape)
    layers = []
    for i, (layer, ran) in enumerate(zip(network.layers, certificate.layers, strict=True)):
        weight = np.abs(np.asarray(problem.parameters[f"layers.{i}.weight"], np.float64))
        w_radius = unit.given(weight)
        magnitude = (a + a_radius) @ (weight + w_radius)
        z_radius = unit.through(a_radius, weight) + (a + a_radius) @ w_radius
        bias = problem.parameters.get(f"layers.{i}.bias")
        if bias is not None:
            magnitude = magnitude + np.abs(bias)
            z_radius = z_radius + unit.given(bias)
        z_radius = z_radius + unit.total(len(weight) + 1, magnitude) + ran.z_radius.reshape(n, -1)
        z_radius = unit.bounded(z_radius, magnitude)
        spread = _spread_all(layer, ran, z_radius, a_jump @ weight, unit)
        layers.append((a, a_radius, a_jump, weight, w_radius, spread, layer))
        a, a_radius, a_jump = np.abs(spread.value), spread.value_radius, spread.value_jump
    radius: dict[str, Doubles] = {}
    jump: dict[str, Doubles] = {}
    da, da_radius, da_jump = _loss(certificate, a, a_radius, a_jump, unit, radius, jump)
    for i in reversed(range(len(layers))):
        below, below_radius, below_jump, weight, w_radius, spread, layer = layers[i]
        name = f"layers.{i}"
        radius[f"{name}.a"], jump[f"{name}.a"] = da_radius, da_jump
        product = _product if layer.operation.rowwise else np.multiply
        slope, terms = np.abs(spread.slope), layer.width + 2 if layer.operation.rowwise else 1
        magnitude = product(da + da_radius, slope + spread.slope_radius)
        carried = unit.through if layer.operation.rowwise else np.multiply
        dz_radius = carried(da, spread.slope_radius)
        dz_radius = dz_radius + carried(da_radius, slope + spread.slope_radius)
        dz_radius = unit.bounded(dz_radius + unit.total(terms, magnitude), magnitude)
        dz_jump = product(da + da_jump, spread.slope_jump) + product(da_jump, slope)
        dz = np.abs(certificate[f"{name}.z"].high)
        radius[f"{name}.z"], jump[f"{name}.z"] = dz_radius, dz_jump
        reach, transposed = dz + dz_radius, (below + below_radius).T
        magnitude = transposed @ reach
        found = unit.through(below.T, dz_radius) + unit.through(below_radius.T, reach)
        found = found + unit.total(n + 1, magnitude)
        radius[f"{name}.weight"] = unit.bounded(found, magnitude)
        jump[f"{name}.weight"] = below.T @ dz_jump + below_jump.T @ (dz + dz_jump)
        if layer.bias:
            magnitude = reach.sum(0)
            found = unit.through(np.ones((1, n)), dz_radius)[0] + unit.total(n, magnitude)
            radius[f"{name}.bias"] = unit.bounded(found, magnitude)
            jump[f"{name}.bias"] = dz_jump.sum(0)
        magnitude = reach @ (weight + w_radius).T
        found = unit.through(dz_radius, weight.T) + reach @ w_radius.T
        found = found + unit.total(layer.width, magnitude)
        da_radius, da_jump = unit.bounded(found, magnitude), dz_jump @ weight.T
        da = np.abs(certificate[f"layers.{i - 1}.a" if i else "x"].high)
    radius["x"], jump["x"] = da_radius, da_jump
    for name, leaf in certificate.leaves.items():
        # What is not proven cannot be judged. A ball of slopes came through the walk already, but
        # products of wide balls are rounded to the 30 bits of their radius, the midpoint too.
        share = np.where(leaf.thick & np.isfinite(leaf.radius), _WIDE_BALLS, 1.0)
        unproven = share * leaf.radius
        radius[name] = unit.bounded(radius[name] + unproven, np.abs(leaf.high))
        moved = jump[name] + unproven
        jump[name] = np.where(np.isnan(moved), np.inf, moved)
    return Radii(unit.model, radius, jump)


def _loss(
    certificate: Certificate,
    a: Doubles,
    a_radius: Doubles,
    a_jump: Doubles,
    unit: Unit,
    radius: dict[str, Doubles],
    jump: dict[str, Doubles],
) -> tuple[Doubles, Doubles, Doubles]:
    """Enter the loss's radii; return the magnitude, radius and jump of its cotangent."""
    problem, network = certificate.problem, certificate.problem.network
    n = problem.batch
    operation = network.loss_operation
    inputs = a + a_radius
    for other in (problem.targets, *problem.arrays.values()):
        if other.dtype == problem.dtype:  # labels are no magnitudes
            inputs = np.maximum(inputs, np.abs(other))
    if not operation.elementwise:
        inputs = inputs.max(-1)
    spread = _spread_loss(certificate, a_radius, inputs, unit)
    # A jump of the prediction is within its radius already, and so within the loss's.
    through, moved = np.abs(spread.slope) * a_jump, np.asarray(a_jump > 0)
    if not operation.elementwise:
        through, moved = through.sum(axis=-1), np.asarray(moved.any(axis=-1, keepdims=True))
    spread.value_jump = spread.value_jump + through
    spread.slope_jump = np.where(moved, spread.slope_radius, spread.slope_jump)
    _round(spread, inputs, unit)
    scale = np.abs(np.array([float(c) for c in certificate.scales]))
    column = scale[:, None]
    per_loss = column if operation.elementwise else scale
    # The scale is w/divisor: a division, and for class weights a sum, are rounded; then products.
    count = n + 4
    magnitude = per_loss * (np.abs(spread.value) + spread.value_radius)
    found = per_loss * spread.value_radius + unit.total(count, magnitude)
    if network.reduction == "none":
        radius["loss"] = unit.bounded(found, magnitude)
        jump["loss"] = per_loss * spread.value_jump
    else:
        sum_of_terms = magnitude.sum()
        within = found.sum() + unit.total(magnitude.size + 1, sum_of_terms)
        # The sum is taken before the division, so it is the undivided sum that may overflow.
        undivided = sum_of_terms * max(1.0, _divisor(certificate))
        radius["loss"] = unit.bounded(within, undivided)
        jump["loss"] = np.asarray((per_loss * spread.value_jump).sum())
    slope = np.abs(spread.slope)
    magnitude = column * (slope + spread.slope_radius)
    found = column * spread.slope_radius + unit.total(count, magnitude)
    da = np.abs(certificate[f"layers.{len(network.layers) - 1}.a"].high)
    return da, unit.bounded(found, magnitude), column * spread.slope_jump


def _divisor(certificate: Certificate) -> float:
    weights = certificate.problem.weights
    first = 1.0 if weights is None else float(weights[0])
    scale = abs(float(certificate.scales[0]))
    return abs(first) / scale if scale > 0 and np.isfinite(scale) else 1.0


# -- one operation at points known to a radius ---------------------------------------------------


def _spread_all(layer: Any, ran: Any, z_radius: Doubles, z_jump: Doubles, unit: Unit) -> _Spread:
    """Return an activation's values and slopes, and how far the radii of z carry them."""
    operation, (n, width) = layer.operation, z_radius.shape
    definition, arguments = operation.definition, constants(layer.parameters)

    def number(k: int) -> Part:
        at = partial(at_number, definition, before=(), arguments=arguments)
        return spread_number(at, ran.z[k], float(z_radius.flat[k]), ran.local[k])

    def bounded(k: int) -> bool:
        x = ran.z[k] + arb(0, float(z_radius.flat[k]))
        return is_bounded(at_number(definition, x, (), arguments))

    def row(k: int) -> Part:
        at = partial(at_row, definition, before=(), arguments=arguments)
        return spread_row(at, ran.z[k * width : (k + 1) * width], z_radius[k], ran.local[k])

    inputs = np.abs(ran.centre.x.astype(np.float64))
    inputs = (inputs.T if operation.rowwise else inputs.reshape(n, width)) + z_radius
    if operation.rowwise:
        inputs = np.broadcast_to(inputs.max(-1, keepdims=True), inputs.shape)
        fields = Rows(definition, None, constants_of(layer.parameters))
        allowed = _allowed(ran.centre, inputs, np.zeros(()), unit)
        found = spread_rows(fields, ran.centre, z_radius, allowed, row)
        spread = _shaped(found, (n, width), (n, width, width))
        through = _rows_forward(np.abs(spread.slope), z_jump)
    else:
        fields_ = Numbers(definition, None, constants_of(layer.parameters))
        allowed = _allowed(ran.centre, inputs.ravel(), inputs.ravel(), unit)
        found = spread_numbers(fields_, ran.centre, z_radius.ravel(), allowed, number, bounded)
        spread = _shaped(found, (n, width), (n, width))
        through = np.abs(spread.slope) * z_jump
    # A jump below moves z: the value by the slope, and the slope by all that z's radius does.
    spread.value_jump = spread.value_jump + through
    moved: Any = z_jump > 0
    if operation.rowwise:
        moved = moved.any(axis=-1, keepdims=True)[..., None]
    spread.slope_jump = np.where(moved, spread.slope_radius, spread.slope_jump)
    _round(spread, inputs, unit, factor=not operation.rowwise)
    return spread


def _spread_loss(
    certificate: Certificate, a_radius: Doubles, inputs: Doubles, unit: Unit
) -> _Spread:
    """Return the losses' values and slopes, and how far the radii of the prediction carry them."""
    problem, operation = certificate.problem, certificate.problem.network.loss_operation
    n, width = a_radius.shape
    labels = np.issubdtype(problem.targets.dtype, np.integer)
    arguments = constants_of(problem.network.loss_parameters)
    terms: list[Any] = []

    def term(k: int) -> Any:
        if not terms:
            terms.extend(loss_terms(problem, certificate.layers[-1].a))
        return terms[k]

    def number(k: int) -> Part:
        one = term(k)
        at = lambda x, **how: one(x, **how)  # noqa: E731
        return spread_number(at, one.prediction, float(a_radius.flat[k]), certificate.losses[k])

    def bounded(k: int) -> bool:
        one = term(k)
        return is_bounded(one(one.prediction + arb(0, float(a_radius.flat[k]))))

    def row(k: int) -> Part:
        one = term(k)
        at = lambda x, **how: [one(x, **how)]  # noqa: E731
        return spread_row(at, one.prediction, a_radius[k], [certificate.losses[k]])

    centre = certificate.loss_centre
    targets = problem.targets if labels else problem.targets.astype(Extended)
    if operation.elementwise:
        for name, value in problem.arrays.items():
            arguments[name] = np.broadcast_to(value.astype(Extended), (n, width)).ravel()
        fields = Numbers(operation.definition, targets.ravel(), arguments)
        allowed = _allowed(centre, inputs.ravel(), np.zeros(()), unit)
        found = spread_numbers(fields, centre, a_radius.ravel(), allowed, number, bounded)
        return _shaped(found, (n, width), (n, width))
    for name, value in problem.arrays.items():
        per_class = operation.arrays[name] == "classes"
        arguments[name] = list(value.astype(Extended)) if per_class else value.astype(Extended)
    fields_ = Rows(operation.definition, targets, arguments)
    allowed = _allowed(centre, inputs[:, None], np.zeros(()), unit)
    found = spread_rows(fields_, centre, a_radius, allowed, row)
    return _shaped(found, (n,), (n, width))


def _allowed(centre: Any, inputs: Doubles, across: Doubles, unit: Unit) -> tuple[Doubles, Doubles]:
    """Return the rounding of values and slopes at the centre, columns first."""
    values, slopes = (np.abs(v.astype(np.float64)) for v in (centre.value, centre.slope))
    return unit.value(columns_first(values), inputs), unit.slope(columns_first(slopes), across)


def _round(spread: _Spread, inputs: Doubles, unit: Unit, *, factor: bool = False) -> None:
    """Add the operation's own rounding to what its input's radius did.

    `factor`: the operation may be x times something, as many activations are.
    """
    values = np.abs(spread.value) + spread.value_radius
    slopes = np.abs(spread.slope) + spread.slope_radius
    found = spread.value_radius + unit.value(values, inputs)
    spread.value_radius = unit.bounded(found, values)
    across = inputs if factor else np.zeros(())
    found = spread.slope_radius + unit.slope(slopes, across)
    spread.slope_radius = unit.bounded(found, slopes)


def _shaped(found: list[Doubles], values: tuple[int, ...], slopes: tuple[int, ...]) -> _Spread:
    """Give values and slopes, their radii and jumps their tensors' shapes."""
    shapes = (values, slopes) * 3
    return _Spread(*(a.reshape(shape) for a, shape in zip(found, shapes, strict=True)))


def _product(rows: Doubles, matrix: Doubles) -> Doubles:
    """Return rows times a matrix; with a matrix for each row, Σ_i da_i ∂y_i/∂z_j."""
    if matrix.ndim == 2:
        return np.asarray(rows @ matrix)
    return np.asarray((rows[:, None, :] @ matrix)[:, 0, :])


def _rows_forward(slopes: Doubles, dz: Doubles) -> Doubles:
    """Return Σ_j ∂y_i/∂z_j dz_j for every row."""
    return np.asarray((slopes @ dz[..., None])[..., 0])
