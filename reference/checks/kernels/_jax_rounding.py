"""What rounding may move in a gradient that JAX computes: the bound of `_torch_rounding`, over JAX.

The gradient is traced to primitives. Each is followed by a small term, and the results are
differentiated with respect to all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive

from reference.checks.kernels._findings import MODELS, Array, Bounds, OperationSize

Arrays = list[jax.Array]
_Note = tuple[Arrays, jax.Array, jax.Array | None]
"""Of a result: the floats that went in, what came out, and n Σ|terms| of a sum."""

_SUMS = set("dot_general reduce_sum conv_general_dilated cumsum scatter-add scatter_add".split())
_CORRECT = {"add", "sub", "mul", "div", "neg", "sqrt", "add_any", "square", *_SUMS}
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Where a primitive keeps the primitives that it stands for: jit, custom_jvp, remat."""
_OPENED = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint",
           "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}  # fmt: skip


class JaxGraph:
    """A gradient of JAX as a list of primitives, for inputs of the shapes it was traced with."""

    def __init__(
        self, primal: Callable[..., Sequence[jax.Array]], leaves: Arrays, dout: Arrays
    ) -> None:
        """Trace a function with its pullback.

        primal: from leaves to its outputs. leaves: arrays, the inputs. dout: one for each output.
        """

        def run(leaves: Arrays, dout: Arrays) -> Arrays:
            outputs, pull = jax.vjp(lambda *t: tuple(primal(*t)), *leaves)
            weights = tuple(d.astype(o.dtype) for o, d in zip(outputs, dout, strict=True))
            return [*outputs, *pull(weights)]

        self._closed = jax.make_jaxpr(run)(leaves, dout)
        count = _count(self._closed.jaxpr)
        if count > _MAX_OPERATIONS:
            raise ArithmeticError(f"its gradient has {count} operations, {_MAX_OPERATIONS} at most")
        self._run = jax.jit(self._shifted)
        self._slopes = jax.jit(jax.jacrev(self._shifted))
        self._note = jax.jit(self._noted)
        self._correct: dict[str, bool] = {}

    def _shifted(self, shifts: Mapping[str, jax.Array], given: Arrays) -> Arrays:
        return _evaluate(self._closed.jaxpr, self._closed.consts, given, _shift_by(shifts))

    def _noted(self, given: Arrays) -> dict[str, _Note]:
        seen: dict[str, _Note] = {}
        follow = _note_in(seen, self._correct)
        _evaluate(self._closed.jaxpr, self._closed.consts, given, follow)
        return seen

    def sizes(self, leaves: Arrays, dout: Arrays) -> dict[str, OperationSize]:
        """Return how large the results of all primitives are; what is only moved is exact."""
        found = {}
        for key, (floats, made, terms) in self._note([*leaves, *dout]).items():
            known = np.concatenate([np.zeros(1), *(np.ravel(v) for v in floats)])
            if not np.isin(made, known).all():
                size = np.where(np.isfinite(made), np.abs(made), 0.0)
                of_sum = None if terms is None else np.asarray(terms)
                found[key] = OperationSize(size, of_sum, self._correct[key])
        return found

    def shifted(
        self, shifts: Mapping[str, Array], leaves: Arrays, dout: Arrays
    ) -> tuple[Array, ...]:
        """Return outputs, then gradients in the order of the leaves, in float64."""
        moved = {key: jnp.asarray(shift) for key, shift in shifts.items()}
        return tuple(np.asarray(v, dtype=np.float64) for v in self._run(moved, [*leaves, *dout]))

    def bounds(self, sizes: Mapping[str, OperationSize], leaves: Arrays, dout: Arrays) -> Bounds:
        """Return how far rounding may move each of these, by model."""
        zeros = {key: jnp.zeros(size.result.shape) for key, size in sizes.items()}
        slopes = self._slopes(zeros, [*leaves, *dout])
        found = []
        for by_shift in slopes:
            shape = np.shape(next(iter(by_shift.values()), 0.0))
            total: Array = np.zeros(())
            for key, slope in by_shift.items():
                size = sizes[key]
                flat = np.abs(np.asarray(slope)).reshape(-1, size.result.size)
                total = total + flat @ size.units()
                shape = np.shape(slope)[: np.ndim(slope) - size.result.ndim]
            found.append(np.reshape(total, (*shape, len(MODELS))))
        return {m: tuple(f[..., k] for f in found) for k, m in enumerate(MODELS)}


# -- the primitives ------------------------------------------------------------------------------

_MAX_OPERATIONS = 400
"""XLA takes minutes to compile the slopes of more: a loop of Python is unrolled."""


def _count(jaxpr: Any) -> int:
    """Count the primitives, those inside others included."""
    inside = [eqn.params[p] for eqn in jaxpr.eqns for p in _INSIDE if p in eqn.params]
    return len(jaxpr.eqns) + sum(_count(getattr(i, "jaxpr", i)) for i in inside)


_Follow = Callable[[str, Primitive, Arrays, Arrays, dict[str, object]], Arrays]
"""What is done with the results of a primitive: its place, itself, what went in, what came out."""


def _evaluate(
    jaxpr: Any,
    consts: Sequence[object],
    given: Sequence[object],
    follow: _Follow,
    place: str = "",
) -> Arrays:
    """Run primitives in float64; `follow` may change what comes out of each."""
    known: dict[object, jax.Array] = {}

    def read(one: object) -> jax.Array:
        return _wide(one.val) if isinstance(one, Literal) else known[one]

    known.update(zip(jaxpr.constvars, map(_wide, consts), strict=True))
    known.update(zip(jaxpr.invars, map(_wide, given), strict=True))
    for k, eqn in enumerate(jaxpr.eqns):
        values = [read(v) for v in eqn.invars]
        at = f"{place}{k}."
        inner = next((eqn.params[p] for p in _INSIDE if p in eqn.params), None)
        if eqn.primitive.name in _OPENED and inner is not None:
            held = getattr(inner, "consts", ())
            made = _evaluate(getattr(inner, "jaxpr", inner), held, values, follow, at)
        elif eqn.primitive.name == "stop_gradient":  # rounding passes what grad does not
            made = values
        else:
            params = {name: _wide_dtype(p) for name, p in eqn.params.items()}
            bound = eqn.primitive.bind(*values, **params)
            made = list(bound) if eqn.primitive.multiple_results else [bound]
            made = follow(at, eqn.primitive, values, made, params)
        known.update(zip(eqn.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _shift_by(shifts: Mapping[str, jax.Array]) -> _Follow:
    def follow(
        place: str, primitive: Primitive, values: Arrays, made: Arrays, params: dict[str, object]
    ) -> Arrays:
        return [m + shifts[f"{place}{k}"] if f"{place}{k}" in shifts else m
                for k, m in enumerate(made)]  # fmt: skip

    return follow


def _note_in(seen: dict[str, _Note], correct: dict[str, bool]) -> _Follow:
    """Note of each result of floats what went in, what came out, and n Σ|terms| of a sum."""

    def follow(
        place: str, primitive: Any, values: Arrays, made: Arrays, params: dict[str, object]
    ) -> Arrays:
        floats = [v for v in values if _is_float(v)]
        terms = None
        if primitive.name in _SUMS:
            sizes = primitive.bind(*[abs(v) if _is_float(v) else v for v in values], **params)
            ones = [jnp.ones_like(v) if _is_float(v) else v for v in values]
            terms = sizes * primitive.bind(*ones, **params)
        for k, one in enumerate(made):
            if floats and _is_float(one):
                seen[f"{place}{k}"] = floats, one, terms
                correct[f"{place}{k}"] = primitive.name in _CORRECT
        return made

    return follow


def _is_float(value: object) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.floating))


def _wide(value: object) -> jax.Array:
    return jnp.asarray(value, dtype=jnp.float64) if _is_float(value) else jnp.asarray(value)


def _wide_dtype(value: object) -> object:
    """Return a dtype of floats among a primitive's parameters as float64."""
    if isinstance(value, np.dtype | type) and jnp.issubdtype(value, jnp.floating):
        return np.dtype(np.float64)
    return value
