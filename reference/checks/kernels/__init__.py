"""A framework's own function with a gradient by hand, called in the ways that programs call it."""

from reference.checks.kernels._findings import Findings
from reference.checks.kinds.functions import FunctionSubject

__all__ = ["Findings", "kernel_findings"]


def kernel_findings(subject: FunctionSubject, seed: int) -> Findings:
    """Return what every way of asking a kernel finds.

    subject: a torch.autograd.Function or a jax.custom_vjp, under the reading that was found.
    seed: the stream that problems are drawn from.
    """
    if subject.frame.module == "torch":
        from reference.checks.kernels._torch_ways import TorchWays  # it imports torch

        return TorchWays(subject, seed).findings()
    from reference.checks.kernels._jax_ways import JaxWays

    return JaxWays(subject, seed).findings()
