"""SciPy's functions that are not ufuncs: softmax, the normal distribution, convolutions."""

import functools
import importlib
from typing import Any

import numpy as np

from ._array import BallArray, base, is_tracked, result_of
from ._creation import ballify
from ._number import Number, Scalar
from ._products import tensordot
from ._reductions import Axis, log_sum_exp
from ._rules import scalar_function
from ._table import floats, objects, reduced
from ._tape import LeftTheTape


def _as_balls(x: object) -> BallArray:
    return objects(base(ballify(x))).view(BallArray)


def _logsumexp(
    a: object,
    axis: Axis = None,
    b: object = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    if return_sign:
        raise LeftTheTape("scipy.special.logsumexp(return_sign=True) has no rule")
    if b is not None:
        a = ballify(a) + np.log(_as_balls(b))
    return result_of(reduced(log_sum_exp, objects(base(ballify(a))), axis, keepdims))


def _log_softmax(x: object, axis: Axis = None) -> Any:
    x = _as_balls(x)
    return x - _logsumexp(x, axis=axis, keepdims=True)


def _softmax(x: object, axis: Axis = None) -> object:
    return np.exp(_log_softmax(x, axis))


# ---- the normal distribution -----------------------------------------------------------------


class _Normal:
    """`scipy.stats.norm`."""

    def __init__(self, real: object) -> None:
        self._real = real

    def _at(self, rule: str, x: object, loc: Scalar, scale: Scalar) -> object:
        special = importlib.import_module("scipy.special")
        function = np.frompyfunc(scalar_function(rule, getattr(special, rule)), 1, 1)
        return function((_as_balls(x) - loc) / scale)

    def cdf(self, x: object, loc: Scalar = 0.0, scale: Scalar = 1.0) -> object:
        """Φ((x − loc)/scale)."""
        return self._at("ndtr", x, loc, scale)

    def logcdf(self, x: object, loc: Scalar = 0.0, scale: Scalar = 1.0) -> object:
        """The logarithm of Φ((x − loc)/scale)."""
        return self._at("log_ndtr", x, loc, scale)

    def pdf(self, x: object, loc: Scalar = 0.0, scale: Scalar = 1.0) -> object:
        """exp(−z²/2)/(√(2π) scale), z = (x − loc)/scale."""
        return np.exp(self.logpdf(x, loc, scale))

    def logpdf(self, x: object, loc: Scalar = 0.0, scale: Scalar = 1.0) -> Any:
        """−z²/2 − log √(2π) − log scale."""
        z = (_as_balls(x) - loc) / scale
        return -z * z / 2.0 - np.log(_as_balls(2.0) * _pi()) / 2.0 - np.log(_as_balls(scale))

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


def _pi() -> Number:
    """π to all digits, as SciPy means it."""
    from flint import arb

    return Number(arb.pi(), None, ())


# ---- convolutions ----------------------------------------------------------------------------


_HARMLESS = (0, "fill", "auto", "direct", "fft", None)  # options that change no value


def _correlate(
    a: Any, v: Any, mode: str = "full", *options: object, later: int = 0, **named: object
) -> object:
    """out[i] = Σ a[i + k] v[k], over every place where the two overlap.

    later: 1 for correlate2d, whose "same" starts one later where the kernel's size is even.
    """
    if any(option not in _HARMLESS for option in (*options, *named.values())):
        raise LeftTheTape(f"scipy.signal with the options {(*options, *named.values())}")
    x, kernel = objects(base(ballify(a))), objects(base(ballify(v)))
    if not (is_tracked(x) or is_tracked(kernel)):
        x, kernel = floats(x).astype(object), floats(kernel).astype(object)
    if mode == "valid" and any(n < k for n, k in zip(x.shape, kernel.shape, strict=True)):
        raise LeftTheTape("a correlation with a kernel larger than its input has no rule")
    if mode != "valid":
        x = np.pad(x, [(k - 1, k - 1) for k in kernel.shape], constant_values=0.0)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape)
    full = tensordot(windows, kernel, kernel.ndim)
    if mode == "same":
        sizes = np.shape(a)
        starts = [(k - 1 + later) // 2 for k in kernel.shape]
        full = full[tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))]
    return result_of(full)


def _convolve(a: Any, v: Any, mode: str = "full", *options: object, **named: Any) -> object:
    """out[i] = Σ a[i − k] v[k]."""
    return _correlate(a, np.flip(objects(base(ballify(v)))), mode, *options, **named)


@functools.cache
def scipy_table(name: str) -> dict[str, object]:
    """What takes the place of the names of one of SciPy's modules."""
    if name == "scipy.special":
        return {"logsumexp": _logsumexp, "log_softmax": _log_softmax, "softmax": _softmax}
    if name == "scipy.stats":
        return {"norm": _Normal(importlib.import_module(name).norm)}
    if name == "scipy.signal":
        convolutions = dict.fromkeys(("convolve", "convolve2d", "fftconvolve"), _convolve)
        two = functools.partial(_correlate, later=1)
        return {**convolutions, "correlate": _correlate, "correlate2d": two}
    return {}
