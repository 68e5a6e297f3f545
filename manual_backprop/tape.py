"""A tape of NumPy calls: traced arrays record it, and it can be replayed without allocating.

A `Traced` array computes as usual and records every call. The record is then optimised, without
changing a digit:

    a repeated call              is made once       (the softmax, in the loss and its gradient)
    an unused result             is left out        (the cotangent of x, if it is not wanted)
    xᵀ, x[:, None]               become views
    a @ b                        becomes a.dot(b, out), a third of its overhead when small
    z + b                        becomes a copy of b to every row and a sum: broadcasting buffers
    where(c, a, b) on large ones becomes operations on bits: no branch for each entry
    the maximum of small rows    becomes the last of its running maxima, a third faster
    a result not read again      gives its buffer to a later one

The maximum of a row with 0 and -0 may have either sign: in NumPy it depends on the order.
"""

import operator
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from manual_backprop.operation import ByName, InvalidInput

Array = np.ndarray
Operand: TypeAlias = "Traced | Array | float"
Call = tuple[object, ...]
"""A function and its arguments."""
Emit = Callable[..., list[Call]]
"""emit(buffer of the result, *buffers of the operands) returns the calls that compute it."""

SMALL, TINY = 2048, 256
"""Up to SMALL entries a choice by copies is faster than one by bits; up to TINY entries running
maxima are faster than a maximum."""
# NumPy's maximum is not vectorised against a single number.
_FILLED = {np.maximum, np.minimum, np.fmax, np.fmin}
# NumPy wants `out` by name here.
_NAMED = {np.maximum, np.minimum}
_REDUCTIONS = {np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.min: np.minimum}
_REDUCTIONS |= {np.any: np.logical_or, np.all: np.logical_and}
_OF_SHAPE = {np.shape, np.ndim, np.size, np.iscomplexobj, np.result_type}
_OF_SHAPE |= {np.zeros_like, np.ones_like, np.full_like, np.empty_like}


@dataclass(eq=False, repr=False)  # its repr would have all that came before it
class Traced(NDArrayOperatorsMixin):
    """An array that records on a tape how it was computed.

    `value` is its value in the traced run. `emit` returns the calls that compute it from its
    operands. A view has one operand and `shown` instead, and an input has neither. The result may
    overwrite the operands in `reuses`. `root` is the number of the array that owns its memory:
    itself, unless it is a view.
    """

    tape: "CallTape"
    value: Array
    operands: "tuple[Traced | Array, ...]" = ()
    emit: Emit | None = None
    shown: Callable[[Array], Array] | None = None
    reuses: "tuple[Traced | Array, ...]" = ()

    def __post_init__(self) -> None:
        # A result is contiguous, as its buffer will be, so that both have the same views.
        self.value = np.asarray(self.value, order=None if self.shown else "C")
        self.shape, self.dtype = self.value.shape, self.value.dtype
        self.ndim, self.size = self.value.ndim, self.value.size
        self.number = len(self.tape.order)
        self.sources = [o for o in self.operands if isinstance(o, Traced)]
        self.root: int = self.sources[0].root if self.shown else self.number
        self.real = self  # complex numbers are not traced

    @property
    def T(self) -> "Traced":
        """The transposed array, a view."""
        return self.tape.view(np.transpose, (self,), {})

    def astype(self, dtype: npt.DTypeLike) -> "Traced | Array":
        """Return the array in another dtype."""
        return self.tape.cast(self, np.dtype(dtype))

    def view(self, dtype: npt.DTypeLike) -> "Traced":
        """Return the same memory read as another dtype."""
        return self.tape.view(np.ndarray.view, (self, np.dtype(dtype)), {})

    def __getattr__(self, name: str) -> "Callable[..., Traced]":
        # x.sum(axis=-1) is np.sum(x, axis=-1), and so for every method that is also a function.
        if name.startswith("_") or not hasattr(np.ndarray, name) or not hasattr(np, name):
            raise AttributeError(name)
        return partial(getattr(np, name), self)

    def __getitem__(self, key: object) -> "Traced":
        # With "..." NumPy returns a view also for a single number.
        keys = key if isinstance(key, tuple) else (key,)
        dots = () if any(k is ... for k in keys) else (...,)
        return self.tape.view(operator.getitem, (self, (*keys, *dots)), {})

    def __len__(self) -> int:
        return len(self.value)

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise InvalidInput(
            "the fast step is traced once for all data, so a formula cannot turn an array into "
            "a Python number or branch on one: use np.where"
        )

    __hash__ = object.__hash__
    __array__ = __bool__ = __float__ = __int__ = __index__ = __iter__ = _refuse

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *given: Any, **keywords: Any
    ) -> "Traced":
        if method == "__call__" and not keywords and ufunc.nout == 1:
            return self.tape.ufunc(ufunc, given)
        if method == "reduce":
            return self.tape.reduce(ufunc, *given, **keywords)
        call = f"{ufunc.__name__}.{method}({', '.join(keywords)})"
        raise InvalidInput(f"the fast step does not know {call}")

    def __array_function__(
        self, function: Callable[..., Array], _: object, given: tuple[Any, ...], keywords: ByName
    ) -> "Traced | Array":
        if function in _OF_SHAPE:
            return function(*map(_plain, given), **keywords)
        if function is np.where:
            return self.tape.where(*given)
        if function in _REDUCTIONS:
            return self.tape.reduce(_REDUCTIONS[function], *given, **keywords)
        return self.tape.view(function, given, keywords)


class CallTape:
    """The recorded calls, in order, each once."""

    def __init__(self) -> None:
        self.order: list[Traced] = []
        self._known: dict[object, Traced] = {}

    def record(
        self,
        name: object,
        plain: Array,
        operands: "tuple[Traced | Array, ...]" = (),
        emit: Emit | None = None,
        shown: Callable[[Array], Array] | None = None,
        reuses: "tuple[Traced | Array, ...]" = (),
    ) -> Traced:
        """Return the recorded result of the same call, or record the call."""
        new = Traced(self, plain, operands, emit, shown, reuses)
        call = (name, new.dtype, new.shape, *map(_identity, new.operands))
        traced = self._known.setdefault(call, new)
        if traced is new:
            self.order.append(new)
        return traced

    def ufunc(self, ufunc: np.ufunc, given: tuple[Any, ...]) -> Traced:
        """Record a call of a ufunc, each operand in the dtype that it computes in."""
        plain = ufunc(*map(_plain, given))
        if ufunc is np.matmul:
            return self.record("matmul", plain, tuple(self.fill(o, o.shape) for o in given), _dot)
        dtypes = ufunc.resolve_dtypes((*map(_kind, given), None))
        operands = []
        for operand, dtype in zip(map(_number_again, given), dtypes, strict=False):
            one = self.cast(operand, dtype)
            operands.append(self.fill(one, plain.shape) if one.ndim or ufunc in _FILLED else one)

        def emit(out: Array, *read: Array) -> list[Call]:
            return [(partial(ufunc, out=out), *read) if ufunc in _NAMED else (ufunc, *read, out)]

        return self.record(ufunc, plain, tuple(operands), emit, reuses=tuple(operands))

    def reduce(
        self,
        ufunc: np.ufunc,
        x: Traced,
        axis: int | tuple[int, ...] | None = None,
        dtype: npt.DTypeLike | None = None,
        keepdims: bool = False,
    ) -> Traced:
        """Record a reduction along axes: a sum, a maximum."""
        plain = ufunc.reduce(x.value, axis, dtype, keepdims=keepdims)
        if ufunc is np.maximum and axis == -1 and x.size <= TINY:
            running = self.record("running", ufunc.accumulate(x.value, -1), (x,), _running)
            return running[..., -1:] if keepdims else running[..., -1]

        def emit(out: Array, buffer: Array) -> list[Call]:
            return [(ufunc.reduce, buffer, axis, None, out, keepdims)]

        return self.record((ufunc, axis, keepdims), plain, (self.cast(x, plain.dtype),), emit)

    def where(self, condition: Operand, yes: Operand, no: Operand) -> "Traced | Array":
        """Record a choice entry by entry (np.where)."""
        plain = np.where(*map(_plain, (condition, yes, no)))
        condition = self.cast(condition, np.dtype(bool))
        yes, no = self.cast(yes, plain.dtype), self.cast(no, plain.dtype)
        if plain.size > SMALL:
            integer = np.dtype(f"i{plain.itemsize}")
            mask = self.cast(-condition.view("i1"), integer)  # all ones or none
            yes, no = yes.view(integer), no.view(integer)
            return (no ^ ((yes ^ no) & mask)).view(plain.dtype)

        def emit(out: Array, condition: Array, yes: Array, no: Array) -> list[Call]:
            return [*_copy(out, no), (np.copyto, out, yes, "no", condition)]

        return self.record("where", plain, (condition, yes, no), emit, reuses=(no,))

    def cast(self, operand: Operand, dtype: np.dtype) -> "Traced | Array":
        """Return the operand in the dtype; a number becomes an array."""
        if not isinstance(operand, Traced):
            return np.asarray(operand, dtype)
        if operand.dtype == dtype:
            return operand
        return self.record("cast", operand.value.astype(dtype), (operand,), _copy)

    def fill(self, operand: "Traced | Array", shape: tuple[int, ...]) -> "Traced | Array":
        """Return the operand broadcast to the shape, as a contiguous array."""
        plain = operand.value if isinstance(operand, Traced) else operand
        if plain.shape == shape and plain.flags.forc:
            return operand
        plain, name = np.broadcast_to(plain, shape).copy(), ("fill", shape)
        return self.record(name, plain, (operand,), _copy) if isinstance(operand, Traced) else plain

    def view(
        self, function: Callable[..., Array], given: tuple[Any, ...], keywords: ByName
    ) -> Traced:
        """Record a function of NumPy that returns a view."""
        plain = function(*map(_plain, given), **keywords)
        x, *rest = given
        if not isinstance(x, Traced) or not np.may_share_memory(plain, x.value):
            raise InvalidInput(f"the fast step does not know np.{function.__name__}")

        # Two views are equal if they have the same memory, shape and strides.
        name = (plain.ctypes.data, plain.shape, plain.strides)
        return self.record(
            name, plain, (x,), shown=lambda buffer: function(buffer, *rest, **keywords)
        )

    def assemble(self, outputs: Sequence[Traced]) -> tuple[list[Call], dict[int, Array]]:
        """Give every result a buffer; return the calls, and the buffers by the results' numbers."""
        needed = {output.number for output in outputs}
        for traced in reversed(self.order):
            if traced.number in needed:
                needed |= {source.number for source in traced.sources}
        live = [t for t in self.order if t.number in needed or not t.operands]
        last_read = {source.root: t.number for t in live for source in t.sources}
        kept = {output.root for output in outputs} | {t.number for t in live if not t.operands}

        calls: list[Call] = []
        buffers: dict[int, Array] = {}
        free: dict[tuple[np.dtype, tuple[int, ...]], list[Array]] = defaultdict(list)

        def release(numbers: set[int]) -> None:
            for buffer in (buffers[number] for number in sorted(numbers)):
                free[buffer.dtype, buffer.shape].append(buffer)

        for t in live:
            operands = [buffers[o.number] if isinstance(o, Traced) else o for o in t.operands]
            if t.shown:
                buffers[t.number] = t.shown(buffers[t.sources[0].number])
                continue
            read = [root for _, root in {(s.number, s.root) for s in t.sources}]
            dying = {root for root in read if last_read[root] == t.number} - kept
            # NumPy is faster if the result overwrites an operand, but only if it is the same array
            # object, with more than one entry.
            reuses = {o.number for o in t.reuses if isinstance(o, Traced) and t.size > 1}
            over = {number for number in dying & reuses if read.count(number) == 1}
            release(over)
            stock = free[t.dtype, t.shape] if t.emit else []  # a constant is written once, here
            buffer = buffers[t.number] = stock.pop() if stock else np.empty(t.shape, t.dtype)
            release(dying - over)
            if t.emit:
                calls += t.emit(buffer, *operands)
            else:
                buffer[...] = t.value
        return calls, buffers


def replay(calls: Iterable[Call]) -> None:
    """Make the calls in order and drop their results, in a loop that runs in C.

    An exception ends it; only StopIteration would be lost, which NumPy does not raise.
    """
    deque(starmap(operator.call, calls), maxlen=0)


def _plain(operand: Operand) -> Array | float:
    return operand.value if isinstance(operand, Traced) else operand


def _number_again(operand: Operand) -> Operand:
    """Return an operand that was broadcast from one number as that number, which is faster."""
    plain = np.asarray(_plain(operand))
    if isinstance(operand, int | float) or not plain.ndim or any(plain.strides):
        return operand
    return operand[(0,) * plain.ndim]


def _kind(operand: Operand) -> type | np.dtype:
    """Return the type that counts in type promotion: Python's numbers are weak, as in NumPy."""
    return type(operand) if type(operand) in (int, float) else np.asarray(_plain(operand)).dtype


def _identity(operand: Traced | Array) -> object:
    if isinstance(operand, Traced):
        return operand.number
    return operand.dtype, operand.shape, operand.tobytes()


def _dot(out: Array, a: Array, b: Array) -> list[Call]:
    return [(a.dot, b, out) if max(a.ndim, b.ndim) < 3 else (np.matmul, a, b, out)]


def _running(out: Array, buffer: Array) -> list[Call]:
    return [(np.maximum.accumulate, buffer, -1, None, out)]


def _copy(out: Array, buffer: Array) -> list[Call]:
    return [] if out is buffer else [(operator.setitem, out, ..., buffer)]
