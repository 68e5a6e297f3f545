"""The ways in which a jax.custom_vjp is asked; each must give the right gradient."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from reference.checks.code import path_name
from reference.checks.kernels._findings import FLOAT64, Array
from reference.checks.kernels._jax_rounding import Arrays, JaxGraph
from reference.checks.kernels._problem import Cotangents, KernelProblem, drawn_problem
from reference.checks.kernels._ways import (
    KernelAnswer,
    KernelTruth,
    TracedReference,
    Way,
    Ways,
    each,
)
from reference.checks.kinds.functions import FunctionSubject

_BATCH = 3  # problems that are stacked for vmap
_Run = Callable[[Arrays, Arrays], tuple[Sequence[jax.Array], Sequence[jax.Array]]]
"""From leaves and cotangents to outputs and gradients."""


_Axes = list[int | None] | int | None
"""What `jax.vmap` maps over: one axis for all, or one for each."""


class JaxKernel:
    """A function with a gradient by hand, in JAX."""

    def __init__(self, subject: FunctionSubject, seed: int) -> None:
        self.subject, self.seed = subject, seed
        self._references: dict[tuple[object, ...], TracedReference[Arrays, Arrays]] = {}

    @contextlib.contextmanager
    def running(self, dtype: str = FLOAT64) -> Iterator[None]:
        """Run what is inside with 64-bit numbers where the dtype has them, without otherwise."""
        wide = self.subject.frame.running(self.seed)
        with wide if dtype == FLOAT64 else contextlib.nullcontext():
            yield

    def function(
        self, problem: KernelProblem, dtype: str, reference: bool = False
    ) -> Callable[..., tuple[jax.Array, ...]]:
        """Return the kernel, or its reference, as a function of its leaves."""
        written, paths = self.subject.written, list(problem.leaves)
        run = written.primal if reference else written.custom

        def low(given: Sequence[object]) -> object:
            return run([_cast(g, dtype) for g in given])

        function = self.subject.function(low, dict(problem.drawn))
        return lambda *leaves: tuple(function(dict(zip(paths, leaves, strict=True))))

    def pulling(self, problem: KernelProblem, dtype: str) -> _Run:
        """Return what runs the kernel and pulls cotangents back."""
        function = self.function(problem, dtype)

        def run(leaves: Arrays, dout: Arrays) -> tuple[Sequence[jax.Array], Sequence[jax.Array]]:
            outputs, pull = jax.vjp(function, *leaves)
            return outputs, pull(tuple(dout))

        return run

    def ask(
        self,
        problem: KernelProblem,
        cotangents: Cotangents,
        dtype: str,
        under: Callable[[_Run], _Run] | None = None,
    ) -> KernelAnswer:
        """Call it in a dtype and pull its cotangents back.

        under: jax.jit or the like; None: as it stands in float64, else compiled, which is quicker.
        """
        under = under or ((lambda run: run) if dtype == FLOAT64 else jax.jit)
        with self.running(dtype):
            outputs, found = under(self.pulling(problem, dtype))(
                *arrays(problem, cotangents, dtype)
            )
            gradients = dict(zip(problem.leaves, map(_plain, found), strict=True))
            return KernelAnswer([_plain(o) for o in outputs], gradients)

    def cotangents(self, problem: KernelProblem, dtype: str) -> Cotangents:
        """Return random weights of the outputs of a problem."""
        with self.running(dtype):
            leaves, _ = arrays(problem, (), dtype)
            outputs = jax.eval_shape(self.function(problem, dtype), *leaves)
        return problem.cotangents([np.zeros(o.shape) for o in outputs], self.seed)

    def traced(
        self, problem: KernelProblem, cotangents: Cotangents
    ) -> TracedReference[Arrays, Arrays]:
        """Trace the reference for the shapes of a problem; one trace serves all of the same."""
        rest = [v for k, v in problem.drawn.items() if (k,) not in problem.leaves]
        key = (*(a.shape for a in problem.leaves.values()), repr(rest))
        if key not in self._references:
            wide = functools.partial(arrays, dtype=FLOAT64)
            with self.running():
                function = self.function(problem, FLOAT64, reference=True)
                graph = JaxGraph(function, *wide(problem, cotangents))
            self._references[key] = TracedReference(graph, self.running, wide)
        return self._references[key]


class JaxWays(Ways):
    """Asks a kernel in every way, the plain ones first."""

    stride = 2  # every second problem has the same shapes: JAX compiles again for others

    def __init__(self, subject: FunctionSubject, seed: int) -> None:
        self.kernel = JaxKernel(subject, seed)
        super().__init__(subject, seed, self.kernel)

    def ways(self) -> Iterator[Way]:
        """Yield the ways that JAX has, the plain ones first."""
        yield "under jit, twice", self._twice
        yield "cotangent with zeros", self._with_zeros
        yield "under vmap", functools.partial(self._mapped, (0, 0))
        yield "under vmap of the cotangent (jax.jacrev)", functools.partial(self._mapped, (None, 0))
        for k, path in enumerate(self.problem.leaves):
            if len(self.problem.leaves) > 1:
                axes = [0 if at == k else None for at in range(len(self.problem.leaves))]
                mapped = functools.partial(self._mapped, (axes, None))
                yield f"under vmap of {path_name(path)}", mapped
        yield "differentiated twice", self._second
        if self.right:
            yield from self.other_problems()

    def _twice(self) -> list[str]:
        dtype = self.model.dtype
        answers = [
            self.kernel.ask(self.problem, self.cotangents, dtype, under=jax.jit) for _ in range(2)
        ]
        return self.wrong(answers[0], self.truth) or self.wrong(answers[1], self.truth)

    def _mapped(self, axes: tuple[_Axes, _Axes]) -> list[str]:
        """Map over several problems at once; each must come back as it does alone."""
        dtype = self.model.dtype
        problems, weights = self._batch(axes)
        with self.kernel.running(dtype):
            given = [arrays(p, w, dtype) for p, w in zip(problems, weights, strict=True)]
            wide = [_axes(axes[0], len(self.problem.leaves)), _axes(axes[1], len(self.cotangents))]
            stacked = [
                [
                    jnp.stack([g[side][k] for g in given]) if axis == 0 else given[0][side][k]
                    for k, axis in enumerate(wide[side])
                ]
                for side in (0, 1)
            ]
            run = jax.jit(jax.vmap(self.kernel.pulling(self.problem, dtype), in_axes=tuple(wide)))
            outputs, found = run(*stacked)
        for k, (problem, dout) in enumerate(zip(problems, weights, strict=True)):
            gradients = {p: _plain(g[k]) for p, g in zip(problem.leaves, found, strict=True)}
            answer = KernelAnswer([_plain(o[k]) for o in outputs], gradients)
            wrong = self.wrong(answer, self._alone(problem, dout))
            if wrong:
                return wrong
        return []

    def _batch(self, axes: tuple[_Axes, _Axes]) -> tuple[list[KernelProblem], list[Cotangents]]:
        """Return problems that differ where an axis is mapped, and are the same elsewhere."""
        wide = _axes(axes[0], len(self.problem.leaves))
        problems: list[KernelProblem] = []
        weights: list[Cotangents] = []
        for k in range(_BATCH):
            other = drawn_problem(self.subject, self.seed, self.problem.index + self.stride * k)
            other = other.in_dtype(self.model.dtype)
            leaves = {
                p: other.leaves[p] if axis == 0 else a
                for (p, a), axis in zip(self.problem.leaves.items(), wide, strict=True)
            }
            problems.append(KernelProblem(self.problem.drawn, leaves, self.problem.index))
            sign = 1.0 if k == 0 or axes[1] is None else -1.0 / k
            weights.append(each(functools.partial(np.multiply, sign), self.cotangents))
        return problems, weights

    def _alone(self, problem: KernelProblem, cotangents: Cotangents) -> KernelTruth:
        if self.asked is None or not self.right:
            answer = self.ask(problem, cotangents)
            every = (*answer.outputs, *answer.gradients.values())
            values = tuple(v for v in every if v is not None)
            return self.truth._replace(values=values)
        values = self.asked.traced.values(problem, cotangents)
        return self.truth._replace(values=values, bounds=self.sizes)

    def derivative(self, own: bool) -> list[Array] | None:
        """Return the derivative of Σ v·g by the inputs, v random; None where it is refused."""
        rng = np.random.default_rng(self.seed)
        weights = [rng.standard_normal(a.shape) for a in self.problem.leaves.values()]
        with self.kernel.running():
            function = self.kernel.function(self.problem, FLOAT64, reference=not own)
            leaves, dout = arrays(self.problem, self.cotangents, FLOAT64)

            def weighed(*leaves: object) -> object:
                _, pull = jax.vjp(function, *leaves)
                return sum(jnp.sum(g * w) for g, w in zip(pull(tuple(dout)), weights, strict=True))

            try:
                found = jax.jit(jax.grad(weighed, argnums=tuple(range(len(leaves)))))(*leaves)
            except Exception:
                return None
        return [np.asarray(g) for g in found]


def arrays(problem: KernelProblem, cotangents: Cotangents, dtype: str) -> tuple[Arrays, Arrays]:
    """Return leaves and cotangents as arrays of JAX, in a dtype."""
    leaves = [jnp.asarray(a, dtype=dtype) for a in problem.leaves.values()]
    return leaves, [jnp.asarray(c, dtype=dtype) for c in cotangents if c is not None]


def _axes(axes: _Axes, count: int) -> list[int | None]:
    return list(axes) if isinstance(axes, list) else [axes] * count


def _cast(value: object, dtype: str) -> object:
    if isinstance(value, list):
        return [_cast(v, dtype) for v in value]
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating):
        return value.astype(dtype)
    return value


def _plain(array: object) -> Array:
    return np.asarray(array, dtype=np.float64)
