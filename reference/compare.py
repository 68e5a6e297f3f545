"""Distances between two answers, tensor by tensor. The judge decides what is far."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.operation import FloatArray
from reference.oracles import Answer

AT_ONCE = 8192
"""About so many entries are compared in one go: they stay in the cache, and the system is not
asked for memory each time. A block of 512 networks has some 300,000."""


@dataclass(frozen=True)
class Distance:
    """How far two answers are apart on one tensor, and where.

    `difference` is the largest |a − b|; `scaled` is that over the largest finite magnitude of both;
    `ulp` counts the floats between the two values at `index`, where they differ most. Where one
    side is not finite and the other not the same, all three are infinite.
    """

    tensor: str
    difference: float
    scaled: float
    ulp: float
    index: tuple[int, ...]


class Farthest(NamedTuple):
    """The largest distance between two answers, on its tensor's scale: where, and between whom."""

    scaled: float
    tensor: str
    between: str


def farthest(answers: Mapping[str, Sequence[Answer]]) -> list[Farthest]:
    """Return, for each problem, how far any answer is from the first; nothing is judged by it.

    The scale of a tensor is its largest finite magnitude in the first answer. A tensor is
    infinitely far if the other answer lacks it, or has it in another shape or dtype.
    """
    found = [Farthest(0.0, "", "")] * len(next(iter(answers.values())))
    alike: defaultdict[object, list[_Sides]] = defaultdict(list)
    for k, given in enumerate(zip(*answers.values(), strict=True)):
        ok = [answer for answer in given if answer.status == "ok"]
        if len(ok) < 2:
            continue
        sides = _Sides.of(k, ok)
        unlike = sides.first_unlike()
        if unlike is None:
            alike[len(ok), sides.tensors[0][0].dtype].append(sides)
        else:
            found[k] = sides.farthest(math.inf, *unlike)
    for problems in alike.values():
        for some in _at_once(problems):
            scaled, start = _scaled_distances(some), 0
            for one in some:
                stop = start + len(one.names)
                flat = [far for row in scaled for far in row[start:stop]]
                most = max(flat)
                side, tensor = divmod(flat.index(most), len(one.names))
                found[one.number] = one.farthest(most, side + 1, tensor)
                start = stop
    return found


_MISSING = np.empty((0,) * 9)
_shape_and_dtype, _size = attrgetter("shape", "dtype"), attrgetter("size")


class _Sides(NamedTuple):
    """The tensors of all answers to problem `number`, in the order of the first answer's names."""

    number: int
    oracles: list[str]
    names: list[str]
    tensors: list[list[FloatArray]]

    @staticmethod
    def of(number: int, answers: Sequence[Answer]) -> "_Sides":
        """Collect the tensors of some answers; a missing one becomes `_MISSING`."""
        given = [compared(answer) for answer in answers]
        names = list(given[0])
        tensors = [
            [np.asarray(answer.loss), *[arrays.get(name, _MISSING) for name in names]]
            for answer, arrays in zip(answers, given, strict=True)
        ]
        return _Sides(number, [answer.oracle for answer in answers], ["loss", *names], tensors)

    def first_unlike(self) -> tuple[int, int] | None:
        """Return the side and the place of the first tensor that is unlike the first side's."""
        first, *others = (list(map(_shape_and_dtype, tensors)) for tensors in self.tensors)
        for side, other in enumerate(others, 1):
            if other != first:
                pairs = enumerate(zip(first, other, strict=True))
                return side, next(k for k, (a, b) in pairs if a != b)
        return None

    def farthest(self, scaled: float, side: int, tensor: int) -> Farthest:
        """Return a distance of one tensor between the first side and another."""
        return Farthest(scaled, self.names[tensor], f"{self.oracles[0]}, {self.oracles[side]}")


def _at_once(problems: list[_Sides]) -> Iterator[list[_Sides]]:
    """Yield the problems in groups of about `AT_ONCE` entries."""
    some: list[_Sides] = []
    entries = 0
    for one in problems:
        some.append(one)
        entries += sum(map(_size, one.tensors[0]))
        if entries >= AT_ONCE:
            yield some
            some, entries = [], 0
    if some:
        yield some


def _scaled_distances(some: list[_Sides]) -> list[list[float]]:
    """Return for each side but the first how far each tensor is, one problem after another."""
    sides = [
        list(chain.from_iterable(of)) for of in zip(*(one.tensors for one in some), strict=True)
    ]
    starts = np.cumsum([0, *map(_size, sides[0][:-1])])
    first, *others = (np.concatenate(tensors, axis=None) for tensors in sides)
    found = []
    with np.errstate(all="ignore"):
        magnitudes = np.abs(first)
        scale = np.maximum.reduceat(magnitudes, starts)
        if not np.isfinite(scale).all():  # an infinite scale would let anything pass
            scale = np.maximum.reduceat(np.where(np.isfinite(magnitudes), magnitudes, 0), starts)
        for other in others:
            difference = np.abs(first - other)
            far = np.maximum.reduceat(difference, starts)
            if not np.isfinite(far).all():
                difference[(first == other) | (np.isnan(first) & np.isnan(other))] = 0
                far = np.maximum.reduceat(difference, starts)
            scaled = np.where(far == 0, 0.0, far.astype(np.float64) / scale)
            found.append(np.where(np.isnan(scaled), np.inf, scaled).tolist())
    return found


def compared(answer: Answer) -> Mapping[str, FloatArray]:
    """Return what distances are taken of: the gradients, at second order how these move."""
    if answer.products:
        return {f"product {name}": value for name, value in answer.products.items()}
    return answer.gradients


def compare(left: Answer, right: Answer) -> list[Distance]:
    """Compare the loss first, then every tensor that both give, in the left answer's order."""
    if left.status != "ok" or right.status != "ok":
        return []
    tensors: list[tuple[str, FloatArray, FloatArray]] = []
    if left.loss is not None and right.loss is not None:
        tensors.append(("loss", left.loss, right.loss))
    tensors += [
        (name, value, compared(right)[name])
        for name, value in compared(left).items()
        if name in compared(right)
    ]
    return [distance(name, a, b) for name, a, b in tensors]


def distance(tensor: str, a: npt.ArrayLike, b: npt.ArrayLike) -> Distance:
    """Measure one tensor. A shape or dtype that does not match is a distance of infinity."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return Distance(tensor, math.inf, math.inf, math.inf, ())
    if not a.size:
        return Distance(tensor, 0.0, 0.0, 0.0, ())
    differences = absolute_difference(a, b)
    # A flat array and one maximum serve scalars and tensors alike.
    worst = int(np.argmax(differences))
    index = tuple(int(i) for i in np.unravel_index(worst, a.shape))
    scale = max(largest_finite(a), largest_finite(b))
    largest = float(differences.flat[worst])
    scaled = 0.0 if largest == 0 else largest / scale if scale else math.inf
    return Distance(tensor, largest, scaled, float(ulps_between(a[index], b[index])), index)


def absolute_difference(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float64]:
    """Return |a − b| in float64; 0 where both are the same infinity or both NaN, else inf there."""
    with np.errstate(invalid="ignore", over="ignore"):
        differences = np.abs(np.subtract(a, b, dtype=np.float64))
    if np.isfinite(differences).all():
        return differences
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(differences), np.inf, differences))


def largest_finite(a: FloatArray) -> float:
    """Return the largest finite magnitude, 0 where there is none."""
    magnitudes = np.abs(a)
    largest = float(magnitudes.max(initial=0.0))
    if not np.isfinite(largest):
        largest = float(np.where(np.isfinite(magnitudes), magnitudes, 0).max())
    return largest


def ulps_between(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the number of floats from a to b, counted on the line of floats (−0 and 0 are one).

    The bits of a positive float, read as an integer, grow by one from float to float; a negative
    float is its magnitude's integer, negated. So the distance is a difference of integers.
    NaN is infinitely far from everything but NaN.
    """
    a, b = np.asarray(a), np.asarray(b)
    # float64 keeps a difference of 64-bit integers to 53 bits: enough to count, never to overflow.
    apart = np.abs(_on_the_line(a).astype(np.float64) - _on_the_line(b).astype(np.float64))
    exact = _on_the_line(a) - _on_the_line(b)
    apart = np.where(apart < 2**52, np.abs(exact).astype(np.float64), apart)
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    return np.where(nan_a & nan_b, 0.0, np.where(nan_a | nan_b, np.inf, apart))


def _on_the_line(a: FloatArray) -> npt.NDArray[np.int64]:
    bits = np.abs(a).view(f"int{8 * a.itemsize}").astype(np.int64)
    return np.where(np.signbit(a), -bits, bits)
