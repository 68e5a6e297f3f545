"""A tape of NumPy calls: traced arrays write it, and it can be replayed without allocating.

A `Traced` array computes as usual and records every call. The record is then optimised, without
changing a digit:

    a repeated call              is made once       (the softmax, in the loss and its gradient)
    what no output depends on    is left out        (the cotangent of x, if it is not wanted)
    xᵀ, x[:, None]               become views
    a @ b                        becomes a.dot(b, out), a third of its overhead when small
    z + b                        becomes a copy of b to every row and a sum: broadcasting buffers
    where(c, a, b) on large ones becomes operations on bits: no branch for each entry
    the maximum of small rows    is the last of its running maxima, at two thirds of the cost
    a result nobody reads again  gives its array to the next one

Of the maximum of 0 and -0, in one row, the sign may be either: in NumPy it depends on the order.
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
"""Given the place of the result and those of the operands: the calls that compute it."""

SMALL, TINY = 2048, 256
"""Entries up to which choosing by copies beats choosing by bits, and running maxima a maximum."""
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
    """An array that notes on a tape how it was computed.

    `value` is what a plain computation gives. `emit` makes the calls that compute it from its
    operands; a view of its one operand has `shown` instead, and an input has neither. The result
    may overwrite the operands named in `reuses`. `root` is the number of the array whose memory
    it shows: its own, unless it is a view.
    """

    tape: "CallTape"
    value: Array
    operands: "tuple[Traced | Array, ...]" = ()
    emit: Emit | None = None
    shown: Callable[[Array], Array] | None = None
    reuses: "tuple[Traced | Array, ...]" = ()

    def __post_init__(self) -> None:
        # A result lies in memory as its place will, row by row, so that views of both agree.
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
        # With the dots one number, too, is a view and not a copy.
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
    """The calls that were noted, in order, each once."""

    def __init__(self) -> None:
        self.order: list[Traced] = []
        self._known: dict[object, Traced] = {}

    def note(
        self,
        name: object,
        plain: Array,
        operands: "tuple[Traced | Array, ...]" = (),
        emit: Emit | None = None,
        shown: Callable[[Array], Array] | None = None,
        reuses: "tuple[Traced | Array, ...]" = (),
    ) -> Traced:
        """Return what was noted for the same call before, or else note it."""
        new = Traced(self, plain, operands, emit, shown, reuses)
        call = (name, new.dtype, new.shape, *map(_identity, new.operands))
        traced = self._known.setdefault(call, new)
        if traced is new:
            self.order.append(new)
        return traced

    def ufunc(self, ufunc: np.ufunc, given: tuple[Any, ...]) -> Traced:
        """Note a call of a ufunc, each operand in the dtype that it computes in."""
        plain = ufunc(*map(_plain, given))
        if ufunc is np.matmul:
            return self.note("matmul", plain, tuple(self.fill(o, o.shape) for o in given), _dot)
        dtypes = ufunc.resolve_dtypes((*map(_kind, given), None))
        operands = []
        for operand, dtype in zip(map(_number_again, given), dtypes, strict=False):
            one = self.cast(operand, dtype)
            operands.append(self.fill(one, plain.shape) if one.ndim or ufunc in _FILLED else one)

        def emit(out: Array, *read: Array) -> list[Call]:
            return [(partial(ufunc, out=out), *read) if ufunc in _NAMED else (ufunc, *read, out)]

        return self.note(ufunc, plain, tuple(operands), emit, reuses=tuple(operands))

    def reduce(
        self,
        ufunc: np.ufunc,
        x: Traced,
        axis: int | tuple[int, ...] | None = None,
        dtype: npt.DTypeLike | None = None,
        keepdims: bool = False,
    ) -> Traced:
        """Note a sum, a maximum and the like along axes."""
        plain = ufunc.reduce(x.value, axis, dtype, keepdims=keepdims)
        if ufunc is np.maximum and axis == -1 and x.size <= TINY:
            running = self.note("running", ufunc.accumulate(x.value, -1), (x,), _running)
            return running[..., -1:] if keepdims else running[..., -1]

        def emit(out: Array, place: Array) -> list[Call]:
            return [(ufunc.reduce, place, axis, None, out, keepdims)]

        return self.note((ufunc, axis, keepdims), plain, (self.cast(x, plain.dtype),), emit)

    def where(self, condition: Operand, yes: Operand, no: Operand) -> "Traced | Array":
        """Note a choice entry by entry."""
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

        return self.note("where", plain, (condition, yes, no), emit, reuses=(no,))

    def cast(self, operand: Operand, dtype: np.dtype) -> "Traced | Array":
        """Return the operand in the dtype; a number becomes an array."""
        if not isinstance(operand, Traced):
            return np.asarray(operand, dtype)
        if operand.dtype == dtype:
            return operand
        return self.note("cast", operand.value.astype(dtype), (operand,), _copy)

    def fill(self, operand: "Traced | Array", shape: tuple[int, ...]) -> "Traced | Array":
        """Return the operand repeated to the shape, entry after entry in memory."""
        plain = operand.value if isinstance(operand, Traced) else operand
        if plain.shape == shape and plain.flags.forc:
            return operand
        plain, name = np.broadcast_to(plain, shape).copy(), ("fill", shape)
        return self.note(name, plain, (operand,), _copy) if isinstance(operand, Traced) else plain

    def view(
        self, function: Callable[..., Array], given: tuple[Any, ...], keywords: ByName
    ) -> Traced:
        """Note a function of NumPy that returns a view."""
        plain = function(*map(_plain, given), **keywords)
        x, *rest = given
        if not isinstance(x, Traced) or not np.may_share_memory(plain, x.value):
            raise InvalidInput(f"the fast step does not know np.{function.__name__}")

        # Two views of an array are one when they show the same memory in the same order.
        name = (plain.ctypes.data, plain.shape, plain.strides)
        return self.note(name, plain, (x,), shown=lambda place: function(place, *rest, **keywords))

    def assemble(self, outputs: Sequence[Traced]) -> tuple[list[Call], dict[int, Array]]:
        """Give every result its place; return the calls, and the places by number."""
        needed = {output.number for output in outputs}
        for traced in reversed(self.order):
            if traced.number in needed:
                needed |= {source.number for source in traced.sources}
        live = [t for t in self.order if t.number in needed or not t.operands]
        last_read = {source.root: t.number for t in live for source in t.sources}
        kept = {output.root for output in outputs} | {t.number for t in live if not t.operands}

        calls: list[Call] = []
        places: dict[int, Array] = {}
        free: dict[tuple[np.dtype, tuple[int, ...]], list[Array]] = defaultdict(list)

        def release(numbers: set[int]) -> None:
            for place in (places[number] for number in sorted(numbers)):
                free[place.dtype, place.shape].append(place)

        for t in live:
            operands = [places[o.number] if isinstance(o, Traced) else o for o in t.operands]
            if t.shown:
                places[t.number] = t.shown(places[t.sources[0].number])
                continue
            read = [root for _, root in {(s.number, s.root) for s in t.sources}]
            dying = {root for root in read if last_read[root] == t.number} - kept
            # NumPy's short way is for a result that is the very array of an operand; it is not
            # for another array on the same memory, nor for a single entry.
            reuses = {o.number for o in t.reuses if isinstance(o, Traced) and t.size > 1}
            over = {number for number in dying & reuses if read.count(number) == 1}
            release(over)
            stock = free[t.dtype, t.shape] if t.emit else []  # a constant is written once, here
            place = places[t.number] = stock.pop() if stock else np.empty(t.shape, t.dtype)
            release(dying - over)
            if t.emit:
                calls += t.emit(place, *operands)
            else:
                place[...] = t.value
        return calls, places


def replay(calls: Iterable[Call]) -> None:
    """Make the calls, in order, and forget what they return: a loop without Python's own steps.

    What a call raises ends it, but for StopIteration, which NumPy does not raise.
    """
    deque(starmap(operator.call, calls), maxlen=0)


def _plain(operand: Operand) -> Array | float:
    return operand.value if isinstance(operand, Traced) else operand


def _number_again(operand: Operand) -> Operand:
    """Return a number that was repeated by broadcasting as a number: NumPy's loops prefer that."""
    plain = np.asarray(_plain(operand))
    if isinstance(operand, int | float) or not plain.ndim or any(plain.strides):
        return operand
    return operand[(0,) * plain.ndim]


def _kind(operand: Operand) -> type | np.dtype:
    """What an operand counts as in type promotion: Python's numbers are weak, as in NumPy."""
    return type(operand) if type(operand) in (int, float) else np.asarray(_plain(operand)).dtype


def _identity(operand: Traced | Array) -> object:
    if isinstance(operand, Traced):
        return operand.number
    return operand.dtype, operand.shape, operand.tobytes()


def _dot(out: Array, a: Array, b: Array) -> list[Call]:
    return [(a.dot, b, out) if max(a.ndim, b.ndim) < 3 else (np.matmul, a, b, out)]


def _running(out: Array, place: Array) -> list[Call]:
    return [(np.maximum.accumulate, place, -1, None, out)]


def _copy(out: Array, place: Array) -> list[Call]:
    return [] if out is place else [(operator.setitem, out, ..., place)]
