"""The ways in which JAX is asked for derivatives, each for any loss function with probes and taps.

JAX returns derivatives by inputs only. Two kinds of zeros are added to get the others:

- A *probe* is a zero added to the value of a step. The derivative by it is the step's cotangent.
- A *tap* is a zero added to the cotangent of a step (`jax_padded.tap`). The derivative of
  ⟨gradient, direction⟩ by it is the step's tangent.

`loss(inputs, probes, taps)` returns a `LossResult`. Each function here takes a loss, its inputs,
the probes and a direction of the inputs. It returns the number that is differentiated, the loss
that is shown, then the parts of an answer: gradients, values and, at second order, tangents and
products.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from manual_backprop.operation import ByName
from reference.oracles.forwards import At

if TYPE_CHECKING:
    import jax

Tree = dict[str, Any]
LossResult: TypeAlias = "tuple[jax.Array, tuple[jax.Array, Tree]]"
"""(the number that is differentiated, (the loss that is shown, the value of every step))."""
Loss = Callable[[Tree, Tree, Tree], LossResult]
Found = tuple[Any, ...]
Derivative = Callable[[Loss, Tree, Tree, Tree], Found]
PARTS = ("gradients", "values", "tangents", "products")
"""The parts that a derivative returns, by the names of an answer."""


def first_order(loss: Loss, inputs: Tree, probes: Tree, direction: Tree) -> Found:
    """Return gradients and values by `jax.grad`; the direction is not used."""
    import jax

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (total, (shown, values)), found = gradient(inputs, probes, {})
    return total, shown, found[0] | found[1], values


def forward_over_reverse(loss: Loss, inputs: Tree, probes: Tree, direction: Tree) -> Found:
    """Return all four parts by `jax.jvp` of `jax.grad`."""
    import jax

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    primal, tangent = jax.jvp(
        lambda inputs, probes: gradient(inputs, probes, {}),
        (inputs, probes),
        (direction, probes),  # the probes are zeros, and so are their tangents
    )
    ((total, (shown, values)), first), ((_, (_, tangents)), second) = primal, tangent
    return total, shown, first[0] | first[1], values, tangents, second[0] | second[1]


def reverse_over_reverse(loss: Loss, inputs: Tree, probes: Tree, direction: Tree) -> Found:
    """Return all four parts by `jax.grad` of ⟨`jax.grad`, direction⟩.

    The tangents of the steps are the derivatives by the taps.
    """
    import jax

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

    def along(inputs: Tree, probes: Tree, taps: Tree) -> "tuple[jax.Array, Found]":
        found, first = gradient(inputs, probes, taps)
        total = sum((first[0][name] * tangent).sum() for name, tangent in direction.items())
        return total, (found, first)

    moved, (found, first) = jax.grad(along, argnums=(0, 1, 2), has_aux=True)(inputs, probes, probes)
    total, (shown, values) = found
    return total, shown, first[0] | first[1], values, moved[2], moved[0] | moved[1]


def probed(probes: ByName, taps: ByName) -> "At[jax.Array]":
    """Return the hook that adds a step's probe and its tap, if it has them."""
    from reference.oracles.jax_padded import tap

    def at(value: "jax.Array", step: str) -> "jax.Array":
        value = value + probes[step] if step in probes else value
        return tap(value, taps[step]) if step in taps else value

    return at
