"""Three ways to the derivative of any quantity of an article's system by any other.

Each runs the system's own `forward` over its arithmetic: PyTorch, JAX, and balls, whose
derivatives are certified. PyTorch and JAX answer in the dtype of the inputs; balls carry `BITS`
bits and an error bound.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from flint import arb

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.articles.claim import Evaluation, Expression, Jacobian
from manual_backprop.articles.system import (
    NUMPY,
    Arithmetic,
    Quantities,
    SlopeArithmetic,
    System,
    Undefined,
    differentiable,
)
from manual_backprop.losses import LOSSES
from manual_backprop.operation import ByName
from reference.arithmetic import balls
from reference.arithmetic.point_derivative import at_point, constants
from reference.oracles.counterparts import Framework, Resolved, namespace, resolve
from reference.oracles.jax_x64 import double_precision

BITS = 128
"""The precision of the balls. The identities claimed are exact, so it need not be high."""

ENGINES: tuple[str, ...] = ("certified", "torch", "jax")


class DerivativeEngine(Protocol):
    """Works a system out at given inputs, derivatives included."""

    name: str

    def unavailable(self) -> str | None:
        """Return why the engine cannot answer here, or None when it can."""
        installed = importlib.util.find_spec(self.name)
        return None if installed else f"{self.name} is not installed"

    def evaluate(self, system: System, inputs: ByName) -> Evaluation:
        """Return values and derivatives, as NumPy arrays of floats or of balls."""


def engine(name: str) -> DerivativeEngine:
    """Return an engine by name."""
    engines: dict[str, type[Certified | Torch | Jax]] = {
        "certified": Certified,
        "torch": Torch,
        "jax": Jax,
    }
    return engines[name]()


# Balls.


class BallArithmetic(SlopeArithmetic):
    """Arrays of balls, or of balls with slopes, entry by entry; activations by their definition."""

    def __init__(self) -> None:
        self._m = balls.DefinitionArithmetic()

    def _each(self, f: Callable[..., object], x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.frompyfunc(f, 1, 1)(x)
        return found

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return e to the x."""
        return self._each(self._m.exp, x)

    def log(self, x: np.ndarray) -> np.ndarray:
        """Return the natural logarithm."""
        return self._each(self._m.log, x)

    def apply(self, name: str, x: np.ndarray, **parameters: float) -> np.ndarray:
        """Return the textbook definition of an activation."""
        operation = ACTIVATIONS[name]
        arguments = constants({**operation.defaults(), **parameters})
        f = partial(operation.definition, self._m, **arguments)
        if not operation.rowwise:
            return self._each(f, x)
        array = np.asarray(x, dtype=object)
        rows = [f(list(row)) for row in array.reshape(-1, array.shape[-1])]
        return np.array(rows, dtype=object).reshape(array.shape)

    def loss(self, name: str, y: np.ndarray, t: np.ndarray, **arguments: np.ndarray) -> np.ndarray:
        """Return the textbook definition of a loss, for each entry or for each row."""
        operation = LOSSES[name]
        scalars = {n: v for n, v in arguments.items() if n not in operation.arrays}
        arrays = {n: v for n, v in arguments.items() if n in operation.arrays}
        f = partial(operation.definition, self._m, **constants(scalars))
        if not operation.elementwise:
            rows = {n: [balls.exact(float(v)) for v in array] for n, array in arrays.items()}
            losses = [f(list(row), _target(t[n]), **rows) for n, row in enumerate(y)]
            return _array(losses, (len(losses),))
        entries = []
        for at in np.ndindex(y.shape):
            own = {
                n: balls.exact(float(np.broadcast_to(a, y.shape)[at])) for n, a in arrays.items()
            }
            entries.append(f(y[at], float(t[at]), **own))
        return _array(entries, y.shape)

    def slope(self, name: str, x: np.ndarray) -> np.ndarray:
        """Return g'(x) by differentiating the definition."""
        operation = ACTIVATIONS[name]
        definition, parameters = operation.definition, operation.defaults()

        def slope(value: arb) -> balls.Ball:
            return at_point(definition, value, (), parameters)[0].slopes[0]

        return self._each(slope, x)


class Certified:
    """Runs forward once over balls that carry their slopes by every entry of every quantity."""

    name = "certified"

    def unavailable(self) -> str | None:
        """Return None: ball arithmetic is always here."""
        return None

    def evaluate(self, system: System, inputs: ByName) -> Evaluation:
        """Return certified values and derivatives; the caller of a side sets its precision."""
        with balls.precision(BITS):
            given = {
                name: _objects(value, balls.exact) if name in numbers else value
                for numbers in [differentiable(inputs)]
                for name, value in inputs.items()
            }
            shapes = _shapes(system, given, BallArithmetic())
            first: dict[str, int] = {}
            probes: dict[str, np.ndarray] = {}
            count = 0
            for name, shape in shapes.items():
                size = int(np.prod(shape))
                first[name] = count
                zeros = [balls.Dual(arb(0), balls.Slopes({count + i: arb(1)})) for i in range(size)]
                probes[name] = _array(zeros, shape)
                count += size
            probed = {
                name: value + probes[name] if name in probes else value
                for name, value in given.items()
            }
            q = Quantities(probed, probes)
            system.forward(BallArithmetic(), q)

        def jacobian(of: str | Expression, by: str) -> np.ndarray:
            value = q[of] if isinstance(of, str) else of(BallArithmetic(), q)
            q[by]  # a name that is not there is Undefined
            outputs = np.asarray(value, dtype=object)
            size = int(np.prod(shapes[by]))
            rows = [
                balls.dual(entry).slope.by.get(first[by] + i, arb(0))
                for entry in outputs.reshape(-1)
                for i in range(size)
            ]
            return _array(rows, outputs.shape + shapes[by])

        values = {name: _values(q[name]) if name in shapes else q[name] for name in q.names()}
        return Evaluation(BallArithmetic(), Quantities(values), _memoised(jacobian), overlap)


def _target(row: np.ndarray) -> int | list[float]:
    """Return the target of a row as a definition takes it: a label, or a list of floats."""
    return int(row) if np.ndim(row) == 0 else [float(entry) for entry in row]


def overlap(left: np.ndarray, right: np.ndarray | float) -> bool:
    """Whether two arrays of balls may be equal: every pair of enclosures has a common point."""
    a, b = np.broadcast_arrays(np.asarray(left, dtype=object), np.asarray(right, dtype=object))
    return all(
        _ball(p).overlaps(_ball(q)) for p, q in zip(a.reshape(-1), b.reshape(-1), strict=True)
    )


def thin(value: np.ndarray) -> bool:
    """Whether every ball is narrow: at least half of its bits are certain."""
    entries = [_ball(entry) for entry in np.asarray(value, dtype=object).reshape(-1)]
    return all(
        entry.is_finite() and entry.rad() <= (1 + abs(entry.mid())) * arb(2) ** (-BITS // 2)
        for entry in entries
    )


def floats(value: np.ndarray) -> np.ndarray:
    """Return the midpoints of balls as floats."""
    array = np.asarray(value, dtype=object)
    return np.array([float(_ball(entry).mid()) for entry in array.reshape(-1)]).reshape(array.shape)


def _ball(entry: arb | float | np.generic) -> arb:
    return arb(entry.item() if isinstance(entry, np.generic) else entry)


def _shapes(system: System, given: ByName, m: Arithmetic) -> dict[str, tuple[int, ...]]:
    """Return the shape of every quantity, by running forward once."""
    q = Quantities(given)
    system.forward(m, q)
    names = [name for name, value in given.items() if isinstance(value, (np.ndarray, arb))]
    return {name: np.shape(q[name]) for name in [*names, *q.computed()]}


def _objects(value: np.ndarray, f: Callable[..., object]) -> np.ndarray:
    array = np.asarray(value)
    return _array([f(entry) for entry in array.reshape(-1).tolist()], array.shape)


def _array(entries: Sequence[object], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array.reshape(shape)[()]


def _values(value: np.ndarray) -> np.ndarray:
    return _objects(value, lambda e: e.value if isinstance(e, balls.Dual) else e)


def _memoised(
    jacobian: Jacobian,
) -> Jacobian:
    known: dict[tuple[str, str], np.ndarray] = {}

    def remembered(of: str | Expression, by: str) -> np.ndarray:
        if not isinstance(of, str):
            return jacobian(of, by)
        if (of, by) not in known:
            known[of, by] = jacobian(of, by)
        return known[of, by]

    return remembered


# The frameworks.


class FrameworkArithmetic(Arithmetic):
    """The own functions of a framework, under their array-API names."""

    def __init__(self, framework: Framework) -> None:
        self._framework, self.xp = framework, namespace(framework)

    def apply(self, name: str, x: np.ndarray, **parameters: float) -> Any:
        """Return the counterpart of an activation."""
        operation = ACTIVATIONS[name]
        return resolve(operation, self._framework)(x, **{**operation.defaults(), **parameters})

    def loss(self, name: str, y: np.ndarray, t: np.ndarray, **arguments: np.ndarray) -> Any:
        """Return the counterpart of a loss, not reduced."""
        operation, array = LOSSES[name], self.xp.asarray
        given = {n: array(v) if n in operation.arrays else v for n, v in arguments.items()}
        if self._framework == "torch" and not operation.torch.composed:
            given["reduction"] = "none"
        return resolve(operation, self._framework)(y, array(t), **given)

    def stack(self, entries: Sequence[np.ndarray]) -> Any:
        """Return the vector of the given numbers."""
        return self.xp.stack(list(entries))


class Torch(DerivativeEngine):
    """Differentiates by torch's autograd, one backward pass for each entry."""

    name = "torch"

    def evaluate(self, system: System, inputs: ByName) -> Evaluation:
        """Return values and derivatives in the dtype of the inputs."""
        import torch

        numbers = differentiable(inputs)
        given = {
            name: torch.tensor(value, requires_grad=True) if name in numbers else value
            for name, value in inputs.items()
        }
        m = FrameworkArithmetic("torch")
        q = Quantities(given)
        system.forward(m, q)

        def jacobian(of: str | Expression, by: str) -> np.ndarray:
            output = q[of] if isinstance(of, str) else of(m, q)
            at = q[by]
            rows = []
            for entry in output.reshape(-1):
                if not entry.requires_grad:
                    rows.append(torch.zeros_like(at))
                    continue
                (row,) = torch.autograd.grad(
                    entry, [at], retain_graph=True, allow_unused=True, materialize_grads=True
                )
                rows.append(row)
            found = torch.stack(rows).reshape(output.shape + at.shape)
            return found.detach().numpy()[()]

        values = {
            name: q[name].detach().numpy()[()] if isinstance(q[name], torch.Tensor) else q[name]
            for name in q.names()
        }
        return Evaluation(NUMPY, Quantities(values), _memoised(jacobian))


class Jax(DerivativeEngine):
    """Differentiates by jax.vjp at a probe of zeros beside every quantity.

    One compiled program pulls any cotangent back through one system; it is kept for problems of
    the same structure, since compiling costs thousands of times more than running. (A program that
    gives every derivative at once compiles five times as long.)
    """

    name = "jax"

    def __init__(self) -> None:
        self._compiled: dict[object, Resolved] = {}

    def evaluate(self, system: System, inputs: ByName) -> Evaluation:
        """Return values and derivatives in the dtype of the inputs."""
        with double_precision():
            return self._evaluate(system, inputs)

    def _evaluate(self, system: System, inputs: ByName) -> Evaluation:
        import jax
        import jax.numpy as jnp

        m = FrameworkArithmetic("jax")
        numbers = {name: np.asarray(inputs[name]) for name in differentiable(inputs)}
        structure = {name: value for name, value in inputs.items() if name not in numbers}
        shapes = tuple((name, value.shape) for name, value in numbers.items())
        key = (id(system.forward), shapes, repr(structure))

        def run(given: ByName, probes: ByName) -> Quantities:
            probed = {n: v + probes[n] if n in probes else v for n, v in given.items()}
            q = Quantities({**structure, **probed}, probes)
            system.forward(m, q)
            return q

        def outputs(given: ByName, probes: ByName) -> ByName:
            q = run(given, probes)
            return {name: q[name] for name in [*numbers, *q.computed()]}

        def pulled(given: ByName, cotangents: ByName) -> tuple[ByName, ByName]:
            zeros = {name: jnp.zeros_like(value) for name, value in cotangents.items()}
            values, pull = jax.vjp(lambda probes: outputs(given, probes), zeros)
            (found,) = pull(cotangents)
            return values, found

        shapes_of = jax.eval_shape(lambda given: outputs(given, {}), numbers)
        zeros = {name: np.zeros(value.shape, value.dtype) for name, value in shapes_of.items()}
        program = self._program(key, pulled)
        values, _ = program(numbers, zeros)
        rows: dict[str, list[ByName]] = {}

        def jacobian(of: str | Expression, by: str) -> np.ndarray:
            with double_precision():
                return differentiated(of, by)

        def differentiated(of: str | Expression, by: str) -> np.ndarray:
            value = _defined(zeros, by)
            if isinstance(of, str):
                shape = _defined(zeros, of).shape
                if of not in rows:
                    basis = np.eye(int(np.prod(shape)), dtype=zeros[of].dtype).reshape(-1, *shape)
                    rows[of] = [program(numbers, {**zeros, of: one})[1] for one in basis]
                found = np.stack([np.asarray(row[by]) for row in rows[of]])
                return found.reshape(shape + value.shape)[()]
            differentiate = jax.jacrev(
                lambda probe, given: of(m, run(given, {by: probe})), argnums=0
            )
            if of.__closure__ is None:  # the code alone says what it is
                differentiate = self._program((*key, of.__code__, by), differentiate)
            return np.asarray(differentiate(value, numbers))[()]

        arrays = {name: np.asarray(value)[()] for name, value in values.items()}
        return Evaluation(NUMPY, Quantities({**structure, **arrays}), _memoised(jacobian))

    def _program(self, key: object, function: Resolved) -> Resolved:
        import jax

        if key not in self._compiled:
            self._compiled[key] = jax.jit(function)
        return self._compiled[key]


def _defined(values: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in values:
        raise Undefined(f"the article gives no {name}")
    return values[name]
