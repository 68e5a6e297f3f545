"""The complex step as an oracle: our own forward at x + ih.

f(x + ih) = f(x) + ih f'(x) + O(h²), so f'(x) = Im f(x + ih) / h, without a subtraction. At
h = 2^-664, near 1e-200, h² is negligible and the slope is right to rounding. This checks our
backward with our own forward, so it cannot find a wrong forward.

Limits: a gradient below about 1e-123 loses digits, because h times it is subnormal, and where the
forward reaches infinity complex arithmetic gives NaN (∞ · 0i). Squire and Trapp, 1998.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from manual_backprop import graph as graphs
from manual_backprop.graph import Step
from manual_backprop.network import LOSSES_STEP, Problem, network_graph, reduce_losses
from manual_backprop.operation import ByName, FloatArray, Form
from reference.oracles import Answer, Oracle
from reference.problems import AnyProblem, with_arrays

_H = 2.0**-664  # a power of two: dividing by it rounds nothing
_CHUNK_NUMBERS = 1 << 16  # complex numbers in one stacked array, 1 MB: it stays in the cache


class ComplexStep(Oracle):
    """Perturbs one number at a time; the perturbed copies of a tensor are stacked."""

    name = "complex_step"

    def answer(self, problem: AnyProblem) -> Answer:
        """Perturb every parameter, the input and every intermediate step, in double precision."""
        assert isinstance(problem, Problem)  # it does not ask for graphs
        dtype = problem.dtype
        with np.errstate(all="ignore"):
            wide = _complex(problem)
            graph, given = network_graph(wide)
            known = graphs.forward(graph, given)
            loss = np.asarray(reduce_losses(wide, known.pop(LOSSES_STEP)).real.astype(dtype))
            known = {"x": wide.x, **wide.parameters, **known}
            found = {name: _gradient(wide, name, known).astype(dtype) for name in known}
        return Answer(self.name, loss, found)


def _gradient(problem: Problem, name: str, known: Mapping[str, np.ndarray]) -> FloatArray:
    """Return the derivative of the loss, or of the sum of a vector loss, by one tensor."""
    value = known[name]
    gradient = np.empty(value.size)
    chunk = max(1, _CHUNK_NUMBERS // max(v.size for v in known.values()))
    for start in range(0, value.size, chunk):
        places = np.arange(start, min(start + chunk, value.size))
        stack = np.repeat(value.reshape(1, -1), len(places), axis=0)
        stack[np.arange(len(places)), places] += 1j * _H
        # A bias (D,) is added to every row: stacked it stands as (P, 1, D).
        shape = (1, *value.shape) if value.ndim == 1 else value.shape
        losses = _losses(problem, name, stack.reshape(len(places), *shape))
        gradient[places] = losses.reshape(len(places), -1).sum(axis=1).imag / _H
    return gradient.reshape(value.shape)


def _losses(problem: Problem, name: str, stack: np.ndarray) -> FloatArray:
    """Return the losses for a stack of values of the tensor `name`."""

    def apply(step: Step, arrays: ByName, form: Form) -> FloatArray:
        return stack if step.name == name else graphs.apply_step(step, arrays, form)

    graph, given = network_graph(problem)
    arrays = {**given, name: stack} if name in given else given
    return reduce_losses(problem, graphs.forward(graph, arrays, apply=apply)[LOSSES_STEP])


def _complex(problem: Problem) -> Problem:
    """Return the problem in complex double precision; targets, weights and the rest stay real."""

    def double(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array

    wide = with_arrays(problem, double)
    parameters: dict[str, np.ndarray] = {
        name: v.astype(np.complex128) for name, v in wide.parameters.items()
    }
    return replace(wide, x=wide.x.astype(np.complex128), parameters=parameters)
