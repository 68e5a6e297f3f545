"""The ways in which a torch.autograd.Function is asked; each must give the right gradient."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from reference.checks.kernels._findings import Findings, Named, furthest, wrong_texts
from reference.checks.kernels._formats import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    ROUNDED,
    Array,
    Bounds,
    Model,
    in_dtype,
)
from reference.checks.kernels._problem import (
    Cotangents,
    Problem,
    drawn_problem,
    sizes_to_try,
)
from reference.checks.kernels._torch_kernel import (
    Answer,
    TorchKernel,
    alike,
    array_of,
    expanded,
    shifted,
    sliced,
    tensors_of,
    transposed,
)
from reference.checks.kernels._torch_rounding import Traced
from reference.checks.kernels._torch_second import wrong_second
from reference.checks.kinds.functions import FunctionSubject
from reference.checks.names import path_name
from reference.checks.raised import raised_text
from reference.checks.tolerances import DIGITS

_DRAWN = 8  # problems that are drawn until one has no decision on an edge
_LOW = 2  # problems in each dtype
_EXACT = Model(FLOAT64)
_DIGITS_OF = {FLOAT64: 53, FLOAT32: 24, FLOAT16: 11, BFLOAT16: 8}


class _Truth(NamedTuple):
    """What should come back: outputs, then a gradient of each leaf, and how far each may be off."""

    values: tuple[Array, ...]
    bounds: tuple[Array, ...]


class _Asked(NamedTuple):
    """A problem in which rounding changes no decision."""

    problem: Problem
    cotangents: Cotangents
    traced: Traced
    bounds: Bounds

    def truth(self, model: Model) -> _Truth:
        """Return what should come back, its inputs rounded to the model's dtype."""
        problem = self.problem.in_dtype(model.dtype)
        weights = in_dtypes(self.cotangents, model.dtype)
        values = self.traced.values(*tensors_of(problem, weights))
        return _Truth(values, self.bounds[model])


class TorchWays:
    """Asks a kernel in every way, the plain ones first."""

    def __init__(self, subject: FunctionSubject, seed: int) -> None:
        self.subject, self.seed = subject, seed
        self.kernel = TorchKernel(subject, seed)
        self.found = Findings()
        self._steadily: dict[int, _Asked] = {}
        self.asked: _Asked | None = None
        try:
            self.asked = self._steady(0)
        except Exception as error:
            self.found.remarks.append(f"its rounding was not judged: {raised_text(error)}")
            self.problem = drawn_problem(subject, seed, 0)
            self.cotangents: Cotangents = self.kernel.cotangents(self.problem)
            self.right = False
        else:
            self.problem = self.asked.problem
            self.cotangents = self.asked.cotangents
            self.truth = self.asked.truth(_EXACT)
            self._plain()
        self.formula = self.truth if self.asked is not None else self._own(self.cotangents)
        if not self.right:
            self.truth = self._own(self.cotangents)
        self.sizes = tuple(np.full(v.shape, _largest(v) * DIGITS) for v in self.truth.values)

    def _plain(self) -> None:
        """Ask plainly; a wrong gradient is found by whoever judges the formula, not here."""
        named = self._named(self._ask(), self.truth)
        self.right = not wrong_texts(named, _EXACT)
        outputs = wrong_texts([n for n in named if not n.name.startswith("d")], _EXACT)
        self.found.add("its forward", outputs)

    def findings(self) -> Findings:
        """Return what all ways find; where the plain one is wrong, others are held to it."""
        for way, run in self._ways():
            self._try(way, run)
        if self.right:
            for dtype in ROUNDED:
                self._in_dtype(dtype)
        return self.found

    # -- problems and truths -----------------------------------------------------------------

    def _steady(self, index: int) -> _Asked:
        """Return the first problem, from an index on, in which rounding changes no decision."""
        for at in range(index, index + _DRAWN):
            if at in self._steadily:
                return self._steadily[at]
            problem = drawn_problem(self.subject, self.seed, at)
            cotangents = self.kernel.cotangents(problem)
            traced = self.kernel.traced(problem, cotangents)
            given = tensors_of(problem, cotangents)
            bounds = traced.bounds(*given)
            if traced.steady(*given, bounds, self.seed):
                self._steadily[at] = _Asked(problem, cotangents, traced, bounds)
                return self._steadily[at]
        raise ArithmeticError(f"in each of {_DRAWN} problems a decision stands on an edge")

    def _own(self, cotangents: Cotangents) -> _Truth:
        """Return what the kernel answers when it is asked plainly, as the truth of other ways."""
        answer = self.kernel.ask(self.problem, cotangents)
        values = [v for v in answer.outputs if v is not None]
        values += [
            np.zeros(self.problem.leaves[p].shape) if g is None else g
            for p, g in answer.gradients.items()
        ]
        return _Truth(tuple(values), tuple(0 * v for v in values))

    def _ask(self, **how: Any) -> Answer:
        return self.kernel.ask(self.problem, self.cotangents, **how)

    def _named(self, answer: Answer, truth: _Truth) -> list[Named]:
        outputs = [o for o in answer.outputs if o is not None]
        names = [f"output {k}" if len(outputs) > 1 else "the output" for k in range(len(outputs))]
        paths = list(self.problem.leaves)
        values, bounds = truth
        named = [Named(*one) for one in zip(names, outputs, values, bounds, strict=False)]
        for k, path in enumerate(paths, len(outputs)):
            if path in answer.gradients:
                got = answer.gradients[path]
                named.append(Named(f"d{path_name(path)}", got, values[k], bounds[k]))
        return named

    def _wrong(self, answer: Answer, truth: _Truth, model: Model) -> list[str]:
        return wrong_texts(self._named(answer, truth), model)

    # -- the ways ----------------------------------------------------------------------------

    def _try(self, way: str, run: Callable[[], list[str] | None]) -> None:
        """Run one way; None: it does not apply."""
        try:
            wrong = run()
        except Exception as error:
            wrong = [f"raises {raised_text(error)}"]
        if wrong is not None:
            self.found.add(way, wrong)

    def _ways(self) -> Iterator[tuple[str, Callable[[], list[str] | None]]]:
        yield "inputs and cotangent", self._written_into
        yield "returned gradients", self._returned
        yield "run twice", self._twice
        yield "two forwards, then two backwards", self._interleaved
        for name, layout in (
            ("not contiguous", transposed),
            ("sliced", sliced),
        ):
            yield f"cotangent {name}", functools.partial(self._laid_out, weights=layout)
        yield "cotangent expanded by rows (stride 0)", lambda: self._expanded(expanded)
        yield "cotangent expanded from one number (stride 0)", lambda: self._expanded(alike)
        yield "cotangent with zeros", self._zeros
        for name, layout in (
            ("not contiguous", transposed),
            ("sliced", sliced),
            ("at an odd offset", shifted),
        ):
            yield f"inputs {name}", functools.partial(self._laid_out, inputs=layout)
        for path in self.problem.leaves:
            if len(self.problem.leaves) > 1:
                yield (
                    f"only {path_name(path)} needs a gradient",
                    functools.partial(self._alone, path),
                )
        if sum(c is not None for c in self.cotangents) > 1:
            yield "one output used", self._one_output
        yield "double backward", self._second
        if self.right:
            yield from self._sizes()
            yield from self._masks()

    def _laid_out(self, **layouts: Any) -> list[str]:
        return self._wrong(self._ask(**layouts), self.truth, _EXACT)

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

    def _gradients(self) -> Sequence[Any]:
        values = self.formula.values
        return values[len(values) - len(self.problem.leaves) :]

    def _twice(self) -> list[str]:
        first, again = self._ask(), self._ask()
        wrong = self._wrong(again, self.truth, _EXACT)
        same = all(
            a is b or (a is not None and b is not None and np.array_equal(a, b, equal_nan=True))
            for a, b in zip(first.gradients.values(), again.gradients.values(), strict=True)
        )
        if not wrong and not same:
            self.found.remarks.append(self._apart(first, again))
        return wrong

    def _apart(self, one: Answer, other: Answer) -> str:
        mine = self._named(one, self.truth)
        theirs = self._named(other, self.truth)
        times = max(
            furthest(Named(a.name, a.got, b.got, a.bound), _EXACT).times
            for a, b in zip(mine, theirs, strict=True)
            if a.got is not None and b.got is not None
        )
        return f"not deterministic: two runs differ by {times:.2g} times what is allowed"

    def _interleaved(self) -> list[str]:
        """Run another forward between a forward and its backward, then both backwards, twice."""
        kernel = self.kernel
        other = drawn_problem(self.subject, self.seed, self.problem.index + 1)
        with kernel.running():
            leaves = kernel.tensors(self.problem, FLOAT64)
            outputs = kernel.outputs(self.problem, leaves, FLOAT64)
            kernel.outputs(other, kernel.tensors(other, FLOAT64), FLOAT64)
            pairs = [(o, torch.tensor(c)) for o, c in zip(outputs, self.cotangents, strict=True)
                     if o is not None and c is not None]  # fmt: skip
            wrong: list[str] = []
            for time in ("first", "second"):
                found = torch.autograd.grad(
                    [o for o, _ in pairs], list(leaves.values()), [c for _, c in pairs],
                    allow_unused=True, retain_graph=True,
                )  # fmt: skip
                got = dict(zip(leaves, map(array_of, found), strict=True))
                values = [None if o is None else o.detach().numpy() for o in outputs]
                texts = self._wrong(Answer(values, got), self.truth, _EXACT)
                wrong += [f"in the {time} backward {t}" for t in texts if not wrong]
        return wrong

    def _at(self, cotangents: Cotangents) -> _Truth:
        """Return what should come back for other cotangents."""
        if self.asked is None or not self.right:
            return self._own(cotangents)
        values = self.asked.traced.values(*tensors_of(self.problem, cotangents))
        return _Truth(values, self.sizes)

    def _expanded(self, layout: Callable[[torch.Tensor], torch.Tensor]) -> list[str]:
        given = [
            None if c is None else layout(torch.tensor(c)).numpy().copy() for c in self.cotangents
        ]
        answer = self.kernel.ask(self.problem, given, weights=layout)
        return self._wrong(answer, self._at(given), _EXACT)

    def _zeros(self) -> list[str]:
        given = [
            None if c is None else c * (np.arange(c.size).reshape(c.shape) % 3 == 0)
            for c in self.cotangents
        ]
        answer = self.kernel.ask(self.problem, given)
        return self._wrong(answer, self._at(given), _EXACT)

    def _alone(self, path: Any) -> list[str]:
        answer = self._ask(of=(path,))
        for other in self.problem.leaves:
            if other != path and answer.returned.get(other[0]) is not None:
                self._remark_unasked()
        return self._wrong(answer, self.truth, _EXACT)

    def _remark_unasked(self) -> None:
        text = "it computes gradients that are not asked for (ctx.needs_input_grad)"
        if text not in self.found.remarks:
            self.found.remarks.append(text)

    def _one_output(self) -> list[str]:
        first = next(k for k, c in enumerate(self.cotangents) if c is not None)
        given = [c if c is None or k == first else 0 * c for k, c in enumerate(self.cotangents)]
        asked = [c if k == first else None for k, c in enumerate(self.cotangents)]
        return self._wrong(self.kernel.ask(self.problem, asked), self._at(given), _EXACT)

    def _second(self) -> list[str] | None:
        """Differentiate the gradient once more: it must be refused, or right."""
        if self.asked is None or not self.right or "detach" in self.subject.written.primal_text:
            return None
        return wrong_second(self.kernel, self.problem, self.cotangents, self.asked.traced)

    # -- other problems ----------------------------------------------------------------------

    def _sizes(self) -> Iterator[tuple[str, Callable[[], list[str] | None]]]:
        for way, sizes in sizes_to_try(self.subject):
            yield way, functools.partial(self._sized, sizes)

    def _sized(self, sizes: dict[str, int]) -> list[str] | None:
        before = self.subject.sizes
        self.subject.sizes = before | sizes
        try:
            problem = drawn_problem(self.subject, self.seed, 0)
        finally:
            self.subject.sizes = before
        return self._of(problem)

    def _of(self, problem: Problem) -> list[str] | None:
        """Ask about another problem; None where the reference does not run on it."""
        paths = list(problem.leaves)
        reference = self.subject.function(self.subject.written.primal, dict(problem.drawn))
        try:
            with self.kernel.running():
                pulled = self.subject.frame.pullback(reference, problem.leaves)
                cotangents = problem.cotangents(pulled.outputs, self.seed)
                true = pulled.pull(cotangents)
        except Exception:
            return None
        zeros = [np.zeros(problem.leaves[p].shape) for p in paths]
        grads = [z if true[p] is None else true[p] for p, z in zip(paths, zeros, strict=True)]
        values = tuple(
            np.asarray(v) for v in (*(o for o in pulled.outputs if o is not None), *grads)
        )
        sized = [np.full(v.shape, DIGITS * _scale(problem)) for v in values]
        answer = self.kernel.ask(problem, cotangents)
        return self._wrong(answer, _Truth(values, tuple(sized)), _EXACT)

    def _masks(self) -> Iterator[tuple[str, Callable[[], list[str] | None]]]:
        for name, spec in self.subject.layout.items():
            if spec.kind == "mask" and len(spec.dims) > 1:

                def empty(drawn: dict[str, Any], name: str = name) -> None:
                    drawn[name] = np.array(drawn[name])
                    drawn[name][..., 0, :] = 0
                    drawn[name][..., 1:, 0] = 1

                problem = drawn_problem(self.subject, self.seed, 0, empty)
                yield f"an empty row of {name}", functools.partial(self._of, problem)

    # -- dtypes ------------------------------------------------------------------------------

    def _in_dtype(self, dtype: str) -> None:
        """Hold the gradient in a dtype to what rounding allows in it."""
        wrong: list[str] = []
        lossy: list[str] = []
        index = 0
        for _ in range(_LOW):
            try:
                asked = self._steady(index)
            except ArithmeticError:
                break
            index = asked.problem.index + 1
            problem = asked.problem.in_dtype(dtype)
            try:
                answer = self.kernel.ask(problem, in_dtypes(asked.cotangents, dtype), dtype)
            except Exception as error:
                self.found.remarks.append(f"it does not run in {dtype}: {raised_text(error)}")
                return
            found = self._wrong(answer, asked.truth(Model(dtype)), Model(dtype))
            accumulated = Model(dtype, accumulated=True)
            if found and accumulated in asked.bounds:
                if not self._wrong(answer, asked.truth(accumulated), accumulated):
                    lossy, found = lossy + found, []
            wrong += found + _fewer_digits(answer, dtype)
        self.found.add(dtype, list(dict.fromkeys(wrong))[:2])
        if lossy and not wrong:
            self.found.lossy.append(
                f"{dtype}: {lossy[0]}; sums accumulated in {dtype} may lose that much"
            )


def in_dtypes(arrays: Cotangents, dtype: str) -> Cotangents:
    """Return arrays, each in the numbers that a dtype holds."""
    return [None if a is None else in_dtype(a, dtype) for a in arrays]


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _fewer_digits(answer: Answer, dtype: str) -> list[str]:
    """Return what comes back in a dtype of fewer digits, or of a smaller range, than its input."""
    found = []
    for name, got in answer.returned.items():
        kind = str(getattr(got, "dtype", "")).removeprefix("torch.")
        narrower = kind == FLOAT16 and dtype == BFLOAT16
        if kind in _DIGITS_OF and (_DIGITS_OF[kind] < _DIGITS_OF[dtype] or narrower):
            found.append(f"d{name} comes back in {kind}, its input is {dtype}")
    return found


def _scale(problem: Problem) -> float:
    return float(
        max((np.max(np.abs(a), initial=0.0) for a in problem.leaves.values()), default=1.0)
    )
