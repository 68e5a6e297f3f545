"""The ways in which a torch.autograd.Function is asked; each must give the right gradient."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from reference.checks.code import path_name
from reference.checks.kernels._findings import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    Array,
    ReturnedArray,
    furthest,
)
from reference.checks.kernels._problem import drawn_problem
from reference.checks.kernels._torch_kernel import (
    Layout,
    TorchKernel,
    alike,
    array_of,
    expanded,
    pulled,
    shifted,
    sliced,
    transposed,
    weighed,
)
from reference.checks.kernels._torch_rounding import TorchGraph, Weights
from reference.checks.kernels._ways import KernelAnswer, Way, Ways, each
from reference.checks.kinds.functions import FunctionSubject

_DIGITS_OF = {FLOAT64: 53, FLOAT32: 24, FLOAT16: 11, BFLOAT16: 8}


class TorchWays(Ways):
    """Asks a kernel in every way, the plain ones first."""

    advice = (
        ": save only inputs and outputs by save_for_backward, or mark the backward with "
        "once_differentiable"
    )

    def __init__(self, subject: FunctionSubject, seed: int) -> None:
        self.kernel = TorchKernel(subject, seed)
        super().__init__(subject, seed, self.kernel)

    def ways(self) -> Iterator[Way]:
        """Yield the ways that torch has, the plain ones first."""
        yield "inputs and cotangent", self._written_into
        yield "returned gradients", self._returned
        yield "run twice", self._twice
        yield "two forwards, then two backwards", self._interleaved
        for name, layout in (("not contiguous", transposed), ("sliced", sliced)):
            yield f"cotangent {name}", functools.partial(self._laid_out, weights=layout)
        yield "cotangent expanded by rows (stride 0)", lambda: self._expanded(expanded)
        yield "cotangent expanded from one number (stride 0)", lambda: self._expanded(alike)
        yield "cotangent with zeros", self._with_zeros
        for name, layout in (
            ("not contiguous", transposed),
            ("sliced", sliced),
            ("at an odd offset", shifted),
        ):
            yield f"inputs {name}", functools.partial(self._laid_out, inputs=layout)
        for path in self.problem.leaves:
            if len(self.problem.leaves) > 1:
                alone = functools.partial(self._alone, path)
                yield f"only {path_name(path)} needs a gradient", alone
        if sum(c is not None for c in self.cotangents) > 1:
            yield "one output used", self._one_output
        yield "double backward", self._second
        if self.right:
            yield from self.other_problems()

    def _ask(self, **how: Any) -> KernelAnswer:
        return self.kernel.ask(self.problem, self.cotangents, self.model.dtype, **how)

    def _laid_out(self, **layouts: Layout) -> list[str]:
        return self.wrong(self._ask(**layouts), self.truth)

    def _written_into(self) -> list[str]:
        return [f"{name} is written into" for name in dict.fromkeys(self._ask().changed)]

    def _returned(self) -> list[str]:
        """Look at what the backward itself returns: autograd reduces and casts it silently."""
        answer = self._ask()
        wrong = [f"the gradient of {n} shares the memory of {of}" for n, of in answer.aliases]
        for path, true in zip(self.problem.leaves, self._gradients(), strict=True):
            got = answer.returned.get(path[0])
            if len(path) > 1:
                continue
            if got is None:
                if np.any(np.nan_to_num(true)):
                    wrong.append(f"d{path[0]} is None, which autograd takes for 0")
            elif tuple(got.shape) != true.shape:
                shape = tuple(got.shape)
                wrong.append(f"d{path[0]} has shape {shape}, its input {true.shape}")
        return wrong

    def _gradients(self) -> Sequence[Array]:
        values = self.formula.values
        return values[len(values) - len(self.problem.leaves) :]

    def _twice(self) -> list[str]:
        first, again = self._ask(), self._ask()
        wrong = self.wrong(again, self.truth)
        same = all(
            a is b or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))
            for a, b in zip(first.gradients.values(), again.gradients.values(), strict=True)
        )
        if not wrong and not same:
            self.found.remarks.append(self._apart(first, again))
        return wrong

    def _apart(self, one: KernelAnswer, other: KernelAnswer) -> str:
        mine = self.named(one, self.truth)
        theirs = self.named(other, self.truth)
        times = max(
            furthest(ReturnedArray(a.name, a.got, b.got, a.bound), self.model).times
            for a, b in zip(mine, theirs, strict=True)
            if a.got is not None and b.got is not None
        )
        return f"not deterministic: two runs differ by {times:.2g} times what is allowed"

    def _interleaved(self) -> list[str]:
        """Run another forward between a forward and its backward, then both backwards, twice."""
        kernel = self.kernel
        dtype = self.model.dtype
        other = drawn_problem(self.subject, self.seed, self.problem.index + 1)
        with kernel.running(dtype):
            leaves = kernel.tensors(self.problem, dtype)
            outputs = kernel.outputs(self.problem, leaves, dtype)
            kernel.outputs(other, kernel.tensors(other, dtype), dtype)
            pairs = weighed(outputs, self.cotangents)
            wrong: list[str] = []
            for time in ("first", "second"):
                found = pulled(pairs, list(leaves.values()), retain_graph=True)
                got = dict(zip(leaves, map(array_of, found), strict=True))
                values = [array_of(o) for o in outputs]
                texts = self.wrong(KernelAnswer(values, got), self.truth)
                wrong += [f"in the {time} backward {t}" for t in texts if not wrong]
        return wrong

    def _expanded(self, layout: Callable[[torch.Tensor], torch.Tensor]) -> list[str]:
        given = each(lambda c: layout(torch.tensor(c)).numpy().copy(), self.cotangents)
        answer = self.kernel.ask(self.problem, given, self.model.dtype, weights=layout)
        return self.wrong(answer, self.at(given))

    def _alone(self, path: object) -> list[str]:
        answer = self._ask(of=(path,))
        for other in self.problem.leaves:
            if other != path and answer.returned.get(other[0]) is not None:
                self._remark_unasked()
        return self.wrong(answer, self.truth)

    def _remark_unasked(self) -> None:
        text = "it computes gradients that are not asked for (ctx.needs_input_grad)"
        if text not in self.found.remarks:
            self.found.remarks.append(text)

    def _one_output(self) -> list[str]:
        first = next(k for k, c in enumerate(self.cotangents) if c is not None)
        given = [c if c is None or k == first else 0 * c for k, c in enumerate(self.cotangents)]
        asked = [c if k == first else None for k, c in enumerate(self.cotangents)]
        return self.wrong(self.ask(self.problem, asked), self.at(given))

    def _second(self) -> list[str] | None:
        detached = "detach" in self.subject.written.primal_text
        return None if detached else super()._second()

    def derivative(self, own: bool) -> list[Array] | None:
        """Return the derivative of Σ v·g by the inputs, v random; None where it is refused."""
        graph = self.asked.traced.graph if self.asked is not None else None
        assert isinstance(graph, TorchGraph)
        gradients = self._by_hand if own else graph.gradients
        with self.kernel.running():
            at = list(self.kernel.tensors(self.problem, FLOAT64).values())
            dout = [c if c is None else torch.tensor(c).requires_grad_() for c in self.cotangents]
            weights = torch.Generator().manual_seed(self.seed)
            try:
                found = [g for g in gradients(at, dout) if g is not None]
                sums = [(g * torch.randn(g.shape, generator=weights)).sum() for g in found]
                tied = [w for w in sums if w.requires_grad]
                if not tied:
                    return None
                torch.autograd.backward(tied)  # grad() would pass by the node that refuses
            except RuntimeError:
                return None
        return [np.zeros(tuple(t.shape)) if t.grad is None else t.grad.numpy().copy() for t in at]

    def _by_hand(self, at: list[torch.Tensor], dout: Weights) -> Sequence[torch.Tensor | None]:
        leaves = dict(zip(self.problem.leaves, at, strict=True))
        outputs = self.kernel.outputs(self.problem, leaves, FLOAT64)
        pairs = [
            (o, d) for o, d in zip(outputs, dout, strict=True) if o is not None and d is not None
        ]
        return pulled(pairs, at, create_graph=True)

    def narrowed(self, answer: KernelAnswer, dtype: str) -> list[str]:
        """Return what comes back in a dtype of fewer digits, or of a smaller range."""
        found = []
        for name, got in answer.returned.items():
            kind = str(getattr(got, "dtype", "")).removeprefix("torch.")
            narrower = kind == FLOAT16 and dtype == BFLOAT16
            if kind in _DIGITS_OF and (_DIGITS_OF[kind] < _DIGITS_OF[dtype] or narrower):
                found.append(f"d{name} comes back in {kind}, its input is {dtype}")
        return found
