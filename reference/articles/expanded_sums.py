"""Numbers that remember how they were written: 0.5·(−1) + 2·1 = 1.5.

A forward or backward walk run over these numbers leaves each quantity's sum as a reader would
write it down. A quantity that has been defined counts as a number from then on.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from manual_backprop.articles.system import NUMPY, Quantities, SlopeArithmetic
from manual_backprop.operation import ByName

MAX_CHARACTERS = 110
"""A longer sum is not written out."""

_Rank = Literal[0, 1, 2]
_SUM: _Rank = 0
_PRODUCT: _Rank = 1
_NUMBER: _Rank = 2


def digits(value: float) -> str:
    """Return a number with at most five digits and a typographic minus."""
    return f"{value + 0.0:.5g}".replace("-", "−")  # + 0.0 makes −0 a 0


class ExpandedNumber:
    """A float and the text that made it; `rank` says which brackets the text needs."""

    __slots__ = ("rank", "text", "value")

    def __init__(self, value: float, text: str | None = None, rank: _Rank = _NUMBER) -> None:
        self.value = float(value)
        self.text = digits(self.value) if text is None else text
        self.rank: _Rank = rank

    def _factor(self) -> str:
        signed = self.rank == _NUMBER and self.text.startswith("−")
        return f"({self.text})" if self.rank == _SUM or signed else self.text

    def _sum(self, other: "ExpandedNumber | float", sign: str) -> "ExpandedNumber":
        right = written(other)
        value = self.value + right.value if sign == "+" else self.value - right.value
        text = right.text
        if right.rank == _SUM and sign == "-":
            text = f"({text})"
        if text.startswith("−"):
            sign, text = ("-" if sign == "+" else "+"), text.removeprefix("−")
        return ExpandedNumber(value, f"{self.text} {'+' if sign == '+' else '−'} {text}", _SUM)

    def __add__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        return self._sum(other, "+")

    def __radd__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        if isinstance(other, int) and other == 0:  # Python's sum begins with it
            return self
        return written(other)._sum(self, "+")

    def __sub__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        return self._sum(other, "-")

    def __rsub__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        return written(other)._sum(self, "-")

    def __mul__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        right = written(other)
        text = f"{self._factor()}·{right._factor()}"
        return ExpandedNumber(self.value * right.value, text, _PRODUCT)

    def __rmul__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        return written(other) * self

    def __truediv__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        right = written(other)
        below = f"({right.text})" if right.rank != _NUMBER else right._factor()
        with np.errstate(all="ignore"):
            value = float(np.divide(self.value, right.value))
        return ExpandedNumber(value, f"{self._factor()}/{below}", _PRODUCT)

    def __rtruediv__(self, other: "ExpandedNumber | float") -> "ExpandedNumber":
        return written(other) / self

    def __neg__(self) -> "ExpandedNumber":
        if self.rank == _NUMBER:
            return ExpandedNumber(-self.value)
        return ExpandedNumber(-self.value, f"−{self._factor()}", _PRODUCT)


def written(value: ExpandedNumber | float) -> ExpandedNumber:
    """Return a number as it is written."""
    return value if isinstance(value, ExpandedNumber) else ExpandedNumber(float(value))


class ExpandedArithmetic(SlopeArithmetic):
    """Arrays of written numbers, entry by entry."""

    def _each(self, name: str, f: Callable[[np.float64], np.ndarray], x: np.ndarray) -> np.ndarray:
        def call(entry: ExpandedNumber) -> ExpandedNumber:
            return ExpandedNumber(float(f(np.float64(entry.value))), f"{name}({entry.text})")

        found: np.ndarray = np.frompyfunc(call, 1, 1)(x)
        return found

    def exp(self, x: np.ndarray) -> np.ndarray:
        """Return e to the x."""
        return self._each("exp", np.exp, x)

    def log(self, x: np.ndarray) -> np.ndarray:
        """Return the natural logarithm."""
        return self._each("log", np.log, x)

    def apply(self, name: str, x: np.ndarray, **parameters: float) -> np.ndarray:
        """Return an activation; of a row, where it needs the row."""
        array = np.asarray(x, dtype=object)
        values = np.frompyfunc(lambda entry: entry.value, 1, 1)(array)
        found = NUMPY.apply(name, np.asarray(values, dtype=np.float64), **parameters)
        texts = [f"{name}({entry.text})" for entry in array.reshape(-1)]
        return _zip(found, texts)

    def loss(self, name: str, y: np.ndarray, t: np.ndarray, **arguments: np.ndarray) -> np.ndarray:
        """Return a loss, named; only the squared error is written out."""
        values = np.asarray(np.frompyfunc(lambda e: e.value, 1, 1)(y), dtype=np.float64)
        found = np.asarray(NUMPY.loss(name, values, t, **arguments))
        targets = (
            np.broadcast_to(np.asarray(t, dtype=object), found.shape)
            if found.shape == np.shape(t)
            else None
        )
        if targets is None or found.shape != values.shape:
            return _zip(found, [name] * found.size)
        pairs = list(zip(np.asarray(y).reshape(-1), targets.reshape(-1), strict=True))
        if name == "mse":
            return _zip(found, [f"({(p - float(t)).text})²" for p, t in pairs])
        return _zip(found, [f"{name}({p.text}, {digits(float(t))})" for p, t in pairs])

    def slope(self, name: str, x: np.ndarray) -> np.ndarray:
        """Return g'(x)."""
        return self._each(f"{name}′", lambda value: NUMPY.slope(name, np.asarray(value)), x)


def _zip(values: np.ndarray, texts: list[str]) -> np.ndarray:
    array = np.empty(len(texts), dtype=object)
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    array[:] = [ExpandedNumber(v, text) for v, text in zip(flat, texts, strict=True)]
    return array.reshape(np.shape(values))[()]


class Notes(Quantities):
    """Quantities that note, for each as it is defined, its sums and what they were made from."""

    def __init__(self, values: ByName) -> None:
        object.__setattr__(self, "sums", {})
        object.__setattr__(self, "sources", {})
        object.__setattr__(self, "_read", {})
        given = {
            name: _zip(value, [digits(float(v)) for v in np.ravel(value)])
            if isinstance(value, np.ndarray)
            else value
            for name, value in values.items()
        }
        super().__init__(given)

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, (np.ndarray, ExpandedNumber, list)):  # a list is of constants
            self._read[name] = None
        return value

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        array = np.asarray(value, dtype=object)
        self.sums[name] = [_equation(written(entry)) for entry in array.reshape(-1)]
        self.sources[name] = tuple(self.taken())
        super().__setitem__(name, _zip(*_settled(array)))

    def taken(self) -> list[str]:
        """Return what was read since the last call."""
        names = list(self._read)
        self._read.clear()
        return names


def _settled(array: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the values, and each as a plain number."""
    values = np.array([written(entry).value for entry in array.reshape(-1)]).reshape(array.shape)
    return values, [digits(float(value)) for value in values.reshape(-1)]


def _equation(entry: ExpandedNumber) -> str:
    if entry.rank == _NUMBER and entry.text == digits(entry.value):
        return entry.text
    text = f"{entry.text} = {digits(entry.value)}"
    return text if len(text) <= MAX_CHARACTERS else ""
