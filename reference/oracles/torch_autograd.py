"""PyTorch's autograd as an oracle: eager, one launch of the engine for a block of problems."""

import importlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.network import Problem
from reference.formats import format_of
from reference.oracles import Answer, skipped, unless_lacking
from reference.oracles.counterparts import resolve
from reference.oracles.forwards import as_it_is, chain, graph_sum
from reference.oracles.torch_tensors import as_array, as_tensor
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
    """One problem's graph: its loss, and what is differentiated by what, under our names.

    `outputs` have `cotangents` (None is 1). `tensors` are the steps' values, named by `steps`, and
    the inputs, whose cotangents are asked for.
    """

    loss: "torch.Tensor"
    outputs: "list[torch.Tensor]"
    cotangents: "list[torch.Tensor | None]"
    tensors: "dict[str, torch.Tensor]"
    steps: Collection[str]


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
        """Answer a block: a graph each, then one backward pass over a few."""
        reason = self.unavailable()
        if reason is not None:
            return [skipped(self.name, reason) for _ in problems]
        size = 1 if any(format_of(problem.dtype).low for problem in problems) else _BLOCK
        with threads(THREADS):
            return [
                answer
                for start in range(0, len(problems), size)
                for answer in self._few(problems[start : start + size])
            ]

    def _few(self, problems: Sequence[AnyProblem]) -> list[Answer]:
        with unless_lacking(self.name, problems[0]) as lacking:
            return _answers(self.name, problems)
        return lacking


def _answers(name: str, problems: Sequence[AnyProblem]) -> list[Answer]:
    """Build a graph for each problem, then launch the engine once."""
    import torch

    graphs = [_chain(p) if isinstance(p, Problem) else _graph(p) for p in problems]
    gradients = torch.autograd.grad(
        [tensor for graph in graphs for tensor in graph.outputs],
        [tensor for graph in graphs for tensor in graph.tensors.values()],
        [cotangent for graph in graphs for cotangent in graph.cotangents],
        allow_unused=True,  # None, a gradient of zeros, is filled in here for less than torch takes
    )
    answers, found = [], iter(gradients)
    for graph in graphs:
        filled = {
            key: as_array(torch.zeros_like(tensor) if g is None else g)
            for (key, tensor), g in zip(graph.tensors.items(), found, strict=False)
        }
        values = {key: as_array(graph.tensors[key].detach()) for key in graph.steps}
        answers.append(Answer(name, as_array(graph.loss.detach()), filled, values=values))
    return answers


def _chain(problem: Problem) -> _Graph:
    """Run the forward pass, keeping every tensor whose cotangent is asked for."""
    import torch

    network = problem.network
    known = {"x": _leaf(problem.x)}
    known |= {name: _leaf(problem.parameters[name]) for name in network.parameter_shapes()}
    prediction, values = chain(network, "torch")(known, as_it_is)
    known |= values
    order = ["x", *(f"layers.{i}.{part}" for i in range(len(network.layers)) for part in PARTS)]
    loss = reduced_loss(problem)(prediction)
    # For the reduction "none" the loss is a vector, with a cotangent of ones.
    start = torch.ones_like(loss) if loss.ndim else None
    return _Graph(loss, [loss], [start], {n: known[n] for n in order if n in known}, values)


def _graph(problem: GraphProblem) -> _Graph:
    """Run the forward pass; the loss is Σ cotangent · output."""
    # Copies: some of torch's functions write into what they are given.
    values = {key: as_tensor(np.array(array)) for key, array in problem.arrays.items()}
    for key in problem.floats:
        values[key].requires_grad_()
    cotangents = {key: as_tensor(np.array(array)) for key, array in problem.cotangents.items()}
    loss, made = graph_sum(problem.graph, "torch")(values, cotangents, as_it_is)
    outputs = problem.graph.outputs
    tensors = made | {key: values[key] for key in problem.floats}
    return _Graph(
        loss, [made[key] for key in outputs], [cotangents[key] for key in outputs], tensors, made
    )


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
