"""What is checked in a way of its own: torch, jax, an engine of values, a general form, a network.

Each kind is a `Subject`; `subject_of` makes the one that belongs to a unit.
"""

from ._factory import subject_of, wants_tensors

__all__ = ["subject_of", "wants_tensors"]
