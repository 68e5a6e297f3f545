"""One interface to PyTorch and JAX: tensors, their plain values, the pullback of a function.

Everything runs in float64: what a file makes without saying a dtype is float64 as well.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reference.checks.code import Path
from reference.checks.running.surroundings import quiet, seeded
from reference.formats import Array

Tensors = Mapping[Path, object]
Function = Callable[[Tensors], Sequence[Any]]
"""From leaves to outputs: tensors, or None for an output that has no derivative."""


class FrameworkMissing(ImportError):
    """A target needs a framework that is not installed."""


@dataclass
class FrameRun:
    """The outputs of one run, and its pullback."""

    outputs: list[Array | None]
    """Plain values; None for an output that has no derivative."""
    pull: Callable[[Sequence[Array | None]], dict[Path, Array | None]]
    """From a cotangent for each output to a gradient for each leaf; None where none came back."""


def filled(
    gradients: Mapping[Path, Array | None], leaves: Mapping[Path, Array]
) -> dict[Path, Array]:
    """Return gradients with zeros where none came back."""
    return {p: np.zeros_like(leaves[p]) if g is None else g for p, g in gradients.items()}


class _Torch:
    name, module = "PyTorch", "torch"

    def __init__(self) -> None:
        import torch

        self.torch = torch

    @contextlib.contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Make float64 the default, and seed, for all that runs; both are as before afterwards."""
        torch = self.torch
        before = torch.get_default_dtype()
        with torch.random.fork_rng(devices=[]), seeded(seed), quiet():
            torch.manual_seed(seed)
            torch.set_default_dtype(torch.float64)
            try:
                yield
            finally:
                torch.set_default_dtype(before)

    def tensor(self, array: object) -> object:
        """Return a tensor that shares nothing with the array."""
        return self.torch.tensor(np.asarray(array))

    def plain(self, tensor: Any) -> Array:
        """Return a tensor's values."""
        return np.array(tensor.detach().cpu().numpy())

    def is_tensor(self, value: object) -> bool:
        """Whether a value is a tensor of this framework."""
        return isinstance(value, self.torch.Tensor)

    def is_float(self, value: Any) -> bool:
        """Whether a value is a tensor of floats."""
        return self.is_tensor(value) and bool(value.is_floating_point())

    def without_gradient(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which nothing is recorded."""
        found: contextlib.AbstractContextManager[object] = self.torch.no_grad()
        return found

    def try_shapes(self, function: Function, leaves: Mapping[Path, Array]) -> None:
        """Run a function as far as shapes tell: small tensors cost nothing."""
        with self.torch.no_grad():
            function({p: self.tensor(a) for p, a in leaves.items()})

    def pullback(self, function: Function, leaves: Mapping[Path, Array]) -> FrameRun:
        """Run a function on leaves under autograd; return its outputs with its pullback."""
        torch = self.torch
        made = {p: torch.tensor(a, requires_grad=True) for p, a in leaves.items()}
        # Of each a copy: code may write into its inputs, which a leaf does not allow.
        before = torch.get_rng_state()
        with torch.enable_grad():
            outputs = list(function({p: leaf.clone() for p, leaf in made.items()}))
        tied = [self.is_float(o) and o.requires_grad for o in outputs]
        if not any(tied):
            torch.set_rng_state(before)
            with torch.enable_grad(), _recorded(torch):
                outputs = list(function({p: leaf.clone() for p, leaf in made.items()}))
            tied = [self.is_float(o) and o.requires_grad for o in outputs]

        def pull(cotangents: Sequence[Array | None]) -> dict[Path, Array | None]:
            pairs = [
                (o, torch.tensor(np.asarray(c), dtype=o.dtype))
                for o, c, t in zip(outputs, cotangents, tied, strict=True)
                if t and c is not None
            ]
            if not pairs:
                return dict.fromkeys(made)
            found = torch.autograd.grad(
                [o for o, _ in pairs],
                list(made.values()),
                [c for _, c in pairs],
                allow_unused=True,
                retain_graph=True,
            )
            return {
                p: None if g is None else self.plain(g) for p, g in zip(made, found, strict=True)
            }

        return FrameRun(
            [self.plain(o) if t else None for o, t in zip(outputs, tied, strict=True)], pull
        )


@contextlib.contextmanager
def _recorded(torch: Any) -> Iterator[None]:
    """Let `no_grad` record: a forward with a backward by hand may stand under it as a whole.

    PyTorch's own code keeps it: it fills parameters under it.
    """
    entered = torch.no_grad.__enter__

    def enter(guard: Any) -> None:
        caller = sys._getframe(1)
        decorated = caller.f_locals.get("func")  # of @torch.no_grad()
        module = getattr(decorated, "__module__", None) or caller.f_globals["__name__"]
        if module.partition(".")[0] == "torch":
            entered(guard)
        else:
            guard.prev = torch.is_grad_enabled()

    torch.no_grad.__enter__ = enter
    try:
        yield
    finally:
        torch.no_grad.__enter__ = entered


class _Jax:
    name, module = "JAX", "jax"

    def __init__(self) -> None:
        import jax

        self.jax = jax

    @contextlib.contextmanager
    def running(self, seed: int) -> Iterator[None]:
        """Keep float64; JAX's own random numbers come from the keys that code makes."""
        from reference.oracles.jax_x64 import double_precision

        with double_precision(), seeded(seed), quiet():
            yield

    def tensor(self, array: object) -> object:
        return self.jax.numpy.asarray(array)

    def plain(self, tensor: object) -> Array:
        return np.array(tensor)

    def is_tensor(self, value: object) -> bool:
        return isinstance(value, self.jax.Array)

    def is_float(self, value: Any) -> bool:
        return self.is_tensor(value) and bool(self.jax.numpy.issubdtype(value.dtype, np.floating))

    def without_gradient(self) -> contextlib.AbstractContextManager[object]:
        """Return a context that changes nothing: JAX records only what is asked for."""
        return contextlib.nullcontext()

    def try_shapes(self, function: Function, leaves: Mapping[Path, Array]) -> None:
        """Evaluate the shapes alone, which compiles nothing, unless the code asks for values."""
        given = {p: self.tensor(a) for p, a in leaves.items()}

        def run(tensors: Tensors) -> list[object]:
            return [o for o in function(tensors) if self.is_tensor(o)]

        try:
            self.jax.eval_shape(lambda *t: run(dict(zip(given, t, strict=True))), *given.values())
        except self.jax.errors.JAXTypeError:
            run(given)

    def pullback(self, function: Function, leaves: Mapping[Path, Array]) -> FrameRun:
        """Run a function under jax.vjp."""
        paths = list(leaves)
        floats: list[bool] = []

        def run(*given: object) -> tuple[Any, ...]:
            outputs = list(function(dict(zip(paths, given, strict=True))))
            floats[:] = [o is not None and self.is_float(o) for o in outputs]
            return tuple(o for o, f in zip(outputs, floats, strict=True) if f)

        values, back = self.jax.vjp(run, *(self.tensor(a) for a in leaves.values()))

        def pull(cotangents: Sequence[Array | None]) -> dict[Path, Array | None]:
            asked = [c for c, f in zip(cotangents, floats, strict=True) if f]
            given = tuple(
                self.jax.numpy.asarray(0 * v if c is None else c, dtype=v.dtype)
                for v, c in zip(values, asked, strict=True)
            )
            found = back(given)
            return {p: np.array(g) for p, g in zip(paths, found, strict=True)}

        rest = iter(values)
        return FrameRun([np.array(next(rest)) if f else None for f in floats], pull)


Frame = _Torch | _Jax
"""A framework: both have the same methods, which `_Torch` describes."""


def frame_of(name: str) -> Frame:
    """Return a framework by its module's name; raises FrameworkMissing where there is none."""
    try:
        return _Torch() if name == "torch" else _Jax()
    except ImportError as error:
        raise FrameworkMissing(f"it needs {name}, which is not installed ({error})") from None


def shape_index(frame: Frame, index: int) -> int:
    """Return which sizes a problem has: JAX compiles every operation again for every shape."""
    return index % 2 if frame.module == "jax" else index


def flat_tensors(value: object) -> list[object]:
    """Return what stands in nested tuples, lists and dicts, in order."""
    if isinstance(value, Mapping):
        return [t for part in value.values() for t in flat_tensors(part)]
    if isinstance(value, tuple | list):
        return [t for part in value for t in flat_tensors(part)]
    return [value]
