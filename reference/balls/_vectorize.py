"""`np.vectorize`, whose results may be Numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._array import base, is_tracked, result_of
from ._table import objects


class Vectorize:
    """`np.vectorize`, whose results may be Numbers."""

    def __init__(
        self, pyfunc: Callable[..., object] | None = None, otypes: object = None, **options: object
    ) -> None:
        if isinstance(pyfunc, np.vectorize):
            options = {"excluded": pyfunc.excluded, "signature": pyfunc.signature}
            otypes, pyfunc = pyfunc.otypes, pyfunc.pyfunc
        self._pyfunc, self._otypes = pyfunc, otypes
        self._options: dict[str, Any] = options

    def __call__(self, *args: Any, **kwargs: object) -> object:
        if self._pyfunc is None:  # used as a decorator with options
            return Vectorize(args[0], self._otypes, **self._options)
        several = isinstance(
            self._pyfunc(*[np.ravel(objects(base(x)))[0] for x in args], **kwargs), tuple
        )
        loop: Callable[..., object] = np.frompyfunc(self._pyfunc, len(args), 2 if several else 1)
        if kwargs or self._options.get("signature"):
            loop = np.vectorize(self._pyfunc, otypes=[object], **self._options)
        given = loop(*[objects(base(x)) for x in args], **kwargs)
        return result_of(given) if is_tracked(given) else _decided(given)


def _decided(x: object) -> object:
    """Objects without a Number as NumPy would give them: bools, ints, or a BallArray."""
    if isinstance(x, np.ndarray) and x.dtype == object:
        plain = np.array(x.tolist())
        return plain if plain.dtype.kind in "bi" else result_of(x)
    return result_of(x)
