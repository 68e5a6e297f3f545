"""The fast step: one plain step is written down once, then replayed into buffers kept for ever.

The mathematics stays where it is, in the operations and in `network.forward` and `backward`.
Here those two walks run once on `Traced` arrays, which compute as usual and note every call on a
tape. What the tape shows is then put to use, with not one digit changed:

    a call met twice             is made once        (softmax, in the loss and in its gradient)
    what no output depends on    is left out         (the cotangent of x, where nobody asks)
    xᵀ, x[:, None]               become views
    a @ b                        becomes a.dot(b, out), a third of its overhead for small a and b
    a number                     becomes an array of the type that the call computes in
    a result nobody reads again  gives its memory to the next result

A step is the remaining calls, each bound to its operands and its place for the result.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from manual_backprop.network import Problem, backward, check_problem, forward
from manual_backprop.spec import FloatArray, InvalidInput

Array = npt.NDArray[Any]
Call = Callable[[], Any]
Emit = Callable[..., list[Call]]
"""Given the place of the result and the operands, the calls that compute it."""


class Step:
    """One forward and backward walk of a network for one batch size and dtype.

    `step(x, targets)` returns the loss and the gradients, in arrays that belong to the step and
    are overwritten by the next call; x and targets are copied in, and the caller's arrays are
    never changed. `step.inputs` holds the step's own x, targets, weights and parameters: update
    the parameters in place, `step.inputs[name] -= rate * step.gradients[name]`. Two threads need
    two steps: `copy.copy(step)` makes another one with the same inputs.
    """

    def __init__(self, problem: Problem, wanted: tuple[str, ...]) -> None:
        tape = _Tape()
        given = {
            "x": problem.x,
            "targets": problem.targets,
            **({} if problem.weights is None else {"weights": problem.weights}),
            **problem.arrays,
            **problem.parameters,
        }
        traced = {name: tape.note(name, array) for name, array in given.items()}
        symbolic = replace(
            problem,
            parameters={name: traced[name] for name in problem.parameters},
            arrays={name: traced[name] for name in problem.arrays},
            **{name: traced[name] for name in ("x", "targets", "weights") if name in traced},
        )
        trace = forward(symbolic)
        found = {"loss": trace.loss, **backward(symbolic, trace)}
        # What depends on no input is a constant of the step.
        outputs = [
            value if isinstance(value, Traced) else tape.note(name, value)
            for name in ("loss", *wanted)
            for value in (found[name],)
        ]
        self._problem, self._wanted = problem, wanted
        self._calls, places = tape.assemble(outputs)
        self.inputs: Mapping[str, Array] = {n: places[t.number] for n, t in traced.items()}
        self.loss: FloatArray = places[outputs[0].number]
        self.gradients: Mapping[str, FloatArray] = {
            name: places[output.number] for name, output in zip(wanted, outputs[1:], strict=True)
        }
        self._x, self._targets = self.inputs["x"], self.inputs["targets"]

    def __call__(self, x: FloatArray, targets: Array) -> tuple[FloatArray, Mapping[str, FloatArray]]:
        """Return the loss and the gradients at x and targets."""
        _load("x", self._x, x)
        _load("targets", self._targets, targets)
        for call in self._calls:
            call()
        return self.loss, self.gradients

    def __copy__(self) -> "Step":
        inputs = self.inputs
        return Step(
            replace(
                self._problem,
                x=inputs["x"],
                targets=inputs["targets"],
                weights=inputs.get("weights"),
                parameters={name: inputs[name] for name in self._problem.parameters},
                arrays={name: inputs[name] for name in self._problem.arrays},
            ),
            self._wanted,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Step":
        return self.__copy__()


def compile_step(problem: Problem, wanted: Iterable[str] | None = None) -> Step:
    """Return the fast step of a problem's network, for its batch size, dtype and kind of targets.

    `wanted` names the gradients as `network.backward` does (parameters, steps, "x"); left out,
    they are those of the parameters, which is what training needs.
    """
    check_problem(problem)
    network = problem.network
    shapes = network.parameter_shapes()
    names = tuple(shapes if wanted is None else wanted)
    known = {*shapes, *network.step_names(), "x"}
    for name in names:
        if name not in known:
            raise InvalidInput(f"wanted: {name!r} is not a gradient of this network ({known})")
    return Step(problem, names)


def _load(name: str, place: Array, array: Array) -> None:
    if getattr(array, "shape", None) != place.shape or array.dtype != place.dtype:
        found = f"{getattr(array, 'dtype', type(array).__name__)} {getattr(array, 'shape', '')}"
        raise InvalidInput(f"{name}: {found}, but this step takes {place.dtype} {place.shape}")
    np.copyto(place, array)


class Traced(NDArrayOperatorsMixin):
    """An array that notes on a tape how it came about.

    `value` is what the plain step computes; its shape and dtype become those of the place of the
    result. `emit` makes the calls that compute it from its operands; a view has `view` instead.
    """

    def __init__(
        self,
        tape: "_Tape",
        value: Any,
        operands: tuple[Any, ...] = (),
        emit: Emit | None = None,
        view: Callable[[Array], Array] | None = None,
        reuses: tuple[Any, ...] = (),
    ) -> None:
        self.tape, self.value, self.number = tape, np.asarray(value), len(tape.order)
        self.operands, self.emit, self.view, self.reuses = operands, emit, view, reuses
        self.shape, self.dtype = self.value.shape, self.value.dtype
        self.ndim, self.size = self.value.ndim, self.value.size

    @property
    def traced(self) -> list["Traced"]:
        """The operands that are not constants."""
        return [o for o in self.operands if isinstance(o, Traced)]

    @property
    def root(self) -> "Traced":
        """The array whose memory this is."""
        return self.operands[0].root if self.view else self

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """The transposed array, a view."""
        return np.transpose(cast(Any, self))

    @property
    def real(self) -> "Traced":
        """The array itself: complex numbers are not traced."""
        return self

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, key: Any) -> Any:
        # With the dots one number, too, is a view and not a copy.
        keys = key if isinstance(key, tuple) else (key,)
        dots = () if any(k is ... for k in keys) else (...,)
        return self.tape.function(operator.getitem, (self, (*keys, *dots)), {})

    def __getattr__(self, name: str) -> Any:
        # x.sum(axis=-1) is np.sum(x, axis=-1), and so are the other methods.
        if name.startswith("_") or not hasattr(np.ndarray, name) or not hasattr(np, name):
            raise AttributeError(name)
        return partial(getattr(np, name), self)

    def astype(self, dtype: npt.DTypeLike) -> Any:
        """Return the array in another dtype."""
        return self.tape.cast(self, np.dtype(dtype))

    def _data(self, *_: Any, **__: Any) -> Any:
        raise InvalidInput(
            "the fast step is traced once for all data, so a formula cannot turn an array into a "
            "Python number or branch on one: use np.where"
        )

    __hash__ = object.__hash__
    __array__ = __bool__ = __float__ = __int__ = __index__ = __iter__ = _data

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **keywords: Any) -> Any:
        if method == "__call__" and not keywords and ufunc.nout == 1:
            return self.tape.ufunc(ufunc, operands)
        if method == "reduce":
            return self.tape.reduce(ufunc, *operands, **keywords)
        raise InvalidInput(f"the fast step does not know {ufunc.__name__}.{method} with {keywords}")

    def __array_function__(
        self, function: Any, types: Any, operands: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        if function is np.where:
            return self.tape.where(*operands)
        if function in _REDUCTIONS:
            return self.tape.reduce(_REDUCTIONS[function], *operands, **keywords)
        return self.tape.function(function, operands, keywords)


_REDUCTIONS = {
    **{np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum},
    **{np.any: np.logical_or, np.all: np.logical_and},
}
# NumPy's maximum against a single number is not vectorised.
_NEVER_BROADCAST = {np.maximum, np.minimum}
_SMALL = 2048
"""Entries up to which the overhead of a call matters more than its work."""
_OF_SHAPE = {np.shape, np.ndim, np.size, np.iscomplexobj, np.result_type}
_OF_SHAPE |= {np.zeros_like, np.ones_like, np.full_like, np.empty_like}


class _Tape:
    """The calls of one plain step, in order, each once."""

    def __init__(self) -> None:
        self.order: list[Traced] = []
        self._known: dict[Any, Traced] = {}

    def ufunc(self, ufunc: np.ufunc, given: tuple[Any, ...]) -> Any:
        plain = ufunc(*map(_plain, given))
        if ufunc is np.matmul:
            return self.note("matmul", plain, tuple(map(self.dense, given)), _dot)
        dtypes = ufunc.resolve_dtypes((*map(_kind, given), None))
        small = plain.size <= _SMALL or ufunc in _NEVER_BROADCAST
        operands = tuple(
            self.spread(self.cast(o, dtype), plain.shape if small else ())
            for o, dtype in zip(given, dtypes, strict=False)
        )

        def emit(out: Array, *places: Array) -> list[Call]:
            if ufunc in _NEVER_BROADCAST:  # NumPy wants the name here
                return [partial(ufunc, *places, out=out)]
            return [partial(ufunc, *places, out)]

        return self.note(ufunc, plain, operands, emit, reuses=operands)

    def reduce(
        self, ufunc: np.ufunc, array: Traced, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> Traced:
        def emit(out: Array, place: Array) -> list[Call]:
            return [partial(ufunc.reduce, place, axis, None, out, keepdims)]

        plain = ufunc.reduce(array.value, axis=axis, dtype=dtype, keepdims=keepdims)
        array = self.cast(array, plain.dtype)
        return self.note((ufunc, axis, keepdims), plain, (array,), emit)

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        plain = np.where(*map(_plain, (condition, yes, no)))
        condition = self.cast(condition, np.dtype(bool))
        yes, no = self.cast(yes, plain.dtype), self.cast(no, plain.dtype)
        if plain.size > _SMALL:
            # Branches on every entry are slow; the bits of a number are chosen without any.
            bits = np.dtype(f"i{plain.itemsize}")
            mask = self.cast(-self.bits(condition, np.dtype("i1")), bits)
            chosen = mask & self.bits(yes, bits)
            if isinstance(no, Traced) or np.any(self.bits(no, bits)):
                chosen = chosen | (~mask & self.bits(no, bits))
            return self.bits(chosen, plain.dtype)

        def emit(out: Array, condition: Array, yes: Array, no: Array) -> list[Call]:
            copies = [] if no is out else _copy(out, no)
            return [*copies, partial(np.copyto, out, yes, "no", condition)]

        return self.note("where", plain, (condition, yes, no), emit, reuses=(no,))

    def bits(self, operand: Any, dtype: np.dtype[Any]) -> Any:
        """Return the same memory read as another dtype."""
        if isinstance(operand, Traced):
            return self.function(np.ndarray.view, (operand, dtype), {})
        return operand.view(dtype)

    def cast(self, operand: Any, dtype: np.dtype[Any]) -> Any:
        """Return the operand in the dtype; a number becomes an array."""
        if not isinstance(operand, Traced):
            array = np.asarray(operand, dtype)
            # A number repeated by broadcasting is a number again: NumPy's loops prefer that.
            return array if any(array.strides) else array.reshape(-1)[:1].reshape(())
        if operand.dtype == dtype:
            return operand
        return self.note("cast", operand.value.astype(dtype), (operand,), _copy)

    def spread(self, operand: Any, shape: tuple[int, ...]) -> Any:
        """Return the operand repeated to the shape; for small arrays copying beats broadcasting."""
        if shape in ((), operand.shape) or (operand.ndim == 0 and isinstance(operand, Traced)):
            return operand
        plain = np.broadcast_to(_plain(operand), shape).copy()
        return self.note("spread", plain, (operand,), _copy) if isinstance(operand, Traced) else plain

    def dense(self, operand: Any) -> Any:
        """Return the operand with every entry in memory, as a matrix product needs it."""
        if not isinstance(operand, Traced):
            return np.ascontiguousarray(operand)
        if operand.size == 1 or all(operand.value.strides):
            return operand
        return self.note("dense", operand.value.copy(), (operand,), _copy)

    def function(self, function: Any, operands: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Any other function of NumPy: a view of its operand, or something known from the shape."""
        plain = function(*map(_plain, operands), **keywords)
        if function in _OF_SHAPE:
            return plain
        array, *rest = operands
        if not isinstance(array, Traced) or not np.may_share_memory(plain, array.value):
            raise InvalidInput(f"the fast step does not know np.{function.__name__}")

        def view(place: Array) -> Array:
            return cast(Array, function(place, *rest, **keywords))

        return self.note((function, str(rest), str(keywords)), plain, (array,), view=view)

    def note(self, name: Any, plain: Any, operands: tuple[Any, ...] = (), *how: Any, **more: Any) -> Traced:
        """Return what was noted for the same call before, or else note it."""
        key = (name, np.asarray(plain).dtype, *map(_identity, operands))
        if key not in self._known:
            self._known[key] = Traced(self, plain, operands, *how, **more)
            self.order.append(self._known[key])
        return self._known[key]

    def assemble(self, outputs: Sequence[Traced]) -> tuple[list[Call], dict[int, Array]]:
        """Give every result a place, and return the calls and the places by number."""
        needed = {output.number for output in outputs}
        for traced in reversed(self.order):
            if traced.number in needed:
                needed |= {o.number for o in traced.traced}
        live = [traced for traced in self.order if traced.number in needed or not traced.operands]
        last_read = {o.root.number: traced.number for traced in live for o in traced.traced}
        for kept in (*outputs, *(traced for traced in live if not traced.operands)):
            last_read[kept.root.number] = len(self.order)

        calls: list[Call] = []
        places: dict[int, Array] = {}
        free: dict[Any, list[Array]] = defaultdict(list)
        for traced in live:
            if not traced.operands:
                places[traced.number] = traced.value.copy()
            elif traced.view:
                places[traced.number] = traced.view(places[traced.operands[0].number])
            else:
                dying = {o.root for o in traced.traced if last_read[o.root.number] == traced.number}
                early = {root for root in dying if any(o is root for o in traced.reuses)}
                for root in early:
                    free[root.shape, root.dtype].append(places[root.number])
                heap = free[traced.shape, traced.dtype]
                out = heap.pop() if heap else np.empty(traced.shape, traced.dtype)
                for root in dying - early:
                    free[root.shape, root.dtype].append(places[root.number])
                places[traced.number] = out
                operands = [places[o.number] if isinstance(o, Traced) else o for o in traced.operands]
                calls += traced.emit(out, *operands)
        return calls, places


def _plain(operand: Any) -> Any:
    return operand.value if isinstance(operand, Traced) else operand


def _kind(operand: Any) -> Any:
    """What an operand counts as in type promotion: Python's numbers are weak, as in NumPy."""
    return type(operand) if type(operand) in (int, float) else np.asarray(_plain(operand)).dtype


def _identity(operand: Any) -> Any:
    if isinstance(operand, Traced):
        return operand.number
    return operand.dtype, operand.shape, operand.tobytes()


def _dot(out: Array, a: Array, b: Array) -> list[Call]:
    return [partial(a.dot, b, out)]


def _copy(out: Array, place: Array) -> list[Call]:
    return [partial(operator.setitem, out, ..., place)]
