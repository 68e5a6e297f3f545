"""PyTorch at second order: double backward, forward over reverse, and nested forward mode.

All three give every number of both walks and how it moves. By double backward, how a cotangent
moves is the derivative of ⟨gradient, direction⟩ by a zero that was added at the step; the tangent
of a value is the derivative by a zero that was added to its cotangent.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from manual_backprop.graph import GraphProblem, Step
from manual_backprop.network import Problem
from manual_backprop.second_order import step_shapes, variables
from reference.oracles import Answer, skipped, unsupported
from reference.oracles.forwards import At, as_it_is, chain, graph_sum, step_value
from reference.oracles.torch_autograd import THREADS, TorchAutograd, reduced_loss, threads
from reference.oracles.torch_tensors import as_tensor
from reference.problems import AnyProblem, DirectedGraph, DirectedProblem

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

_LACKS = ("not implemented", "does not support it", "ZeroTensors are immutable")
"""PyTorch's errors where it has no rule, or where a rule writes into a zero of its own."""


class _TorchSecond(TorchAutograd):
    """What the three ways share: one problem after another."""

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block of directed problems, in order."""
        reason = self.unavailable()
        if reason is not None:
            return [skipped(self.name, reason) for _ in problems]
        with threads(THREADS):
            return [self._answer(problem) for problem in problems]

    def _answer(self, problem: AnyProblem) -> Answer:
        assert isinstance(problem, DirectedProblem | DirectedGraph)
        given = {name: as_tensor(value) for name, value in variables(problem).items()}
        direction = {name: as_tensor(value) for name, value in problem.direction.items()}
        try:
            loss, *parts = self._second(problem, given, direction)
        except (NotImplementedError, RuntimeError) as error:
            if not any(words in str(error) for words in _LACKS):
                raise
            return unsupported(self.name, f"PyTorch has no such derivative: {error}")
        # Forced: what torch knows to be zero it does not store.
        numbers = [{k: v.detach().numpy(force=True) for k, v in part.items()} for part in parts]
        gradients, values, tangents, products = numbers
        return Answer(
            self.name, loss.detach().numpy(), gradients,
            values=values, tangents=tangents, products=products,
        )  # fmt: skip

    def _second(
        self, problem: DirectedProblem | DirectedGraph, given: Tensors, direction: Tensors
    ) -> "tuple[torch.Tensor, Tensors, Tensors, Tensors, Tensors]":
        """Return the loss, gradients, values, tangents and products."""
        raise AssertionError("each way has its own")


class TorchReverse(_TorchSecond):
    """Double backward: the gradient's graph, differentiated by `autograd.grad` once more."""

    name = "torch_reverse"

    def _second(
        self, problem: DirectedProblem | DirectedGraph, given: Tensors, direction: Tensors
    ) -> "tuple[torch.Tensor, Tensors, Tensors, Tensors, Tensors]":
        import torch

        inputs = {name: tensor.requires_grad_() for name, tensor in given.items()}
        probes, taps = ({n: p.requires_grad_() for n, p in _probes(problem).items()}
                        for _ in range(2))  # fmt: skip
        loss, values = _function(problem, tapped(taps))(inputs, probes)
        names, wanted = [*inputs, *values], [*inputs.values(), *probes.values()]
        found = torch.autograd.grad(loss.sum(), wanted, create_graph=True, allow_unused=True)
        first = _filled(wanted, found)
        along: Any = sum(
            (g * direction[name]).sum() for name, g in zip(inputs, first, strict=False)
        )
        sought = [*wanted, *taps.values()]
        second: Sequence[torch.Tensor | None] = [None] * len(sought)
        if along.requires_grad:
            second = torch.autograd.grad(along, sought, allow_unused=True)
        moved = _filled(sought, second)
        products = dict(zip(names, moved, strict=False))
        tangents = dict(zip(values, moved[len(names) :], strict=True))
        return (loss, dict(zip(names, first, strict=True)), values, tangents, products)


def _filled(
    tensors: "Sequence[torch.Tensor]", gradients: "Sequence[torch.Tensor | None]"
) -> "list[torch.Tensor]":
    """Return the gradients, zeros for what nothing depends on."""
    import torch

    pairs = zip(tensors, gradients, strict=True)
    return [torch.zeros_like(tensor) if g is None else g for tensor, g in pairs]


def tapped(taps: Tensors) -> "At[torch.Tensor]":
    """Return f(value, step) -> the value; the step's tap, a zero, is added to its cotangent.

    The derivative of ⟨gradient, direction⟩ by the tap is the tangent of the value.
    """
    import torch

    class Tap(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(added)
            return value.view_as(value)

        @staticmethod
        def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
            return dy + ctx.saved_tensors[0], None

    apply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = Tap.apply
    return lambda value, step: apply(value, taps[step])


class TorchForward(_TorchSecond):
    """Forward over reverse: `torch.func.jvp` of `torch.func.grad`."""

    name = "torch_forward"

    def _second(
        self, problem: DirectedProblem | DirectedGraph, given: Tensors, direction: Tensors
    ) -> "tuple[torch.Tensor, Tensors, Tensors, Tensors, Tensors]":
        import torch

        function = _function(problem)
        probes = _probes(problem)

        def total(
            inputs: Tensors, probes: Tensors
        ) -> tuple[torch.Tensor, tuple[torch.Tensor, Tensors]]:
            loss, values = function(inputs, probes)
            return loss.sum(), (loss, values)

        gradient = torch.func.grad(total, argnums=(0, 1), has_aux=True)
        nowhere = {name: torch.zeros_like(value) for name, value in probes.items()}
        jvp: Any = torch.func.jvp
        with warnings.catch_warnings():  # its first call imports what torch itself calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            primal, tangent = jvp(gradient, (given, probes), (direction, nowhere))
        (first, first_steps), (loss, values) = primal
        (second, second_steps), (_, tangents) = tangent
        return (loss, {**first, **first_steps}, values, tangents, {**second, **second_steps})


class TorchNested(_TorchSecond):
    """Nested forward mode of each step of a graph: `torch.func.jacfwd` of `torch.func.jvp`.

    With the cotangent dy of a step and what it moves by, tdy, the derivatives of ⟨dy, y⟩ and of
    ⟨tdy, y⟩ + ⟨dy, ty⟩ by every entry of the step's arrays, y and its tangent ty by `jvp`, are its
    part of their cotangents and of what these move by. No backward rule takes part.
    """

    name = "torch_nested"

    def _answer(self, problem: AnyProblem) -> Answer:
        if isinstance(problem, DirectedProblem):
            return skipped(self.name, "nested forward mode is asked of the steps of graphs")
        return super()._answer(problem)

    def _second(
        self, problem: DirectedProblem | DirectedGraph, given: Tensors, direction: Tensors
    ) -> "tuple[torch.Tensor, Tensors, Tensors, Tensors, Tensors]":
        import torch

        assert isinstance(problem, DirectedGraph)
        graph, arrays = problem.graph, problem.arrays
        values = {n: as_tensor(a) for n, a in arrays.items() if n not in given} | given
        tangents = dict(direction)
        for step in graph.steps:
            values[step.name], tangents[step.name] = _pushed(step, values, tangents)
        gradients, products = ({n: torch.zeros_like(v) for n, v in values.items() if n in tangents}
                               for _ in range(2))  # fmt: skip
        for name, cotangent in problem.cotangents.items():
            gradients[name] += as_tensor(cotangent)
        for step in reversed(graph.steps):
            along = _along(step, values, tangents, gradients[step.name], products[step.name])
            inputs = {n: values[n] for n in step.inputs.values() if n in tangents}
            for total, found in zip((gradients, products), _jacfwd(along, inputs), strict=True):
                for name, part in found.items():
                    total[name] += part
        loss: Any = sum((as_tensor(c) * values[n]).sum() for n, c in problem.cotangents.items())
        steps = {step.name for step in graph.steps}
        values, tangents = (
            {n: v for n, v in part.items() if n in steps} for part in (values, tangents)
        )
        return (loss, gradients, values, tangents, products)


def _pushed(step: Step, values: Tensors, tangents: Tensors) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return a step's value and its tangent by `torch.func.jvp`."""
    import torch

    moving = {n: values[n] for n in step.inputs.values() if n in tangents}
    jvp: Any = torch.func.jvp
    with warnings.catch_warnings():  # its first call imports what torch itself calls deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        made: tuple[torch.Tensor, torch.Tensor] = jvp(
            lambda inputs: step_value(step, {**values, **inputs}, "torch"),
            (moving,),
            ({n: tangents[n] for n in moving},),
        )
    return made


def _along(
    step: Step, values: Tensors, tangents: Tensors, dy: "torch.Tensor", tdy: "torch.Tensor"
) -> Callable[[Tensors], "tuple[torch.Tensor, torch.Tensor]"]:
    """Return f(inputs) -> (⟨dy, y⟩, ⟨tdy, y⟩ + ⟨dy, ty⟩) of one step."""

    def along(inputs: Tensors) -> "tuple[torch.Tensor, torch.Tensor]":
        y, ty = _pushed(step, {**values, **inputs}, tangents)
        return (dy * y).sum(), (tdy * y).sum() + (dy * ty).sum()

    return along


def _jacfwd(
    function: Callable[[Tensors], "tuple[torch.Tensor, torch.Tensor]"], inputs: Tensors
) -> tuple[Tensors, Tensors]:
    import torch

    with warnings.catch_warnings():  # of what is looped over where a batching rule is missing
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        found: tuple[Tensors, Tensors] = torch.func.jacfwd(function)(inputs)
    return found


def _probes(problem: Problem | GraphProblem) -> Tensors:
    """Return a zero for every step."""
    shapes = step_shapes(problem)
    return {name: as_tensor(np.zeros(shape, problem.dtype)) for name, shape in shapes.items()}


def _function(
    problem: Problem | GraphProblem, tap: "At[torch.Tensor]" = as_it_is
) -> Callable[[Tensors, Tensors], tuple["torch.Tensor", Tensors]]:
    """Return f(inputs, probes) -> (loss, values), a probe added at each step, then a tap.

    The data are made into tensors here and not inside: a transform of torch's would wrap them.
    """
    if isinstance(problem, Problem):
        of_x, loss = chain(problem.network, "torch"), reduced_loss(problem)

        def of_chain(inputs: Tensors, probes: Tensors) -> "tuple[torch.Tensor, Tensors]":
            a, values = of_x(inputs, lambda y, step: tap(y + probes[step], step))
            return loss(a), values

        return of_chain
    value, arrays = graph_sum(problem.graph, "torch"), problem.arrays
    others = {name: as_tensor(arrays[name]) for name in arrays if name not in problem.floats}
    cotangents = {name: as_tensor(array) for name, array in problem.cotangents.items()}

    def of_graph(inputs: Tensors, probes: Tensors) -> "tuple[torch.Tensor, Tensors]":
        given = {**others, **inputs}
        return value(given, cotangents, lambda y, step: tap(y + probes[step], step))

    return of_graph
