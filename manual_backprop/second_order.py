"""Second order by hand: how every number of the two walks moves along a direction.

A direction v gives a tangent to each parameter and to x: x moves by ε v_x, a weight by ε v_W. Each
step of the forward walk then moves by ε times its own tangent, and each cotangent of the backward
walk by ε times its product. The products of the parameters and of x are the Hessian times v, in one
more pass of each walk; the Hessian itself is never made. Pearlmutter, 1994.

The names are those of `network`: with `trace.steps`, `cotangents`, `tangents` and `products` every
intermediate number is there under its step.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from manual_backprop.layers import Dense
from manual_backprop.network import (
    Problem,
    Trace,
    backward,
    forward,
    losses_cotangent,
)
from manual_backprop.spec import FloatArray, InvalidInput

Direction = Mapping[str, FloatArray]
"""Tangents by name, of parameters and of "x", each in the shape of what it moves."""


@dataclass(frozen=True)
class HessianProduct:
    """What the two walks and their tangents leave behind.

    `cotangents` are those of `network.backward`; `tangents` say how each step moves, `products` how
    each cotangent does: under a parameter's name, and under "x", stands its part of H v.
    """

    trace: Trace
    cotangents: dict[str, FloatArray]
    tangents: dict[str, FloatArray]
    products: dict[str, FloatArray]


def hessian_vector_product(problem: Problem, direction: Direction) -> HessianProduct:
    """Return H v for the direction v, with every intermediate number by name.

    H holds the second derivatives of the loss (for the reduction "none" of the sum of the weighted
    losses) by all parameters and by x. What the direction does not name does not move.

    At a kink there is no second derivative, and what comes out is that of the side which `backward`
    takes. Raises InvalidInput for a name, shape or dtype that is not the network's, and where an
    operation has no `second`. Like `forward`, it does not check the problem.
    """
    return product_along(problem, complete_direction(problem, direction))


def product_along(problem: Problem, direction: Direction) -> HessianProduct:
    """Walk along a direction of x and every parameter, which is not checked and may be traced."""
    trace = forward(problem)
    cotangents = backward(problem, trace)
    tangents = _forward_tangents(problem, trace, direction)
    products = _backward_tangents(problem, trace, cotangents, tangents, direction)
    return HessianProduct(trace, cotangents, tangents, products)


def gradient_norm_gradient(problem: Problem, by: Iterable[str] = ("x",)) -> dict[str, FloatArray]:
    """Return the gradient of the penalty ½ Σ g², g the gradient of the loss by the names `by`.

    Σ_i g_i ∂g_i/∂θ is the Hessian times g, with zeros where a name is not in `by`. With "x" it is
    the gradient penalty of Gulrajani et al., 2017, and Drucker and LeCun's double backpropagation,
    1992. The result has every parameter and "x". Raises InvalidInput for an unknown name.
    """
    known = variables(problem)
    wanted = tuple(by)
    for name in wanted:
        if name not in known:
            raise InvalidInput(f"by={name!r} is unknown; expected of: {', '.join(known)}")
    gradient = backward(problem, forward(problem))
    products = hessian_vector_product(problem, {name: gradient[name] for name in wanted}).products
    return {name: products[name] for name in known}


def variables(problem: Problem) -> dict[str, FloatArray]:
    """Return what the loss is differentiated by: x and every parameter."""
    return {
        "x": problem.x,
        **{n: problem.parameters[n] for n in problem.network.parameter_shapes()},
    }


def _forward_tangents(
    problem: Problem, trace: Trace, direction: Direction
) -> dict[str, FloatArray]:
    """Walk from x to the prediction; return the tangent of every step."""
    tangents: dict[str, FloatArray] = {}
    a, ta = problem.x, direction["x"]
    for i, layer in enumerate(problem.network.layers):
        name = f"layers.{i}"
        weight, tweight = problem.parameters[f"{name}.weight"], direction[f"{name}.weight"]
        tz = Dense.tangent(a, ta, weight, tweight, direction.get(f"{name}.bias"))
        z, a = trace.steps[f"{name}.z"], trace.steps[f"{name}.a"]
        ta = layer.operation.tangent(z, a, tz, **layer.parameters)
        tangents[f"{name}.z"], tangents[f"{name}.a"] = tz, ta
    return tangents


def _backward_tangents(
    problem: Problem,
    trace: Trace,
    cotangents: Mapping[str, FloatArray],
    tangents: Mapping[str, FloatArray],
    direction: Direction,
) -> dict[str, FloatArray]:
    """Walk from the loss to x; return how every cotangent moves.

    Each step of `backward` is linear in its cotangent, so what it returns moves by two parts, which
    are added: the step itself at the moved cotangent, and `second`, at the cotangent as it is, for
    the inputs that move.
    """
    network, steps = problem.network, trace.steps
    last = f"layers.{len(network.layers) - 1}.a"
    products: dict[str, FloatArray] = {}
    dL = losses_cotangent(problem, trace.losses)  # w/divisor: it does not move
    tda = network.loss_operation.second(
        steps[last], problem.targets, dL, tangents[last], **problem.loss_arguments()
    )
    for i in reversed(range(len(network.layers))):
        name, layer = f"layers.{i}", network.layers[i]
        z, a, tz = steps[f"{name}.z"], steps[f"{name}.a"], tangents[f"{name}.z"]
        da, dz = cotangents[f"{name}.a"], cotangents[f"{name}.z"]
        weight = problem.parameters[f"{name}.weight"]
        below, tbelow = problem.x, direction["x"]
        if i:
            below, tbelow = steps[f"layers.{i - 1}.a"], tangents[f"layers.{i - 1}.a"]
        tdz = layer.operation.backward(z, a, tda, **layer.parameters)
        tdz = tdz + layer.operation.second(z, a, da, tz, **layer.parameters)
        products[f"{name}.a"], products[f"{name}.z"] = tda, tdz
        moved = Dense.backward(below, tdz, weight, problem.parameters.get(f"{name}.bias"))
        gained = Dense.second(tbelow, dz, direction[f"{name}.weight"])
        moved |= {part: moved[part] + gain for part, gain in gained.items()}
        tda = moved.pop("x")
        products |= {f"{name}.{part}": value for part, value in moved.items()}
    products["x"] = tda
    return products


def complete_direction(problem: Problem, direction: Direction) -> Direction:
    """Return the direction with zeros for what it does not name; what does not fit is an error."""
    known = variables(problem)
    if not isinstance(direction, Mapping):
        kind = type(direction).__name__
        raise InvalidInput(f"direction: a {kind}, expected a mapping from names to arrays")
    for name, tangent in direction.items():
        if name not in known:
            raise InvalidInput(f"direction: {name!r} is unknown; expected of: {', '.join(known)}")
        expected = known[name]
        if not isinstance(tangent, np.ndarray):
            kind = type(tangent).__name__
            raise InvalidInput(f"direction[{name!r}]: a {kind}, expected a NumPy array")
        if tangent.shape != expected.shape or tangent.dtype != expected.dtype:
            raise InvalidInput(
                f"direction[{name!r}]: {tangent.dtype} of shape {tangent.shape}, "
                f"expected {expected.dtype} of shape {expected.shape}"
            )
    return {name: direction.get(name, np.zeros_like(value)) for name, value in known.items()}
