"""Sums of products: matmul, dot, tensordot, einsum. One node for each entry of the result."""

import operator
import string
from collections.abc import Iterable, Sequence
from types import EllipsisType
from typing import Any, cast

import numpy as np
from flint import arb

from ._number import CONSTANT, ZERO, Number, Scalar, value_of
from ._reductions import Objects, reduce_rows, total
from ._tape import STATE


class _Lines:
    """The rows of a matrix of scalars, their balls, and which of them are Numbers."""

    def __init__(self, matrix: Objects) -> None:
        self.rows: list[list[Scalar]] = matrix.tolist()
        self.balls = [[value_of(x) for x in row] for row in self.rows]
        kinds = [[type(x) is Number for x in row] for row in self.rows]
        self.all = [all(row) for row in kinds]
        self.none = [not any(row) for row in kinds]


def _entry(a: _Lines, i: int, b: _Lines, j: int) -> Scalar:
    """Σ a_k b_k; ∂a_k = b_k, ∂b_k = a_k."""
    left, right = a.balls[i], b.balls[j]
    value = sum(map(operator.mul, left, right), ZERO)
    if a.none[i] and b.none[j]:
        return float(value)
    if not STATE.recording:
        return Number(value, CONSTANT, ())
    parents: tuple[Number, ...] = ()
    partials: tuple[arb, ...] = ()
    for lines, at, slopes in ((a, i, right), (b, j, left)):
        if lines.all[at]:
            parents += cast("tuple[Number, ...]", tuple(lines.rows[at]))
            partials += tuple(slopes)
        elif not lines.none[at]:
            some = [
                (x, d) for x, d in zip(lines.rows[at], slopes, strict=True) if type(x) is Number
            ]
            parents += tuple(x for x, _ in some)
            partials += tuple(d for _, d in some)
    return Number(value, parents, partials)


def _matrix(a: Objects, b: Objects) -> Objects:
    """The product of an (n, k) and a (k, m) object array."""
    left, right = _Lines(a), _Lines(b.T)
    result = np.empty((a.shape[0], b.shape[1]), dtype=object)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            result[i, j] = _entry(left, i, right, j)
    return result


def matmul(a: Objects, b: Objects) -> Objects:
    """`a @ b` for object arrays, with NumPy's rules for vectors and stacks."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: an operand has no dimensions")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(
            "matmul: Input operand 1 has a mismatch in its core dimension 0, with gufunc "
            f"signature (n?,k),(k,m?)->(n?,m?) (size {right.shape[-2]} is different from "
            f"{left.shape[-1]})"
        )
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left = np.broadcast_to(left, stack + left.shape[-2:])
    right = np.broadcast_to(right, stack + right.shape[-2:])
    result = np.empty((*stack, left.shape[-2], right.shape[-1]), dtype=object)
    for at in np.ndindex(*stack):
        result[at] = _matrix(left[at], right[at])
    if a.ndim == 1:
        result = result[..., 0, :]
    return result[..., 0] if b.ndim == 1 else result


def tensordot(a: Objects, b: Objects, axes: int | Sequence[int | Sequence[int]] = 2) -> Objects:
    """Σ over the paired axes, as `np.tensordot`."""
    if isinstance(axes, int):
        of_a, of_b = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        of_a, of_b = ([x] if isinstance(x, int) else list(x) for x in axes)
    of_a = [i % a.ndim for i in of_a]
    of_b = [i % b.ndim for i in of_b]
    if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
        raise ValueError("shape-mismatch for sum")
    rest_a = [i for i in range(a.ndim) if i not in of_a]
    rest_b = [i for i in range(b.ndim) if i not in of_b]
    shape_a, shape_b = [a.shape[i] for i in rest_a], [b.shape[i] for i in rest_b]
    size = int(np.prod([a.shape[i] for i in of_a], dtype=int))
    left = a.transpose(*rest_a, *of_a).reshape(int(np.prod(shape_a, dtype=int)), size)
    right = b.transpose(*of_b, *rest_b).reshape(size, int(np.prod(shape_b, dtype=int)))
    return _matrix(left, right).reshape((*shape_a, *shape_b))


def dot(a: Objects, b: Objects) -> Any:
    """`np.dot`: over the last axis of a and the last but one of b."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return tensordot(a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))


def inner(a: Objects, b: Objects) -> Any:
    """`np.inner`: over the last axis of both."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]))


# ---- einsum ---------------------------------------------------------------------------------


_LETTERS = string.ascii_letters


def _interleaved(arguments: Sequence[Any]) -> tuple[str, list[Objects]]:
    """`einsum(a, [0, 1], b, [1, 2], [0, 2])` as a string of letters and the operands."""
    pairs = len(arguments) // 2
    operands = [arguments[2 * k] for k in range(pairs)]
    lists = [arguments[2 * k + 1] for k in range(pairs)]

    def spelled(indices: Iterable[int | EllipsisType]) -> str:
        return "".join("..." if i is Ellipsis else _LETTERS[i] for i in indices)

    text = ",".join(map(spelled, lists))
    if len(arguments) % 2:
        text += "->" + spelled(arguments[-1])
    return text, operands


def _parse(arguments: Sequence[Any]) -> tuple[list[str], str, list[Objects]]:
    """The indices of each operand and of the result, as letters; no ellipsis is left."""
    if isinstance(arguments[0], str):
        text, given = arguments[0].replace(" ", ""), list(arguments[1:])
    else:
        text, given = _interleaved(arguments)
    operands = [np.asarray(x, dtype=object) for x in given]
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: {len(inputs)} index lists for {len(operands)} operands")
    free = "".join(c for c in _LETTERS if c not in text)
    hidden = [x.ndim - len(i.replace("...", "")) for x, i in zip(operands, inputs, strict=True)]
    longest = free[: max((n for n, i in zip(hidden, inputs, strict=True) if "..." in i), default=0)]
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        output = "..." + "".join(c for c in sorted(set(letters)) if letters.count(c) == 1)
    inputs = [
        i.replace("...", longest[len(longest) - n :] if n else "")
        for i, n in zip(inputs, hidden, strict=True)
    ]
    for indices, operand in zip(inputs, operands, strict=True):
        if len(indices) != operand.ndim:
            raise ValueError(f"einsum: {indices!r} for an operand of {operand.ndim} dimensions")
    return inputs, output.replace("...", longest), operands


def _reduced(array: Objects, indices: str, wanted: str) -> tuple[Objects, str]:
    """A single operand with its repeated indices taken as diagonals and unwanted ones summed."""
    for letter in dict.fromkeys(indices):
        while indices.count(letter) > 1:
            i = indices.index(letter)
            j = indices.index(letter, i + 1)
            array = np.diagonal(array, axis1=i, axis2=j)  # its axis goes to the end
            indices = indices[:i] + indices[i + 1 : j] + indices[j + 1 :] + letter
    gone = tuple(i for i, letter in enumerate(indices) if letter not in wanted)
    if gone:
        array = reduce_rows(array, total, gone)
        indices = "".join(letter for letter in indices if letter in wanted)
    return array, indices


def _contract(a: Objects, of_a: str, b: Objects, of_b: str, wanted: str) -> tuple[Objects, str]:
    """Two operands become one: batch indices kept, shared ones summed if nobody wants them."""
    a, of_a = _reduced(a, of_a, wanted + of_b)
    b, of_b = _reduced(b, of_b, wanted + of_a)
    batch = [c for c in of_a if c in of_b and c in wanted]
    summed = [c for c in of_a if c in of_b and c not in wanted]
    rows = [c for c in of_a if c not in of_b]
    columns = [c for c in of_b if c not in of_a]
    size = {c: n for c, n in (*zip(of_a, a.shape, strict=True), *zip(of_b, b.shape, strict=True))}
    for c, n in zip(of_a, a.shape, strict=True):
        size[c] = max(size[c], n)

    def arranged(array: Objects, indices: str, order: list[str]) -> Objects:
        moved = array.transpose(*(indices.index(c) for c in order))
        return np.broadcast_to(moved, [size[c] for c in order])

    def count(letters: list[str]) -> int:
        return int(np.prod([size[c] for c in letters], dtype=int))

    left = arranged(a, of_a, batch + rows + summed)
    right = arranged(b, of_b, batch + summed + columns)
    product = matmul(
        left.reshape(count(batch), count(rows), count(summed)),
        right.reshape(count(batch), count(summed), count(columns)),
    )
    indices = batch + rows + columns
    return product.reshape([size[c] for c in indices]), "".join(indices)


def einsum(*arguments: object) -> Objects:
    """`np.einsum` of object arrays, operand by operand from the left."""
    inputs, output, operands = _parse(arguments)
    array, indices = operands[0], inputs[0]
    for k in range(1, len(operands)):
        wanted = output + "".join(inputs[k + 1 :])
        array, indices = _contract(array, indices, operands[k], inputs[k], wanted)
    array, indices = _reduced(array, indices, output)
    return array.transpose(*(indices.index(c) for c in output))
