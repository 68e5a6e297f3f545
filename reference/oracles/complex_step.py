"""The complex step as an oracle: our own forward at x + ih.

f(x + ih) = f(x) + ih f'(x) + O(h²), so f'(x) = Im f(x + ih) / h, without a subtraction. At
h = 2^-664, near 1e-200, h² is negligible and the slope is right to rounding. This checks our
backward with our own forward, so it cannot find a wrong forward.

Limits: a gradient below about 1e-123 loses digits, because h times it is subnormal, and where the
forward reaches infinity complex arithmetic gives NaN (∞ · 0i). Squire and Trapp, 1998.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from manual_backprop.layers import Dense
from manual_backprop.network import Problem, reduce_losses
from manual_backprop.operation import FloatArray
from reference.oracles import Answer
from reference.problems import with_arrays

ComplexArray = npt.NDArray[np.complexfloating]

_H = 2.0**-664  # a power of two: dividing by it rounds nothing
_CHUNK_NUMBERS = 1 << 16  # complex numbers in one stacked array, 1 MB: it stays in the cache


class ComplexStep:
    """Perturbs one number at a time; the perturbed copies of a tensor are stacked."""

    name = "complex_step"

    def unavailable(self) -> str | None:
        """Return None: it needs only NumPy."""
        return None

    def answer(self, problem: Problem) -> Answer:
        """Perturb every parameter, the input and every intermediate step, in double precision."""
        with np.errstate(all="ignore"):
            complex_problem = _complex(problem)
            walk = _ComplexWalk(complex_problem)
            gradients = {name: walk.gradient(name) for name in walk.names()}
        dtype = problem.dtype
        with np.errstate(all="ignore"):
            loss = np.asarray(walk.loss.real.astype(dtype))
            cast = {name: gradient.astype(dtype) for name, gradient in gradients.items()}
        return Answer(self.name, loss, cast)

    def answers(self, problems: Sequence[Problem]) -> list[Answer]:
        """Answer one problem after another."""
        return [self.answer(problem) for problem in problems]


class _ComplexWalk:
    """The forward walk. It can be repeated from any tensor, with a stack of values for it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.values: dict[str, np.ndarray] = {"x": problem.x, **problem.parameters}
        a: np.ndarray = problem.x
        for i in range(len(problem.network.layers)):
            z = self._dense(i, a, {})
            a = self._activate(i, z)
            self.values[f"layers.{i}.z"], self.values[f"layers.{i}.a"] = z, a
        self.loss = self._loss(a)

    def names(self) -> Iterator[str]:
        """Yield the names of the tensors by which the loss is differentiated."""
        return iter(self.values)

    def gradient(self, name: str) -> FloatArray:
        """Return the derivative of the loss, or of the sum of a vector loss, by a tensor."""
        value = self.values[name]
        gradient = np.empty(value.size)
        chunk = max(1, _CHUNK_NUMBERS // max(v.size for v in self.values.values()))
        for start in range(0, value.size, chunk):
            places = np.arange(start, min(start + chunk, value.size))
            stack = np.repeat(value.reshape(1, -1), len(places), axis=0)
            stack[np.arange(len(places)), places] += 1j * _H
            losses = self._again(name, stack.reshape(len(places), *value.shape))
            gradient[places] = losses.reshape(len(places), -1).sum(axis=1).imag / _H
        return gradient.reshape(value.shape)

    def _again(self, name: str, stack: ComplexArray) -> np.ndarray:
        """Return the losses for a stack of values of the tensor `name`."""
        depth = len(self.problem.network.layers)
        if name == "x":
            first, a = 0, stack
        else:
            _, number, part = name.split(".")
            i = int(number)
            match part:
                case "a":
                    a = stack
                case "z":
                    a = self._activate(i, stack)
                case _:
                    below = self.values[f"layers.{i - 1}.a"] if i else self.problem.x
                    # A bias (D,) is added to every row: stacked it stands as (P, 1, D).
                    changed = stack[:, None, :] if part == "bias" else stack
                    a = self._activate(i, self._dense(i, below, {name: changed}))
            first = i + 1
        for i in range(first, depth):
            a = self._activate(i, self._dense(i, a, {}))
        return self._loss(a)

    def _dense(self, i: int, a: np.ndarray, changed: dict[str, ComplexArray]) -> np.ndarray:
        parameters: dict[str, np.ndarray] = {**self.problem.parameters, **changed}
        name = f"layers.{i}"
        return Dense.forward(a, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))

    def _activate(self, i: int, z: np.ndarray) -> np.ndarray:
        layer = self.problem.network.layers[i]
        return layer.operation.forward(z, **layer.parameters)

    def _loss(self, prediction: np.ndarray) -> np.ndarray:
        problem = self.problem
        losses = problem.network.loss_operation.forward(
            prediction, problem.targets, **problem.loss_arguments()
        )
        return reduce_losses(problem, losses)


def _complex(problem: Problem) -> Problem:
    """Return the problem in complex double precision; targets, weights and the rest stay real."""

    def double(array: np.ndarray) -> np.ndarray:
        return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array

    wide = with_arrays(problem, double)
    parameters: dict[str, np.ndarray] = {
        name: v.astype(np.complex128) for name, v in wide.parameters.items()
    }
    return replace(wide, x=wide.x.astype(np.complex128), parameters=parameters)
