"""The fast step: one plain step is written down once, then replayed in buffers kept for ever.

The mathematics stays where it is, in the operations and in the two walks of `network`. They run
once on traced arrays; a step is the calls that they made, each with its operands and the place
for its result. See `tape` for what is gained on the way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from manual_backprop.network import Problem, backward, check_problem, forward
from manual_backprop.spec import FloatArray, Form, InvalidInput
from manual_backprop.tape import Array, Tape, Traced, replay


class Step:
    """One forward and backward walk of a network for one batch size and dtype.

    `step(x, targets)` returns the loss and the gradients, in arrays that belong to the step and
    are overwritten by the next call. `step.inputs` are the step's own x, targets, weights and
    parameters: update them in place, `step.inputs[name] -= rate * step.gradients[name]`. What the
    caller passes is copied into them, unless it is `step.inputs["x"]` itself, filled in place.
    Two threads need two steps: `copy.copy(step)` makes another one with the same inputs.
    """

    def __init__(self, problem: Problem, wanted: tuple[str, ...], form: Form) -> None:
        self._problem, self._wanted, self._form = problem, wanted, form
        tape = Tape()
        given = {"x": problem.x, "targets": problem.targets, "weights": problem.weights}
        given |= {**problem.arrays, **problem.parameters}
        traced: dict[str, Any] = {n: tape.note(n, v) for n, v in given.items() if v is not None}
        symbolic = _with_inputs(problem, traced)
        trace = forward(symbolic, form)
        found: dict[str, Any] = {"loss": trace.loss, **backward(symbolic, trace)}
        for name in ("loss", *wanted):
            if not isinstance(found[name], Traced):  # it depends on no input
                found[name] = tape.note(("constant", name), found[name])
        self._calls, places = tape.assemble([found[name] for name in ("loss", *wanted)])
        self.inputs: Mapping[str, Array] = {n: places[t.number] for n, t in traced.items()}
        self.loss: FloatArray = places[found["loss"].number]
        self.gradients: Mapping[str, FloatArray] = {n: places[found[n].number] for n in wanted}
        self._x, self._targets = self.inputs["x"], self.inputs["targets"]

    def __call__(
        self, x: FloatArray, targets: Array
    ) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """Return the loss and the gradients at x and targets."""
        if x is not self._x:
            _fill("x", self._x, x)
        if targets is not self._targets:
            _fill("targets", self._targets, targets)
        replay(self._calls)
        return self.loss, self.gradients

    def __reduce__(self) -> tuple[Any, ...]:
        # Traced anew wherever it is copied or pickled to: a view would become an array of its own.
        return Step, (_with_inputs(self._problem, self.inputs), self._wanted, self._form)


def compile_step(
    problem: Problem, wanted: Iterable[str] | None = None, form: Form = "careful"
) -> Step:
    """Return the fast step of a problem's network, for its batch size, dtype and kind of targets.

    `wanted` names the gradients as `network.backward` does (parameters, steps, "x"); left out,
    they are those of the parameters, which is what training needs. `form` as in `forward`.
    """
    check_problem(problem)
    shapes = problem.network.parameter_shapes()
    names = tuple(shapes if wanted is None else wanted)
    known = [*shapes, *problem.network.step_names(), "x"]
    for name in names:
        if name not in known:
            raise InvalidInput(f"wanted: {name!r} is not one of: {', '.join(known)}")
    return Step(problem, names, form)


def _with_inputs(problem: Problem, inputs: Mapping[str, Any]) -> Problem:
    given: dict[str, Any] = {name: inputs.get(name) for name in ("x", "targets", "weights")}
    parameters = {name: inputs[name] for name in problem.parameters}
    arrays = {name: inputs[name] for name in problem.arrays}
    return replace(problem, **given, parameters=parameters, arrays=arrays)


def _fill(name: str, place: Array, given: Array) -> None:
    shape, dtype = getattr(given, "shape", ""), getattr(given, "dtype", type(given).__name__)
    if shape != place.shape or dtype != place.dtype:
        raise InvalidInput(f"{name}: {dtype} {shape}, but it takes {place.dtype} {place.shape}")
    place[...] = given
