"""A user's oracle: it gets arrays that it cannot change, and its answers are validated.

If it fails or its answer is invalid, the report names it and gives the reason.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from manual_backprop.graph import GraphProblem
from reference.oracles import Answer, Oracle, Status, readable, takes_graphs
from reference.problems import AnyProblem, with_arrays

_NUMBERS = "biufc"  # the kinds of dtype that can be compared


class ExternalOracle:
    """An oracle named by MODULE:CLASS."""

    def __init__(self, oracle: Oracle, name: str) -> None:
        self._oracle = oracle
        self.name = name
        self.graphs = takes_graphs(oracle)

    def unavailable(self) -> str | None:
        """Return why it cannot answer; an error counts as a reason."""
        try:
            reason = self._oracle.unavailable()
        except Exception as error:
            return f"its method unavailable() failed: {readable(error)}"
        return None if reason is None else str(reason)

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer one problem."""
        return self._read(self._oracle.answer(_closed(problem)), problem)

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block; raise TypeError unless the oracle returns a list of as many answers."""
        given: object = self._oracle.answers([_closed(problem) for problem in problems])
        if not isinstance(given, list) or len(given) != len(problems):
            many = f"a list of {len(given)}" if isinstance(given, list) else _kind(given)
            raise TypeError(f"answers: {many}, expected a list of {len(problems)} Answers")
        return [self._read(*pair) for pair in zip(given, problems, strict=True)]

    def _read(self, given: object, problem: AnyProblem) -> Answer:
        """Return an answer that the judge can compare; a TypeError names what it cannot compare."""
        if not isinstance(given, Answer):
            raise TypeError(f"answer: {_kind(given)}, expected an Answer")
        if given.status not in get_args(Status):
            raise TypeError(f"status={given.status!r}: expected one of {get_args(Status)}")
        loss = given.loss
        if isinstance(loss, float | int):
            loss = np.asarray(loss, problem.dtype)
        arrays: list[tuple[str, object]] = [] if loss is None else [("loss", loss)]
        for kind in ("gradients", "values", "tangents", "products"):
            some = getattr(given, kind)
            if not isinstance(some, Mapping):
                raise TypeError(f"{kind}: {_kind(some)}, expected a mapping")
            arrays += some.items()
        for name, array in arrays:
            if not isinstance(array, np.ndarray | np.generic) or array.dtype.kind not in _NUMBERS:
                raise TypeError(f"{name}: {_kind(array)}, expected a NumPy array of numbers")
        reason = readable(given.reason)
        return dataclasses.replace(given, oracle=self.name, loss=loss, reason=reason)


def _closed(problem: AnyProblem) -> AnyProblem:
    if isinstance(problem, GraphProblem):
        return problem.map_arrays(_sealed)
    return with_arrays(problem, _sealed)


def _sealed(array: np.ndarray) -> np.ndarray:
    """Return a read-only view, so that all oracles get the same numbers."""
    view = array.view()
    view.flags.writeable = False
    return view


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"a {type(value).__name__}"
