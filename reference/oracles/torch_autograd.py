"""PyTorch's autograd as an oracle: eager, one launch of the engine for a block of problems."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Problem
from reference.formats import format_of
from reference.oracles import Answer, by_kind, skipped, unless_lacking
from reference.oracles.counterparts import resolve
from reference.oracles.forwards import as_it_is, chain
from reference.oracles.torch_graph import as_array, as_tensor, torch_answer
from reference.problems import AnyProblem, computed_in

if TYPE_CHECKING:
    import torch

THREADS = 1
"""torch's threads while it answers: more do not pay below a few million multiplications, and the
order of a sum, and so its last bits, would depend on how many cores the machine has."""

_BLOCK = 4  # graphs alive at once: a few share a launch of the engine, and still fit into the cache

PARTS = ("weight", "bias", "z", "a")
# Our reduction -> torch's own.
_OWN_REDUCTIONS = {"sum": "sum", "mean": "mean"}
# Its "mean" warns that it will change its meaning, so it is not asked for.
_OWN_REDUCTIONS_OF_KL_DIV = {"sum": "sum", "batch_mean": "batchmean"}


@dataclass(slots=True)
class _Graph:
    """One problem's graph: the loss, and what it is differentiated by, under our names."""

    loss: "torch.Tensor"
    names: list[str]
    tensors: "list[torch.Tensor]"


class TorchAutograd:
    """Differentiates the same network, built of torch's own functions.

    The graphs of a block are independent, so one launch of the engine serves them all, and each
    problem has the same bits as alone.
    """

    name = "torch"
    graphs = True

    def unavailable(self) -> str | None:
        """Return why torch cannot answer here, or None."""
        try:
            importlib.import_module("torch")
        except ImportError as error:
            return "torch is not installed" if error.name == "torch" else f"torch: {error}"
        return None

    def answer(self, problem: AnyProblem) -> Answer:
        """Answer one problem."""
        return self.answers([problem])[0]

    def answers(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        """Answer a block: of chains a graph each, then one backward pass over a few."""
        reason = self.unavailable()
        if reason is not None:
            return [skipped(self.name, reason) for _ in problems]
        with threads(THREADS):
            return by_kind(problems, self._chains, lambda some: [self._graph(p) for p in some])

    def _graph(self, problem: GraphProblem) -> Answer:
        with unless_lacking(self.name, problem) as lacking:
            return torch_answer(problem)
        return lacking[0]

    def _chain(self, problem: Problem) -> Answer:
        with unless_lacking(self.name, problem) as lacking:
            return _answers(self.name, [problem])[0]
        return lacking[0]

    def _chains(self, problems: Sequence[Problem]) -> list[Answer]:
        if any(format_of(problem.dtype).low for problem in problems):
            return [self._chain(problem) for problem in problems]
        return [
            answer
            for start in range(0, len(problems), _BLOCK)
            for answer in _answers(self.name, problems[start : start + _BLOCK])
        ]


def _answers(name: str, problems: Sequence[Problem]) -> list[Answer]:
    """Build a graph for each problem, then launch the engine once."""
    import torch

    graphs = [_graph(problem) for problem in problems]
    gradients = torch.autograd.grad(
        [graph.loss for graph in graphs],
        [tensor for graph in graphs for tensor in graph.tensors],
        # For the reduction "none" the loss is a vector, with a cotangent of ones; None is 1.
        [torch.ones_like(graph.loss) if graph.loss.ndim else None for graph in graphs],
        allow_unused=True,  # None, a gradient of zeros, is filled in here for less than torch takes
    )
    answers, start = [], 0
    for graph in graphs:
        stop = start + len(graph.names)
        found = zip(graph.names, graph.tensors, gradients[start:stop], strict=True)
        start = stop
        loss = as_array(graph.loss.detach())
        filled = {key: as_array(torch.zeros_like(t) if g is None else g) for key, t, g in found}
        values = {
            key: as_array(tensor.detach())
            for key, tensor in zip(graph.names, graph.tensors, strict=True)
            if key.endswith((".z", ".a"))
        }
        answers.append(Answer(name, loss, filled, values=values))
    return answers


def _graph(problem: Problem) -> _Graph:
    """Run the forward pass, keeping every tensor whose cotangent is asked for."""
    network = problem.network
    known = {"x": _leaf(problem.x)}
    known |= {name: _leaf(problem.parameters[name]) for name in network.parameter_shapes()}
    prediction, values = chain(network, "torch")(known, as_it_is)
    known |= values
    order = ["x", *(f"layers.{i}.{part}" for i in range(len(network.layers)) for part in PARTS)]
    names = [name for name in order if name in known]
    return _Graph(reduced_loss(problem)(prediction), names, [known[name] for name in names])


def reduced_loss(problem: Problem) -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return f(prediction) -> the reduced loss, by torch's own `reduction` where it has that one.

    The data are made into tensors here and not inside: a transform of torch's would wrap them.
    """
    network, operation = problem.network, problem.network.loss_operation
    function = resolve(operation, "torch")
    targets = as_tensor(problem.targets)
    arguments: dict[str, object] = {**network.loss_parameters}
    if problem.targets.dtype.kind in "iu":
        targets = targets.long()  # torch takes labels of no other width
    else:
        # Soft labels have none to be ignored; torch refuses an index that is a class beside them.
        arguments.pop("ignore_index", None)
    arguments |= {name: as_tensor(array) for name, array in problem.arrays.items()}
    own = _own_reduction(problem, function)
    if own is not None and not operation.torch.composed:
        return lambda prediction: function(prediction, targets, reduction=own, **arguments)
    if not operation.torch.composed:
        arguments["reduction"] = "none"
    weights = None
    if problem.weights is not None:
        weights = as_tensor(problem.weights)
        weights = weights[:, None] if operation.elementwise else weights

    def reduced(prediction: "torch.Tensor") -> "torch.Tensor":
        losses: torch.Tensor = function(prediction, targets, **arguments)
        weighted = losses if weights is None else losses * weights
        if network.reduction == "none":
            return weighted
        total = weighted.sum()
        if network.reduction == "batch_mean":
            return total / problem.batch
        if network.reduction == "mean":
            # Torch has no mean of its own with sample weights. Without them it has, above; in both
            # cases the certificate divides by what the definition counts.
            terms = np.empty(tuple(losses.shape), problem.dtype)  # asked for its shape alone
            inside = computed_in(problem)
            count = operation.count(terms, inside.targets, **inside.loss_arguments())
            return total / float(count)
        return total

    return reduced


def _own_reduction(problem: Problem, function: Callable[..., object]) -> str | None:
    """Return torch's name for the problem's reduction; it knows no sample weights."""
    if problem.weights is not None:
        return None
    import torch

    kl_div = function is torch.nn.functional.kl_div
    table = _OWN_REDUCTIONS_OF_KL_DIV if kl_div else _OWN_REDUCTIONS
    return table.get(problem.network.reduction)


def _leaf(array: np.ndarray) -> "torch.Tensor":
    return as_tensor(array).requires_grad_()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
