"""Asks a torch.autograd.Function for its gradient: in a dtype, with tensors of a layout."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from reference.checks.code import Path
from reference.checks.kernels._findings import FLOAT64, Array
from reference.checks.kernels._problem import Cotangents, KernelProblem
from reference.checks.kernels._torch_rounding import Tensors, TorchGraph, Weights
from reference.checks.kernels._ways import KernelAnswer, TracedReference
from reference.checks.kinds.functions import FunctionSubject

Layout = Callable[[torch.Tensor], torch.Tensor]


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is."""
    return tensor


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """Return it with its last two axes swapped in memory."""
    if tensor.dim() < 2:
        return sliced(tensor)
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def sliced(tensor: torch.Tensor) -> torch.Tensor:
    """Return it as every second entry of a larger one; nan stands between."""
    if not tensor.dim():
        return tensor
    *rest, last = tensor.shape
    view = tensor.new_full((*rest, 2 * last + 1), torch.nan)[..., 1::2]
    return view.copy_(tensor)


def shifted(tensor: torch.Tensor) -> torch.Tensor:
    """Return it, contiguous, one entry after the beginning of its memory."""
    view = tensor.new_full((tensor.numel() + 1,), torch.nan)[1:].view(tensor.shape)
    return view.copy_(tensor)


def expanded(tensor: torch.Tensor) -> torch.Tensor:
    """Return its first row for every row, with a stride of 0."""
    return tensor[:1].expand(tensor.shape) if tensor.dim() > 1 else alike(tensor)


def alike(tensor: torch.Tensor) -> torch.Tensor:
    """Return its first entry for every entry: what `out.sum().backward()` hands on."""
    return tensor.flatten()[:1].clone().expand(tensor.numel())[:1].reshape(()).expand(tensor.shape)


class TorchKernel:
    """A function with a gradient by hand, and the truth about it."""

    def __init__(self, subject: FunctionSubject, seed: int) -> None:
        self.subject, self.seed = subject, seed
        self._recorded: list[tuple[object, ...]] = []
        cls = subject.written.thing

        def backward(ctx: object, *given: object) -> object:
            returned = cls.backward(ctx, *given)
            self._recorded.append(returned if isinstance(returned, tuple) else (returned,))
            return returned

        self.marked: Any = type(cls.__name__, (cls,), {"backward": staticmethod(backward)})

    @contextlib.contextmanager
    def running(self, dtype: str = FLOAT64) -> Iterator[None]:
        """Run what is inside with the default dtype that goes with one: float32 for low ones."""
        with self.subject.frame.running(self.seed):
            torch.set_default_dtype(torch.float64 if dtype == FLOAT64 else torch.float32)
            yield

    def tensors(
        self, problem: KernelProblem, dtype: str, layout: Layout = plain
    ) -> dict[Path, torch.Tensor]:
        """Return the leaves as tensors that need a gradient."""
        kind = getattr(torch, dtype)
        return {
            p: layout(torch.tensor(a, dtype=kind)).requires_grad_()
            for p, a in problem.leaves.items()
        }

    def outputs(
        self, problem: KernelProblem, leaves: Mapping[Path, torch.Tensor], dtype: str
    ) -> list[torch.Tensor | None]:
        """Run the kernel; None for an output that has no gradient."""
        kind = getattr(torch, dtype)

        def run(given: Sequence[torch.Tensor]) -> object:
            low = [g.to(kind) if self.subject.frame.is_float(g) else g for g in given]
            return self.marked.apply(*low)

        made = self.subject.function(run, dict(problem.drawn))(leaves)
        return [o if self.subject.frame.is_float(o) and o.requires_grad else None for o in made]

    def ask(
        self,
        problem: KernelProblem,
        cotangents: Cotangents,
        dtype: str,
        inputs: Layout = plain,
        weights: Layout = plain,
        of: Sequence[Path] | None = None,
    ) -> KernelAnswer:
        """Call it and pull its cotangents back.

        of: the leaves that need a gradient; None: all of them.
        """
        with self.running(dtype):
            leaves = self.tensors(problem, dtype, inputs)
            for path, leaf in leaves.items():
                leaf.requires_grad_(of is None or path in of)
            before = {p: t.detach().clone() for p, t in leaves.items()}
            outputs = self.outputs(problem, leaves, dtype)
            return self._pulled(leaves, before, outputs, cotangents, weights)

    def _pulled(
        self,
        leaves: Mapping[Path, torch.Tensor],
        before: Mapping[Path, torch.Tensor],
        outputs: Sequence[torch.Tensor | None],
        cotangents: Cotangents,
        weights: Layout,
    ) -> KernelAnswer:
        pairs = weighed(outputs, cotangents, weights)
        kept = [w.clone() for _, w in pairs]
        values = [None if o is None else array_of(o) for o in outputs]
        wanted = {p: t for p, t in leaves.items() if t.requires_grad}
        self._recorded.clear()
        found = pulled(pairs, list(wanted.values()))
        answer = KernelAnswer(values, {p: array_of(g) for p, g in zip(wanted, found, strict=True)})
        answer.changed = [p[0] for p, t in leaves.items() if not _same(t, before[p])]
        answer.changed += [
            "the cotangent" for (_, w), k in zip(pairs, kept, strict=True) if not _same(w, k)
        ]
        if self._recorded:
            names = self.subject.written.names
            answer.returned = dict(zip(names, self._recorded[-1], strict=False))
            answer.aliases = _aliases(answer.returned, leaves)
        return answer

    def cotangents(self, problem: KernelProblem, dtype: str) -> Cotangents:
        """Return random weights of the outputs of a problem."""
        with self.running(dtype):
            outputs = self.outputs(problem, self.tensors(problem, dtype), dtype)
        return problem.cotangents([array_of(o) for o in outputs], self.seed)

    def traced(
        self, problem: KernelProblem, cotangents: Cotangents
    ) -> TracedReference[Tensors, Weights]:
        """Trace the reference for the shapes of a problem."""
        function = self.subject.function(self.subject.written.primal, dict(problem.drawn))
        with self.running():
            graph = TorchGraph(
                lambda given: function(dict(zip(problem.leaves, given, strict=True))),
                *tensors_of(problem, cotangents),
            )
        return TracedReference(graph, self.running, tensors_of)


def weighed(
    outputs: Sequence[torch.Tensor | None], cotangents: Cotangents, layout: Layout = plain
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the outputs that have a cotangent, each with it."""
    return [
        (o, layout(torch.tensor(c, dtype=o.dtype)))
        for o, c in zip(outputs, cotangents, strict=True)
        if o is not None and c is not None
    ]


def pulled(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], leaves: Sequence[torch.Tensor], **how: bool
) -> Sequence[torch.Tensor | None]:
    """Return the gradients of outputs with their cotangents; None where a leaf has none."""
    outputs, weights = [o for o, _ in pairs], [w for _, w in pairs]
    found: Sequence[torch.Tensor | None]
    found = torch.autograd.grad(outputs, list(leaves), weights, allow_unused=True, **how)
    return found


def tensors_of(
    problem: KernelProblem, cotangents: Cotangents
) -> tuple[list[torch.Tensor], list[torch.Tensor | None]]:
    """Return leaves and cotangents as tensors of float64."""
    leaves = [torch.tensor(a) for a in problem.leaves.values()]
    return leaves, [None if c is None else torch.tensor(c) for c in cotangents]


def array_of(tensor: torch.Tensor | None) -> Array | None:
    """Return a tensor's values in float64."""
    if tensor is None:
        return None
    return np.array(tensor.detach().double().numpy())


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(torch.nan_to_num(one.detach()), torch.nan_to_num(other)))


def _aliases(
    returned: Mapping[str, object], leaves: Mapping[Path, torch.Tensor]
) -> list[tuple[str, str]]:
    memory = {t.untyped_storage().data_ptr(): p[0] for p, t in leaves.items() if t.numel()}
    return [
        (name, memory[g.untyped_storage().data_ptr()])
        for name, g in returned.items()
        if isinstance(g, torch.Tensor) and g.numel() and g.untyped_storage().data_ptr() in memory
    ]
