"""Small linear algebra by elimination on object arrays: solve, inverse, determinant, Cholesky."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._number import size_of, value_of
from ._products import matmul
from ._reductions import Axis, Objects, largest, length, reduce_rows, smallest, total


def _each(function: Callable[..., Objects], a: Objects, *others: Objects) -> Objects:
    """The function of each matrix of a stack."""
    if a.ndim == 2:
        return function(a, *others)
    results = [_each(function, x, *(y[i] for y in others)) for i, x in enumerate(a)]
    out = np.empty((len(results), *np.shape(results[0])), dtype=object)
    for i, result in enumerate(results):
        out[i] = result
    return out


def _eliminate(matrix: Objects, right: Objects) -> tuple[Objects, Objects, int]:
    """Gauss: (upper triangle, the right-hand side, sign). Rows are swapped by their midpoints.

    Which row is taken does not change the function, so no tie is noted.
    """
    upper, right, sign = matrix.copy(), right.copy(), 1
    n = len(upper)
    for k in range(n):
        sizes = [abs(float(value_of(upper[i, k]))) for i in range(k, n)]
        pivot = k + int(np.argmax(sizes))
        if sizes[pivot - k] == 0 and value_of(upper[pivot, k]) == 0:
            if right.shape[1]:
                raise np.linalg.LinAlgError("Singular matrix")
            continue
        if pivot != k:
            upper[[k, pivot]] = upper[[pivot, k]]
            right[[k, pivot]] = right[[pivot, k]]
            sign = -sign
        for i in range(k + 1, n):
            factor = upper[i, k] / upper[k, k]
            upper[i, k:] = upper[i, k:] - factor * upper[k, k:]
            right[i] = right[i] - factor * right[k]
    return upper, right, sign


def _solve(matrix: Objects, right: Objects) -> Objects:
    upper, right, _ = _eliminate(matrix, right)
    n = len(upper)
    result = np.empty_like(right)
    for i in range(n - 1, -1, -1):
        rest = right[i]
        for j in range(i + 1, n):
            rest = rest - upper[i, j] * result[j]
        result[i] = rest / upper[i, i]
    return result


def solve(a: Objects, b: Objects) -> Objects:
    """X with a x = b."""
    if b.ndim == 1:
        return _each(lambda m: _solve(m, b[:, None])[:, 0], a)
    return _each(_solve, a, np.broadcast_to(b, a.shape[:-2] + b.shape[-2:]))


def inverse(a: Objects) -> Objects:
    """a⁻¹."""
    unit = np.eye(a.shape[-1]).astype(object)
    return _each(lambda matrix: _solve(matrix, unit), a)


def determinant(a: Objects) -> Objects:
    """The determinant: the product of the pivots."""

    def of_one(matrix: Objects) -> Any:
        upper, _, sign = _eliminate(matrix, np.empty((len(matrix), 0), dtype=object))
        result: Any = float(sign)
        for k in range(len(upper)):
            result = result * upper[k, k]
        return result

    return _each(of_one, a)


def cholesky(a: Objects) -> Objects:
    """Lower triangular L with L Lᵀ = a."""

    def of_one(matrix: Objects) -> Objects:
        n = len(matrix)
        lower = np.zeros((n, n)).astype(object)
        for j in range(n):
            below = matrix[j, j] - sum(lower[j, k] * lower[j, k] for k in range(j))
            lower[j, j] = below**0.5
            for i in range(j + 1, n):
                rest = matrix[i, j] - sum(lower[i, k] * lower[j, k] for k in range(j))
                lower[i, j] = rest / lower[j, j]
        return lower

    return _each(of_one, a)


def matrix_power(a: Objects, n: int) -> Objects:
    """Aⁿ by repeated products."""
    if n < 0:
        a, n = inverse(a), -n
    result = np.broadcast_to(np.eye(a.shape[-1]).astype(object), a.shape)
    for _ in range(n):
        result = matmul(result, a)
    return result


def norm(x: Objects, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Objects:
    """‖x‖ of vectors (any order) or matrices (Frobenius, 1, inf)."""
    if axis is None and (ord is None or (x.ndim == 2 and ord == "fro")):
        return reduce_rows(x, length, None, keepdims)
    if axis is None:
        axis = tuple(range(x.ndim))
    if isinstance(axis, tuple) and len(axis) == 2:
        return _matrix_norm(x, ord, axis, keepdims)
    if ord is None or ord == 2:
        return reduce_rows(x, length, axis, keepdims)
    if ord == np.inf:
        return reduce_rows(x, lambda row: largest([*map(size_of, row)]), axis, keepdims)
    if ord == -np.inf:
        return reduce_rows(x, lambda row: smallest([*map(size_of, row)]), axis, keepdims)
    if ord == 0:
        return reduce_rows(x, lambda row: float(sum(bool(v) for v in row)), axis, keepdims)
    if ord == 1:
        return reduce_rows(x, lambda row: total([*map(size_of, row)]), axis, keepdims)
    return reduce_rows(
        x, lambda row: total([v**ord for v in map(size_of, row)]) ** (1.0 / ord), axis, keepdims
    )


def _matrix_norm(x: Objects, ord: Any, axis: tuple[int, int], keepdims: bool) -> Objects:
    if ord is None or ord == "fro":
        return reduce_rows(x, length, axis, keepdims)
    if ord not in (1, np.inf):
        raise NotImplementedError(f"the matrix norm of order {ord!r} on balls")
    inner, outer = axis if ord == 1 else axis[::-1]
    sums = reduce_rows(x, lambda row: total([*map(size_of, row)]), inner, True)
    result = reduce_rows(sums, largest, outer, True)
    return result if keepdims else np.squeeze(result, axis=axis)
