"""Radii on trial: a walk that rounds as badly as the model allows stays inside, and comes near.

The walk is made in float64 on float32 problems, so that the only errors are those planted: every
operation is off by its ULPS, every sum of n terms by n u of them, each up or down as a coin says.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from manual_backprop.network import Layer, Network, Problem, losses_cotangent, reduce_losses
from manual_backprop.spec import FloatArray
from reference.drawing.regimes import REGIMES
from reference.judge import TIGHT, ULPS
from reference.oracles.certified import certify
from reference.oracles.manual import Manual
from reference.problems import Selection, draw, in_dtype
from reference.rounding.radii import radii

PROBLEMS, WALKS = 48, 24
ALMOST = 0.98  # of what the model allows: the walk's own float64 has to be nothing beside the rest
UNIT, FLOOR = 2.0**-24, float(np.finfo(np.float32).smallest_subnormal)
REGIMES_IN_RANGE = tuple(name for name in REGIMES if name != "huge")


class Walk:
    """A forward and a backward walk, each of whose roundings goes as far as it may."""

    def __init__(self, seed: int) -> None:
        self._coins = np.random.default_rng(seed)

    def off(self, value: FloatArray, magnitude: FloatArray, units: float) -> FloatArray:
        """Return a value moved by so many units of rounding of a magnitude, up or down."""
        signs = self._coins.choice([-1.0, 1.0], np.shape(value))
        return value + signs * ALMOST * units * (UNIT * np.abs(magnitude) + FLOOR)

    def operation(self, value: FloatArray) -> FloatArray:
        return self.off(value, value, ULPS)

    def product(self, rows: FloatArray, matrix: FloatArray, terms: int) -> FloatArray:
        return self.off(rows @ matrix, np.abs(rows) @ np.abs(matrix), terms)

    def cotangents(self, problem: Problem) -> Iterator[tuple[str, FloatArray]]:
        """Yield the loss and every cotangent."""
        network, n = problem.network, problem.batch
        a, steps = problem.x, []
        for i, layer in enumerate(network.layers):
            weight = problem.parameters[f"layers.{i}.weight"]
            bias = problem.parameters.get(f"layers.{i}.bias", np.zeros(layer.width))
            magnitude = np.abs(a) @ np.abs(weight) + np.abs(bias)
            z = self.off(a @ weight + bias, magnitude, len(weight) + 1)
            y = layer.operation.forward(z, **layer.parameters)
            steps.append((layer, weight, a, z, y))
            a = self.operation(y)
        operation, arguments = network.loss_operation, problem.loss_arguments()
        losses = self.operation(operation.forward(a, problem.targets, **arguments))
        yield "loss", reduce_losses(problem, losses)
        slope = operation.backward(a, problem.targets, np.ones_like(losses), **arguments)
        scale = losses_cotangent(problem, losses)
        da = self.operation(slope) * (scale if operation.elementwise else scale[:, None])
        da = self.off(da, da, n + 4)
        for i in reversed(range(len(steps))):
            layer, weight, below, z, y = steps[i]
            dz = self.pulled(layer, z, y, da)
            yield f"layers.{i}.a", da
            yield f"layers.{i}.z", dz
            yield f"layers.{i}.weight", self.product(below.T, dz, n)
            if layer.bias:
                yield f"layers.{i}.bias", self.product(np.ones((1, n)), dz, n)[0]
            da = self.product(dz, weight.T, layer.width)
        yield "x", da

    def pulled(self, layer: Layer, z: FloatArray, y: FloatArray, da: FloatArray) -> FloatArray:
        """Return the cotangent of z; by rows, through every slope of the row."""
        backward, parameters = layer.operation.backward, layer.parameters
        if not layer.operation.rowwise:
            dz = da * self.operation(backward(z, y, np.ones_like(z), **parameters))
            return self.off(dz, dz, 1)
        one_hot = np.eye(z.shape[1])
        slopes = [backward(z, y, np.broadcast_to(e, z.shape), **parameters) for e in one_hot]
        jacobian = self.operation(np.stack(slopes, axis=1))  # (N, output, input)
        return self.product(da[:, None, :], jacobian, z.shape[1] + 2)[:, 0, :]


def reached(problem: Problem, seed: int) -> dict[str, float]:
    """How far the walks come, in radii, for each tensor."""
    certificate = certify(problem)
    found = radii(certificate, TIGHT).radius
    widest: dict[str, float] = dict.fromkeys(certificate.leaves, 0.0)
    exact = in_dtype(problem, float)
    with np.errstate(all="ignore"):
        for walk in range(WALKS):
            for name, value in Walk(seed + walk).cotangents(exact):
                error, radius = certificate[name].distance(value), found[name]
                known = np.isfinite(radius) & (error > 0)
                ratio = np.where(known, error / np.where(radius > 0, radius, FLOOR), 0.0)
                widest[name] = max(widest[name], float(ratio.max(initial=0.0)))
    return widest


def test_the_worst_rounding_is_inside_every_radius_and_comes_near() -> None:
    selection = Selection(regimes=REGIMES_IN_RANGE, dtypes=("float32",))
    near: dict[str, list[float]] = {}
    for k in range(PROBLEMS):
        drawn = draw(31, selection.index(211 * k))
        for name, ratio in reached(drawn.problem, 1000 * k).items():
            assert ratio <= 1.0, f"{drawn.at}: {name} is {ratio:.3g} radii from the truth"
            near.setdefault(name.rsplit(".", 1)[-1], []).append(ratio)
    # A hundredfold radius would let everything in: of each kind of tensor most come near theirs.
    assert set(near) == {"loss", "a", "z", "weight", "bias", "x"}
    for kind, ratios in near.items():
        assert np.median(ratios) > 0.1, (kind, sorted(ratios))


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_logits_that_cancel_in_every_corner_are_covered(loss: str) -> None:
    """Ill-conditioned logits at even places, an exact one, the largest, at an odd place.

    Rounding one of them up and the others down moves the largest probability by all of them, and
    no corner that goes alike, in turn, or the largest against all is of this kind.
    """
    stream = np.random.default_rng(3)
    width, ill = 21, range(0, 20, 2)
    x, steep, bias = np.array([[1.1]]), np.zeros(width), np.full(width, -60.0)
    for n, k in enumerate(ill):
        tried = stream.uniform(0.5, 1, 4000) * 1e11
        product = x[0, 0] * tried
        exact = x[0, 0].astype(np.longdouble) * tried
        steep[k] = tried[np.argmax((product - exact) / product * (1 if n == 0 else -1))]
        bias[k] = -x[0, 0] * steep[k]
    bias[1] = 0.05
    softmax = loss == "squared_error"
    layer = Layer(width, "softmax" if softmax else "identity")
    targets = np.zeros((1, width)) if softmax else np.array([1])
    problem = Problem(
        Network(1, (layer,), loss, {}, "sum"),
        {"layers.0.weight": steep[None], "layers.0.bias": bias},
        x,
        targets,
    )
    certificate = certify(problem)
    found, answer = radii(certificate, TIGHT).radius, Manual().answer(problem)
    for name, value in answer.gradients.items():
        assert (certificate[name].distance(value) <= found[name]).all(), name
