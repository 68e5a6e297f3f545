"""The hand-written backprop in a low dtype: each operation computes in float32, then rounds.

Values between operations are stored in the dtype. An operation's backward computes in float32 from
the stored inputs. If it needs the operation's value, it computes it again in float32, so that no
slope is taken from a rounded output.
"""

from collections.abc import Mapping

import numpy as np

from manual_backprop import graph
from manual_backprop.graph import GraphProblem, Step
from manual_backprop.network import (
    LOSSES_STEP,
    Problem,
    losses_cotangent,
    network_graph,
    reduce_losses,
)
from manual_backprop.operation import Form, is_float
from reference.formats import inside
from reference.oracles import Answer
from reference.problems import computed_in

Array = np.ndarray


def low_answer(name: str, problem: Problem | GraphProblem) -> Answer:
    """Return the answer to a problem whose arrays are of a low dtype."""
    walk = _Rounding(problem.dtype)
    if isinstance(problem, GraphProblem):
        values, cotangents = graph.values_and_gradients(problem, "stable", walk.apply, walk.pull)
        terms = [(walk.inside(c) * walk.inside(values[name])).sum()
                 for name, c in problem.cotangents.items()]  # fmt: skip
        return Answer(name, walk.rounded(np.asarray(sum(terms))), cotangents, values=values)
    steps, given = network_graph(problem)
    values = graph.forward(steps, given, apply=walk.apply)
    again, losses = computed_in(problem), walk.inside(values[LOSSES_STEP])
    loss = walk.rounded(np.asarray(reduce_losses(again, losses)))
    start = {LOSSES_STEP: walk.rounded(losses_cotangent(again, losses))}
    found = graph.backward(steps, given, values, start, pull=walk.pull)
    del found[LOSSES_STEP], values[LOSSES_STEP]
    return Answer(name, loss, found, values=values)


class _Rounding:
    """The steps of the two walks, each computed in the wider type and rounded to the dtype."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype, self._inside = dtype, inside(dtype)

    def inside(self, array: Array) -> Array:
        """Return an array in the type that operations compute in, exactly."""
        return array.astype(self._inside) if is_float(array) else array

    def rounded(self, array: Array) -> Array:
        """Return an array in the dtype, each number rounded to nearest."""
        return np.asarray(array).astype(self._dtype)

    def apply(self, step: Step, arrays: Mapping[str, Array], form: Form) -> Array:
        """Return a step's value."""
        inside = {name: self.inside(array) for name, array in arrays.items()}
        return self.rounded(graph.apply_step(step, inside, form))

    def pull(
        self, step: Step, arrays: Mapping[str, Array], y: Array, dy: Array, form: Form
    ) -> Mapping[str, Array]:
        """Return the cotangents of a step's arguments; its value is recomputed unrounded."""
        inside = {name: self.inside(array) for name, array in arrays.items()}
        again = graph.apply_step(step, inside, form)
        found = graph.pull_back_step(step, inside, again, self.inside(dy), form)
        return {name: self.rounded(cotangent) for name, cotangent in found.items()}
