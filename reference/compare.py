"""Distances between two answers, tensor by tensor. The judge decides what is far."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeGuard

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


class Distances(NamedTuple):
    """How far two answers are apart, the loss first, then tensor by tensor as the left has them.

    `difference` is the largest |left − right|, not finite where an entry of either is not and the
    other has not the same; `scale` is the left tensor's largest finite magnitude.
    """

    tensors: list[str]
    difference: list[float]
    scale: list[float]


def distances(lefts: Sequence[Answer], rights: Sequence[Answer]) -> list[Distances]:
    """Compare many pairs of answers at once: every tensor of one dtype in one sweep.

    A tensor that the right answer lacks, or has in another shape or dtype, is infinitely far.
    """
    found: dict[int, Distances] = {}
    sweeps: dict[np.dtype, _Sweep] = {}
    for k, (left, right) in enumerate(zip(lefts, rights, strict=True)):
        mine, other = compared(left), compared(right)
        ours = [np.asarray(left.loss), *mine.values()]
        theirs = [np.asarray(right.loss), *map(other.get, mine)]
        dtype = ours[0].dtype
        if _alike(theirs, ours):
            if dtype not in sweeps:
                sweeps[dtype] = _Sweep([], [], [], [])
            sweeps[dtype].pairs.append(k)
            sweeps[dtype].ours.extend(ours)
            sweeps[dtype].theirs.extend(theirs)
            sweeps[dtype].ends.append(len(sweeps[dtype].ours))
        else:
            each = [
                distance(name, a, np.empty(0) if b is None else b)
                for name, a, b in zip(("loss", *mine), ours, theirs, strict=True)
            ]
            differences = [one.difference for one in each]
            scales = [largest_finite(a) for a in ours]
            found[k] = Distances(["loss", *mine], differences, scales)
    for sweep in sweeps.values():
        differences, scales = sweep.distances()
        for k, (start, end) in zip(sweep.pairs, pairwise([0, *sweep.ends]), strict=True):
            names = ["loss", *compared(lefts[k])]
            found[k] = Distances(names, differences[start:end], scales[start:end])
    return [found[k] for k in range(len(lefts))]


def _alike(theirs: list[FloatArray | None], ours: list[FloatArray]) -> TypeGuard[list[FloatArray]]:
    """Return whether theirs are all there, of the shapes of ours and all of one dtype."""
    there = [b for b in theirs if b is not None]
    return [a.shape for a in ours] == [b.shape for b in there] and (
        len({array.dtype for array in (*ours, *there)}) == 1
    )


def compared(answer: Answer) -> Mapping[str, FloatArray]:
    """Return what distances are taken of: the gradients, at second order how these move."""
    if answer.products:
        return {f"product {name}": value for name, value in answer.products.items()}
    return answer.gradients


class _Sweep(NamedTuple):
    """Tensors of one dtype from many pairs, one after another; a pair's end where its `ends` is."""

    pairs: list[int]
    ours: list[FloatArray]
    theirs: list[FloatArray]
    ends: list[int]

    def distances(self) -> tuple[list[float], list[float]]:
        """Return the largest difference in each tensor, and the tensor's largest magnitude."""
        differences: list[float] = []
        scales: list[float] = []
        start = entries = 0
        for stop, tensor in enumerate(self.ours, 1):
            entries += tensor.size
            if entries >= AT_ONCE or stop == len(self.ours):
                difference, scale = _distances(self.ours[start:stop], self.theirs[start:stop])
                differences += difference
                scales += scale
                start, entries = stop, 0
        return differences, scales


def _distances(ours: list[FloatArray], theirs: list[FloatArray]) -> tuple[list[float], list[float]]:
    base, other = (np.concatenate(tensors, axis=None) for tensors in (ours, theirs))
    starts = np.cumsum([0, *(a.size for a in ours[:-1])])
    with np.errstate(all="ignore"):
        magnitudes = np.abs(base)
        scale = np.maximum.reduceat(magnitudes, starts)
        if not np.isfinite(scale).all():  # an infinite scale would let anything pass
            scale = np.maximum.reduceat(np.where(np.isfinite(magnitudes), magnitudes, 0), starts)
        differences = np.subtract(base, other, out=magnitudes)
        difference = np.maximum.reduceat(np.abs(differences, out=differences), starts)
        if not np.isfinite(difference).all():
            differences[(base == other) | (np.isnan(base) & np.isnan(other))] = 0
            difference = np.maximum.reduceat(differences, starts)
    return difference.tolist(), scale.tolist()


class Farthest(NamedTuple):
    """The largest distance between two answers, on its tensor's scale: where, and between whom."""

    scaled: float
    tensor: str
    between: str


def farthest(answers: Mapping[str, Sequence[Answer]]) -> list[Farthest]:
    """Return, for each problem, how far any answer is from the first; nothing is judged by it."""
    pairs: list[tuple[int, Answer, Answer]] = []
    found = [Farthest(0.0, "", "")] * len(next(iter(answers.values())))
    for k in range(len(found)):
        ok = [of_all[k] for of_all in answers.values() if of_all[k].status == "ok"]
        pairs += [(k, ok[0], other) for other in ok[1:]]
    far = distances([left for _, left, _ in pairs], [right for _, _, right in pairs])
    for (k, left, right), those in zip(pairs, far, strict=True):
        for name, difference, scale in zip(*those, strict=True):
            if not difference:
                scaled = 0.0
            else:
                scaled = difference / scale if scale and difference == difference else math.inf
            if scaled > found[k].scaled or not found[k].between:
                found[k] = Farthest(scaled, name, f"{left.oracle}, {right.oracle}")
    return found


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
