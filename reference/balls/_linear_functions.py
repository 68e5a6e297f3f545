"""NumPy's sums of products and its linear algebra on object arrays, in the table."""

from collections.abc import Callable, Sequence

import numpy as np

from . import _linalg, _products
from ._reductions import Axis, Objects
from ._rules import scalar_function
from ._table import elementwise, implements, objects


def _of_objects(function: Callable[..., object]) -> Callable[..., object]:
    def implementation(
        a: object, b: object, *args: object, out: object = None, **kwargs: object
    ) -> object:
        return function(objects(a), objects(b), *args, **kwargs)

    return implementation


implements("dot")(_of_objects(_products.dot))
implements("inner")(_of_objects(_products.inner))
implements("tensordot", "linalg.tensordot")(_of_objects(_products.tensordot))
implements("outer", "linalg.outer")(
    _of_objects(lambda a, b: np.multiply.outer(a.ravel(), b.ravel()))
)
implements("vdot")(_of_objects(lambda a, b: _products.dot(a.ravel(), b.ravel())))
implements("linalg.matmul")(_of_objects(_products.matmul))
implements("linalg.solve")(_of_objects(_linalg.solve))


@implements("einsum")
def einsum(
    *operands: object, out: object = None, optimize: object = False, **kwargs: object
) -> object:
    """Sums of products by indices."""
    return _products.einsum(*operands)


@implements("linalg.multi_dot")
def multi_dot(arrays: Sequence[object], out: object = None) -> object:
    """One product after the other."""
    result = objects(arrays[0])
    for array in arrays[1:]:
        result = _products.dot(result, objects(array))
    return result


@implements("linalg.norm", "linalg.vector_norm")
def norm(x: object, ord: object = None, axis: Axis = None, keepdims: bool = False) -> object:
    """‖x‖."""
    return _linalg.norm(objects(x), ord, axis, keepdims)


implements("linalg.inv")(lambda a: _linalg.inverse(objects(a)))
implements("linalg.pinv")(lambda a, *_, **__: pseudo_inverse(objects(a)))
implements("linalg.det")(lambda a: _linalg.determinant(objects(a)))
implements("linalg.cholesky")(lambda a, **_: _linalg.cholesky(objects(a)))
implements("linalg.matrix_power")(lambda a, n: _linalg.matrix_power(objects(a), n))


def pseudo_inverse(a: Objects) -> Objects:
    """(AᵀA)⁻¹Aᵀ of a tall matrix, Aᵀ(AAᵀ)⁻¹ of a wide one; of full rank."""
    turned = np.swapaxes(a, -1, -2)
    if a.shape[-2] >= a.shape[-1]:
        return _products.matmul(_linalg.inverse(_products.matmul(turned, a)), turned)
    return _products.matmul(turned, _linalg.inverse(_products.matmul(a, turned)))


@implements("linalg.slogdet")
def slogdet(a: object) -> object:
    """(sign, log |det|)."""
    det = objects(_linalg.determinant(objects(a)))
    sign = elementwise(scalar_function("sign", np.sign), det)
    size = elementwise(scalar_function("absolute", np.abs), det)
    return sign, elementwise(scalar_function("log", np.log), size)
