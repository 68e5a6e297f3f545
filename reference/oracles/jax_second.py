"""JAX at second order, in two ways: forward over reverse, and reverse over reverse.

Small networks go through padded programs as in `jax_grad`, larger ones operation by operation.
"""

from reference.oracles.jax_derivatives import forward_over_reverse, reverse_over_reverse
from reference.oracles.jax_grad import JaxGrad


class JaxForward(JaxGrad):
    """Forward over reverse: `jax.jvp` of `jax.grad`."""

    name = "jax_forward"
    derivative = staticmethod(forward_over_reverse)
    sizes = 1

    def __init__(self, *, padded: bool = True) -> None:
        super().__init__(padded=padded, compiled=False)


class JaxReverse(JaxForward):
    """Reverse over reverse: `jax.grad` of ⟨`jax.grad`, direction⟩."""

    name = "jax_reverse"
    derivative = staticmethod(reverse_over_reverse)
    switch_order = 2
