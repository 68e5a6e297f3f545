"""Finds which operation a forward is: by its name, and by what it computes.

A name explains; it never decides whether a gradient is right.
"""

import warnings
from collections.abc import Iterator

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import FloatArray, InvalidInput
from reference.checks.code import plain, stem_of
from reference.checks.running import Reading, perform
from reference.checks.tolerances import DIGITS

ALIASES = {
    **dict.fromkeys(("affine", "linear", "fc", "fullyconnected"), "dense"),
    **dict.fromkeys(("logistic", "sigm", "sig"), "sigmoid"),
    **dict.fromkeys(("gelunew", "geluapprox"), "gelu_tanh"),
    **{plain(name): name for name in ACTIVATIONS},
    "swish": "silu",
    "lrelu": "leaky_relu",
}
"""Other names of our operations, without case and separators."""


def known_like(like: str) -> str:
    """Return the operation that `like` names; raises InvalidInput for one that is unknown."""
    name = ALIASES.get(plain(like), like)
    if name in ACTIVATIONS or name in LOSSES or name in ("dense", "network"):
        return name
    known = ", ".join(ACTIVATIONS)
    raise InvalidInput(f"like={like!r} is unknown; expected one of {known}")


def named_operation(reading: Reading, like: str | None) -> str | None:
    """Return the operation that a forward is called like, or None."""
    if like is not None:
        return known_like(like)
    forward = reading.forward
    if forward is None:
        return None
    owner = forward.owner.__name__ if forward.owner is not None else ""
    for source in (forward.short, owner):
        stem = "".join(w for w in stem_of(source) if w not in ("activation", "layer", "class"))
        name = ALIASES.get(stem, "")
        if name in ACTIVATIONS:
            return name
    return None


def identify(reading: Reading, seed: int, like: str | None) -> tuple[str, list[str]]:
    """Return the operation that a forward computes ("" where none is known), and remarks.

    Raises InvalidInput for a `like` that is unknown.
    """
    if reading.unit.second:
        return "", []  # its forward is a slope
    name = reading.forward.name if reading.forward is not None else ""
    return compared(_values(reading, seed), named_operation(reading, like), like, name)


def compared(
    values: tuple[FloatArray, FloatArray] | None, wanted: str | None, like: str | None, name: str
) -> tuple[str, list[str]]:
    """Return the operation that a function computes ("" where none is known), and remarks.

    values: its input and its output, a matrix each; None where it has others. wanted: the operation
    that it should be; like: what the user wrote for it. name: what the function is called.
    """
    if values is None:
        return "", not_compared(like)
    x, y = values
    if wanted is not None and wanted in ACTIVATIONS:
        if _is(wanted, x, y) or (ACTIVATIONS[wanted].rowwise and _is(wanted, x.T, y.T)):
            return wanted, []  # samples are rows, or columns
    found = next((name for name in ACTIVATIONS if _is(name, x, y)), "")
    if wanted is None or wanted not in ACTIVATIONS:
        return found, not_compared(like)
    called = like or wanted
    if found:
        return found, [
            f"your function {name} computes the operation {found}, not the operation {called}; "
            "the gradient is judged by your own forward"
        ]
    if any(_is(wanted, x, y, **numbers) for numbers in settings_of(wanted, x, y)):
        return wanted, []  # other numbers of it, a slope of 0.2, make it the forward
    numbers = ", ".join(f"{k}={v:g}" for k, v in ACTIVATIONS[wanted].defaults().items())
    settings = f" with its defaults ({numbers})" if numbers else ""
    ours = _ours(wanted, x)
    at = np.unravel_index(int(np.argmax(np.abs(ours - y))), y.shape)
    return "", [
        f"your function {name} does not compute the operation {called}{settings}: at x = "
        f"{x[at]:.4g} it gives {y[at]:.6g}, the operation {ours[at]:.6g}; the gradient is judged "
        "by your own forward"
    ]


def not_compared(like: str | None) -> list[str]:
    """Return the remark that a forward was not compared with the operation of `like`."""
    if like is None or known_like(like) == "network":
        return []
    return [
        f"its forward was not compared with {like}: --like compares activations only, and only "
        "with a function of one matrix that returns a matrix of the same shape"
    ]


def _values(reading: Reading, seed: int) -> tuple[FloatArray, FloatArray] | None:
    """Return the one input and the output of a forward, where it has one of each, of one shape."""
    if reading.forward is None:
        return None
    outcome = perform(reading, seed, 0)
    inputs = [np.asarray(v) for v in outcome.inputs.values()]
    outputs = [np.asarray(v) for v in outcome.outputs.values() if np.ndim(v)]
    if len(inputs) != 1 or not outputs or inputs[0].ndim != 2:
        return None
    if outputs[0].shape != inputs[0].shape:
        return None
    return inputs[0], outputs[0]


def _ours(name: str, x: FloatArray, **parameters: float) -> FloatArray:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        operation = ACTIVATIONS[name]
        return operation.forward(x, **{**operation.defaults(), **parameters})


def _is(name: str, x: FloatArray, y: FloatArray, **parameters: float) -> bool:
    return bool(np.allclose(_ours(name, x, **parameters), y, rtol=DIGITS, atol=DIGITS))


def settings_of(name: str, x: FloatArray, y: FloatArray) -> Iterator[dict[str, float]]:
    """Yield the numbers that an activation may have been written with, by its values."""
    names = list(ACTIVATIONS[name].defaults())
    if len(names) != 1:
        return
    below = x < 0
    ratios = [float(v) for v in (y[below] / x[below])[:1]] if below.any() else []
    for value in (*ratios, 0.01, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 1.702, *_solved(name, x, y)):
        parameter = ACTIVATIONS[name].parameters[names[0]]
        if np.isfinite(value) and parameter.admits(value) and value:
            yield {names[0]: value}


def _solved(name: str, x: FloatArray, y: FloatArray) -> Iterator[float]:
    """Yield the number with which an activation gives y where the default is furthest off."""
    (number,) = ACTIVATIONS[name].defaults()
    at = np.unravel_index(int(np.argmax(np.abs(_ours(name, x) - y))), x.shape)

    def off(value: float) -> float:
        return float(_ours(name, x[at].reshape(1, 1), **{number: value})[0, 0] - y[at])

    a, b = 0.5, 1.5
    for _ in range(30):  # the secant method; one step where y is a multiple of the number
        fa, fb = off(a), off(b)
        if not np.isfinite([fa, fb]).all() or fa == fb or fb == 0:
            break
        a, b = b, b - fb * (b - a) / (fb - fa)
    yield b
