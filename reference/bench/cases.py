"""What is timed: shapes, the problem of a shape, and the floor of its matrix products."""

from collections.abc import Callable
from typing import Literal

import msgspec
import numpy as np

from manual_backprop.network import Layer, Network, Problem

Activation = Literal["tanh", "relu"]


class BenchCase(msgspec.Struct, frozen=True):
    """One training step: a classifier's widths, batch, dtype and hidden activation."""

    widths: tuple[int, ...]
    batch: int
    dtype: str = "float64"
    activation: str = "tanh"

    @property
    def shape(self) -> str:
        """The widths as text: 784-256-128-10."""
        return "-".join(map(str, self.widths))


SHAPES: tuple[tuple[tuple[int, ...], int], ...] = (
    ((4, 8, 3), 4),
    ((64, 64, 64, 10), 32),
    ((784, 256, 128, 10), 128),
    ((1024, 1024, 1024, 1024, 10), 256),
)


def problem_of(case: BenchCase) -> Problem:
    """Return the case as a problem with random numbers: cross entropy on labels, mean."""
    rng = np.random.default_rng(0)
    *hidden, classes = case.widths[1:]
    layers = (*(Layer(width, case.activation) for width in hidden), Layer(classes))
    network = Network(case.widths[0], layers, "cross_entropy")
    parameters = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(case.dtype)
        for name, shape in network.parameter_shapes().items()
    }
    x = rng.standard_normal((case.batch, case.widths[0])).astype(case.dtype)
    return Problem(network, parameters, x, rng.integers(0, classes, case.batch))


def floor_of(case: BenchCase) -> Callable[[], None]:
    """Return a function that makes the step's matrix products and nothing else.

    Forward a W; backward aᵀ dz for every layer and dz Wᵀ for all but the first, whose cotangent
    nobody needs in training. Operands lie as they do in the step: the transposed are views.
    """
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(case.dtype)

    steps = [numbers(case.batch, width) for width in case.widths]
    cotangents = [numbers(case.batch, width) for width in case.widths]
    weights = [numbers(*pair) for pair in zip(case.widths, case.widths[1:], strict=False)]
    gradients = [np.empty_like(weight) for weight in weights]
    products = [(a, weight, z) for a, weight, z in zip(steps, weights, steps[1:], strict=False)]
    for i in reversed(range(len(weights))):
        products.append((steps[i].T, cotangents[i + 1], gradients[i]))
        if i:
            products.append((cotangents[i + 1], weights[i].T, cotangents[i]))
    matmul = np.matmul

    def floor() -> None:
        for a, b, out in products:
            matmul(a, b, out=out)

    return floor
