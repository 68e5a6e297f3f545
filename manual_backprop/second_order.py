"""Second order by hand: the directional derivative of every number of the two walks.

A direction v has a tangent for each parameter and for x. The derivative of each value along v is
its *tangent*; that of each cotangent is its *product*. The products of the parameters and of x are
the Hessian times v. They need one more pass of each walk, and the Hessian itself is never computed.
Pearlmutter, 1994.

`values`, `cotangents`, `tangents` and `products` have every intermediate number, under the names of
`network` or of the graph's steps.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from manual_backprop import graph as graphs
from manual_backprop.graph import GraphProblem
from manual_backprop.network import (
    LOSSES_STEP,
    Problem,
    backward,
    forward,
    losses_cotangent,
    network_graph,
)
from manual_backprop.operation import ByName, FloatArray, InvalidInput

Direction = Mapping[str, FloatArray]
"""Tangents by name, of parameters and of "x", each in the shape of its array."""


@dataclass(frozen=True)
class HessianProduct:
    """The Hessian times v, and every number that was computed for it.

    `values` has the value of every step, `cotangents` has the gradients that `network.backward` or
    `graph.values_and_gradients` returns. `tangents` has the derivative of each value along v,
    `products` that of each cotangent. The product of a parameter, or of another input, is its part
    of H v.
    """

    loss: FloatArray
    values: dict[str, FloatArray]
    cotangents: dict[str, FloatArray]
    tangents: dict[str, FloatArray]
    products: dict[str, FloatArray]


def hessian_vector_product(problem: Problem | GraphProblem, direction: Direction) -> HessianProduct:
    """Return H v for the direction v, with every intermediate number by name.

    H holds the second derivatives of the loss by all parameters and by x. The loss is, for the
    reduction "none", the sum of the weighted losses; of a graph it is Σ cotangent · output, by
    every array of floats. Arrays that the direction does not name have the tangent 0.

    At a kink there is no second derivative, and the result is that of the side which `backward`
    takes. Raises InvalidInput for a name, shape or dtype that is not the problem's, and for an
    operation without `tangent` or `second`. Like `forward`, it does not check the problem.
    """
    complete = complete_direction(problem, direction)
    if isinstance(problem, GraphProblem):
        return _graph_product(problem, complete)
    return product_along(problem, complete)


def product_along(
    problem: Problem,
    direction: Direction,
    push: Callable[..., FloatArray] = graphs.push_forward_step,
    pull_along: Callable[..., ByName] = graphs.pull_back_step_along,
) -> HessianProduct:
    """Return the product for a direction of x and every parameter, which is not checked.

    `push` and `pull_along` are the rules of one step; see `graph.tangents` and
    `graph.hessian_vector_products`.
    """
    graph, given = network_graph(problem)
    trace = forward(problem)
    cotangents = backward(problem, trace)
    made = trace.steps | {LOSSES_STEP: trace.losses}
    tangents = graphs.tangents(graph, given, made, direction, push)
    dL = losses_cotangent(problem, trace.losses)  # w/divisor: it is constant
    back = cotangents | {LOSSES_STEP: dL}
    products = graphs.hessian_vector_products(
        graph, given, made, back, {**direction, **tangents}, pull_along
    )
    return HessianProduct(trace.loss, trace.steps, cotangents, tangents, products)


def _graph_product(problem: GraphProblem, direction: Direction) -> HessianProduct:
    """Return the product of a graph, with zeros for arrays that no output depends on."""
    graph, given = problem.graph, problem.arrays
    made = graphs.forward(graph, given)
    reached = graphs.backward(graph, given, made, problem.cotangents)
    tangents = graphs.tangents(graph, given, made, direction)
    along = graphs.hessian_vector_products(graph, given, made, reached, {**direction, **tangents})
    asked = {**variables(problem), **made}
    cotangents, products = (
        {n: found[n] if n in found else np.zeros_like(a) for n, a in asked.items()}
        for found in (reached, along)
    )
    loss = np.asarray(sum((c * made[n]).sum() for n, c in problem.cotangents.items()))
    return HessianProduct(loss, made, cotangents, tangents, products)


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
            raise InvalidInput(f"by={name!r} is unknown; expected one of: {', '.join(known)}")
    gradient = backward(problem, forward(problem))
    products = hessian_vector_product(problem, {name: gradient[name] for name in wanted}).products
    return {name: products[name] for name in known}


def variables(problem: Problem | GraphProblem) -> dict[str, FloatArray]:
    """Return the arrays that the loss is differentiated by: x and parameters, or float arrays."""
    if isinstance(problem, GraphProblem):
        return {name: problem.arrays[name] for name in problem.floats}
    parameters = {n: problem.parameters[n] for n in problem.network.parameter_shapes()}
    return {"x": problem.x, **parameters}


def step_shapes(problem: Problem | GraphProblem) -> dict[str, tuple[int, ...]]:
    """Return the shape of every step's value; of a graph they are found by computing."""
    if isinstance(problem, GraphProblem):
        with np.errstate(all="ignore"):
            made = graphs.forward(problem.graph, problem.arrays)
        return {name: np.shape(value) for name, value in made.items()}
    widths = [layer.width for layer in problem.network.layers for _ in "za"]
    return {
        n: (problem.batch, w) for n, w in zip(problem.network.step_names(), widths, strict=True)
    }


def complete_direction(problem: Problem | GraphProblem, direction: Direction) -> Direction:
    """Return the direction with zeros for other arrays; raise InvalidInput if it does not fit."""
    known = variables(problem)
    if not isinstance(direction, Mapping):
        kind = type(direction).__name__
        raise InvalidInput(f"direction: a {kind}, expected a mapping from names to arrays")
    for name, tangent in direction.items():
        if name not in known:
            raise InvalidInput(
                f"direction: {name!r} is unknown; expected one of: {', '.join(known)}"
            )
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
