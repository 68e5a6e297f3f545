"""What is checked in a way of its own: torch, jax, an engine of values, a general form, a network.

Each kind is a `Subject`; `subject_of` makes the one that belongs to a unit.
"""

from ._factory import subject_of, wants_tensors
from ._questions import Question, Questioned, RightAnswer
from .frameworks_answers import answers

__all__ = [
    "Question", "Questioned", "RightAnswer", "answers", "subject_of", "wants_tensors",
]  # fmt: skip
