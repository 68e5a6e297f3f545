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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import arb

from reference.oracles.balls import Ball, precision
from reference.oracles.certified import Certificate, Doubles, loss_terms, upward
from reference.oracles.local import Local, at_number, at_row, constants

# A radius beyond this, in the units of the operation's input, is wide: the ends alone say little
# about what lies between, so points in between are taken too.
_WIDE = 2.0**-6
# Radii are wanted to a few digits; a proof may have needed thousands of bits for an exact zero.
_MOST_BITS = 384
_WIDE_BALLS = 2.0**-24
# Corners of a row's box stand for the whole box; twice their spread covers what they miss.
_CORNER_SAFETY = 2.0


@dataclass(frozen=True)
class Rounding:
    """A model of rounding: how many ulps an operation may err, of what, and what underflows to 0.

    tight: `ulps` of the value and of the slope. customary: value to ulps · max(|f(x)|,
    min(|x|, 1)), slope to ulps · max(|f'|, 1, |x|), which is lost when a slope is taken from the
    rounded output (1 - y², p - 1) and, in x σ(x) and its like, when that is multiplied by x.
    flush: numbers below the normal range may become 0.
    """

    ulps: float
    customary: bool = False
    flush: bool = False

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
            slopes = np.maximum(slopes, np.maximum(inputs, 1.0))
        return self.k * (self.u * slopes + self.floor)

    def total(self, n: int, magnitude: Doubles) -> Doubles:
        """Return how far a sum of n terms, whose magnitudes sum to `magnitude`, may be rounded."""
        return n * (self.u * magnitude + self.floor)


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
        z_radius = a_radius @ weight + (a + a_radius) @ w_radius
        bias = problem.parameters.get(f"layers.{i}.bias")
        if bias is not None:
            magnitude = magnitude + np.abs(bias)
            z_radius = z_radius + unit.given(bias)
        z_radius = z_radius + unit.total(len(weight) + 1, magnitude) + _radii(ran.z, a.shape[:1])
        z_radius = unit.bounded(z_radius, magnitude)
        arguments = constants(layer.parameters)
        spread = _spread_all(layer.operation, arguments, ran, z_radius, a_jump @ weight, unit)
        layers.append((a, a_radius, a_jump, weight, w_radius, spread, layer))
        a, a_radius, a_jump = np.abs(spread.value), spread.value_radius, spread.value_jump
    radius: dict[str, Doubles] = {}
    jump: dict[str, Doubles] = {}
    da, da_radius, da_jump = _loss(certificate, a, a_radius, a_jump, unit, radius, jump)
    for i in reversed(range(len(layers))):
        below, below_radius, below_jump, weight, w_radius, spread, layer = layers[i]
        name = f"layers.{i}"
        radius[f"{name}.a"], jump[f"{name}.a"] = da_radius, da_jump
        product = _rows if layer.operation.rowwise else np.multiply
        slope, terms = np.abs(spread.slope), layer.width + 2 if layer.operation.rowwise else 1
        magnitude = product(da + da_radius, slope + spread.slope_radius)
        dz_radius = product(da, spread.slope_radius)
        dz_radius = dz_radius + product(da_radius, slope + spread.slope_radius)
        dz_radius = unit.bounded(dz_radius + unit.total(terms, magnitude), magnitude)
        dz_jump = product(da + da_jump, spread.slope_jump) + product(da_jump, slope)
        dz = np.abs(certificate[f"{name}.z"].high)
        radius[f"{name}.z"], jump[f"{name}.z"] = dz_radius, dz_jump
        reach, transposed = dz + dz_radius, (below + below_radius).T
        magnitude = transposed @ reach
        found = below.T @ dz_radius + below_radius.T @ reach + unit.total(n + 1, magnitude)
        radius[f"{name}.weight"] = unit.bounded(found, magnitude)
        jump[f"{name}.weight"] = below.T @ dz_jump + below_jump.T @ (dz + dz_jump)
        if layer.bias:
            magnitude = reach.sum(0)
            found = dz_radius.sum(0) + unit.total(n, magnitude)
            radius[f"{name}.bias"] = unit.bounded(found, magnitude)
            jump[f"{name}.bias"] = dz_jump.sum(0)
        magnitude = reach @ (weight + w_radius).T
        found = dz_radius @ weight.T + reach @ w_radius.T + unit.total(layer.width, magnitude)
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
    n, width = problem.batch, network.widths[-1]
    operation = network.loss_operation
    prediction = certificate.layers[-1].a
    terms = list(loss_terms(problem, prediction))
    if operation.elementwise:
        spreads = [
            _spread_number(lambda x, t=term, **how: t(x, **how), term.prediction, r, local)
            for term, local, r in zip(
                terms, certificate.losses, a_radius.ravel().tolist(), strict=True
            )
        ]
        spread = _collect(spreads, (n, width), (n, width))
    else:
        rows = [
            _spread_row(lambda x, t=term, **how: [t(x, **how)], term.prediction, r, [local])
            for term, local, r in zip(terms, certificate.losses, a_radius, strict=True)
        ]
        spread = _collect(rows, (n,), (n, width))
    inputs = a + a_radius
    for other in (problem.targets, *problem.arrays.values()):
        if other.dtype == problem.dtype:  # labels are no magnitudes
            inputs = np.maximum(inputs, np.abs(other))
    if not operation.elementwise:
        inputs = inputs.max(-1)
    del a_jump  # a jump of the prediction reaches the loss through the spread
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


def _spread_all(
    operation: Any, arguments: Any, ran: Any, z_radius: Doubles, z_jump: Doubles, unit: Unit
) -> _Spread:
    """Return an activation's values and slopes, and how far the radii of z carry them."""
    definition, (n, width) = operation.definition, z_radius.shape

    def number(x: Ball, **how: Any) -> Local:
        return at_number(definition, x, (), arguments, **how)

    def row(x: Sequence[Ball], **how: Any) -> list[Local]:
        return at_row(definition, x, (), arguments, **how)

    z = np.array([float(b.mid()) for b in ran.z]).reshape(n, width)
    inputs = np.abs(z) + z_radius
    if operation.rowwise:
        found = [
            _spread_row(row, ran.z[k * width : (k + 1) * width], z_radius[k], ran.local[k])
            for k in range(n)
        ]
        spread = _collect(found, (n, width), (n, width, width))
        inputs = np.broadcast_to(inputs.max(-1, keepdims=True), inputs.shape)
        through = _rows_forward(np.abs(spread.slope), z_jump)
    else:
        flat = z_radius.ravel().tolist()
        found = [
            _spread_number(number, x, r, local)
            for x, r, local in zip(ran.z, flat, ran.local, strict=True)
        ]
        spread = _collect(found, (n, width), (n, width))
        through = np.abs(spread.slope) * z_jump
    # A jump below moves z: the value by the slope, and the slope by all that z's radius does.
    spread.value_jump = spread.value_jump + through
    moved: Any = z_jump > 0
    if operation.rowwise:
        moved = moved.any(axis=-1, keepdims=True)[..., None]
    spread.slope_jump = np.where(moved, spread.slope_radius, spread.slope_jump)
    _round(spread, inputs, unit, factor=not operation.rowwise)
    return spread


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


Part = tuple[Any, Any, Any, Any, Any, Any]


def _spread_number(evaluate: Callable[..., Local], x: Ball, r: float, centre: Local) -> Part:
    """Return value, slope, their radii and jumps for x known to r."""
    value, slope = float(centre.value.mid()), float(centre.slope.mid())
    if not r < np.inf:
        return value, slope, np.inf, np.inf, 0.0, 0.0
    ends = [x - r, x + r]
    around = [evaluate(end) for end in ends]
    open_ = _open([centre, *around])
    if r > _WIDE:
        ends += _between(x, r)
        around = [evaluate(end) for end in ends]
        open_ = _open([centre, *around])
    if open_:
        around = [evaluate(point, joined=open_) for point in (x, *ends)]
        v = max(_apart(p.value, centre.value) for p in around)
        s = max(_apart(p.slope, centre.slope) for p in around)
        return value, slope, v, s, v, s
    v, bent_v = _off(centre.value, [p.value for p in around])
    s, bent_s = _off(centre.slope, [p.slope for p in around])
    if (bent_v or bent_s) and not _bounded(evaluate(x + arb(0, r))):
        return value, slope, np.inf, np.inf, 0.0, 0.0  # a pole within the radius
    return value, slope, v, s, 0.0, 0.0


def _spread_row(
    evaluate: Callable[..., list[Local]], x: Sequence[Ball], r: Doubles, centre: list[Local]
) -> Part:
    """Return values, slopes, their radii and jumps for a row known to r."""
    values = [float(y.value.mid()) for y in centre]
    slopes = [[float(s.mid()) for s in y.slope] for y in centre]
    shape = np.shape(slopes)
    zero, unknown = np.zeros(shape), np.full(shape, np.inf)
    if not (r < np.inf).all():
        return values, slopes, unknown[:, 0], unknown, zero[:, 0], zero
    corners = [_moved(x, r * signs) for signs in _signs(values, x)]
    around = [evaluate(corner) for corner in corners]
    open_ = _open([centre[0], *(found[0] for found in around)])
    if open_:
        around = [evaluate(corner, joined=open_) for corner in (x, *corners)]
    outputs, inputs = range(len(centre)), range(len(x))
    v = [max(_apart(f[i].value, centre[i].value) for f in around) for i in outputs]
    s = [
        [max(_apart(f[i].slope[j], centre[i].slope[j]) for f in around) for j in inputs]
        for i in outputs
    ]
    v_radius, s_radius = _CORNER_SAFETY * np.array(v), _CORNER_SAFETY * np.array(s)
    if not np.isfinite(v_radius).all():  # a pole within the radius
        return values, slopes, unknown[:, 0], unknown, zero[:, 0], zero
    if open_:
        return values, slopes, v_radius, s_radius, v_radius, s_radius
    return values, slopes, v_radius, s_radius, zero[:, 0], zero


def _signs(values: list[float], x: Sequence[Ball]) -> list[Doubles]:
    """Return the corners of a row's box that are tried: alike, in turn, the largest against all."""
    n = len(x)
    alike = np.ones(n)
    in_turn = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    against = np.where(np.arange(n) == int(np.argmax([float(b.mid()) for b in x])), 1.0, -1.0)
    return [sign * pattern for pattern in (alike, in_turn, against) for sign in (1.0, -1.0)]


def _moved(x: Sequence[Ball], by: Doubles) -> list[Ball]:
    return [b + d for b, d in zip(x, by.tolist(), strict=True)]


def _between(x: Ball, r: float) -> list[Ball]:
    """Return points within r of x: fractions of r, and steps from 0, where functions bend most."""
    points = [x + s * r * part for part in (0.125, 0.5) for s in (-1, 1)]
    centre = float(x)
    steps = (s * 2.0**k for k in (-5, -2, 0, 1, 2, 4, 7) for s in (-1, 1))
    return points + [arb(step) for step in (0.0, *steps) if abs(centre - step) < r]


def _open(found: Sequence[Local]) -> frozenset[int]:
    """Return the decisions that do not fall the same way at all points."""
    taken = zip(*([d.taken for d in local.decisions] for local in found), strict=True)
    return frozenset(i for i, ways in enumerate(taken) if None in ways or len(set(ways)) > 1)


def _off(centre: Ball, ends: list[Ball]) -> tuple[float, bool]:
    """Return how far a smooth function may be from its centre, and whether it bends much.

    That is as far as the ends are, and the bend between them.
    """
    bend = _apart(ends[0] + ends[1], 2 * centre)
    most = max(_apart(end, centre) for end in ends)
    return most + bend, bend > most / 4


def _bounded(local: Local) -> bool:
    return bool(local.value.is_finite() and local.slope.is_finite())


def _apart(p: Ball, centre: Ball) -> float:
    """Return the largest distance from the middle of `centre` to a point of p, rounded up."""
    distance = abs(p - centre.mid())
    if not distance.is_finite():
        return float("inf")
    return 0.0 if distance.is_zero() else math.nextafter(float(distance.upper()), math.inf)


def _collect(parts: list[Part], values: tuple[int, ...], slopes: tuple[int, ...]) -> _Spread:
    """Put the parts of single numbers or rows together."""
    columns = list(zip(*parts, strict=True))
    shapes = (values, slopes) * 3
    arrays = (np.array(c, np.float64).reshape(s) for c, s in zip(columns, shapes, strict=True))
    return _Spread(*arrays)


def _rows(da: Doubles, slopes: Doubles) -> Doubles:
    """Return Σ_i da_i ∂y_i/∂z_j for every row."""
    return np.asarray((da[:, None, :] @ slopes)[:, 0, :])


def _rows_forward(slopes: Doubles, dz: Doubles) -> Doubles:
    """Return Σ_j ∂y_i/∂z_j dz_j for every row."""
    return np.asarray((slopes @ dz[..., None])[..., 0])


def _radii(balls: list[Ball], rows: tuple[int, ...]) -> Doubles:
    return np.array([upward(b) for b in balls]).reshape(*rows, -1)
