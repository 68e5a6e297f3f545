"""Stands for the ctx of a torch.autograd.Function whose forward runs outside of it."""

from typing import Any


class TorchContext:
    """Keeps what a forward saves, and which outputs it calls not differentiable."""

    def __init__(self, count: int) -> None:
        self.needs_input_grad = (True,) * count
        self.saved_tensors: tuple[Any, ...] = ()
        self._flat: list[Any] = []

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors."""
        self.saved_tensors = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for a jvp, which nobody asks for."""

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Note outputs that have no gradient."""
        self._flat += tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Note inputs that were written into; the leaves are copied before."""

    def set_materialize_grads(self, value: bool) -> None:
        """Do nothing: every cotangent is given."""

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """The old name of saved_tensors."""
        return self.saved_tensors

    def differentiable(self, outputs: Any) -> Any:
        """Return the outputs, None for those that have no gradient."""
        if isinstance(outputs, tuple | list):
            return [self.differentiable(o) for o in outputs]
        return None if any(outputs is t for t in self._flat) else outputs
