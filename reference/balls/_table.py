"""The table of NumPy's functions on object arrays, and what its entries are made of."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from flint import arb

from ._number import Number, Scalar, value_of
from ._reductions import Axis, Objects, Row, reduce_rows

NO_VALUE = np._NoValue
F = TypeVar("F", bound=Callable[..., object])
TABLE: dict[Callable[..., object], Callable[..., object]] = {}
_SKIPPED = object()


def objects(x: object) -> Objects:
    """A plain object array of anything: arrays, lists, Numbers, floats."""
    if type(x) is Number:
        array = np.empty((), dtype=object)
        array[()] = x
        return array
    if isinstance(x, np.generic | np.ndarray) and x.dtype.char == "g":
        x = np.float64(x)  # long double scalars would stay what they are
    if isinstance(x, np.generic):
        x = x.item()  # an object would come back here in an endless loop
    return np.asarray(x, dtype=object)


def floats(x: object) -> npt.NDArray[np.float64]:
    """The midpoints, as a float64 array."""
    return doubles(lambda ball: float(ball), x)


def doubles(function: Callable[[arb], float], x: object) -> npt.NDArray[np.float64]:
    """The function of each ball, as a float64 array."""
    array = objects(x)
    result = np.array([function(value_of(v)) for v in array.ravel().tolist()], dtype=np.float64)
    return result.reshape(array.shape)


def implements(*functions: str) -> Callable[[F], F]:
    """Enter the function below under NumPy's names ("linalg.norm")."""

    def enter(implementation: F) -> F:
        for name in functions:
            found: Any = np
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is not None:
                TABLE[found] = implementation
        return implementation

    return enter


def reduced(
    row_function: Callable[[Row], Scalar],
    a: object,
    axis: Axis = None,
    keepdims: object = False,
    initial: Any = NO_VALUE,
    where: object = NO_VALUE,
) -> Objects:
    """A reduction with NumPy's options."""
    array = objects(a)
    if where is not NO_VALUE and where is not True:
        array = array.copy()
        array[~np.broadcast_to(np.asarray(where, dtype=bool), array.shape)] = _SKIPPED

    def of_row(row: Row) -> Scalar:
        kept = [x for x in row if x is not _SKIPPED]
        return row_function(kept if initial is NO_VALUE else [initial, *kept])

    function = row_function if where is NO_VALUE and initial is NO_VALUE else of_row
    return reduce_rows(array, function, axis, keepdims is not NO_VALUE and bool(keepdims))


def elementwise(
    function: Callable[..., object], *arrays: object, dtype: npt.DTypeLike = object
) -> np.ndarray:
    """The function of the scalars of broadcast arrays."""
    found = np.frompyfunc(function, len(arrays), 1)(*map(objects, arrays))
    return found if dtype is object else np.asarray(found).astype(dtype)
