"""An article's system: its quantities under its own names, computed over any arithmetic.

`forward(m, q)` is written once, as the article prints it: `q.z1 = q.x @ q.W1 + q.b1`. `m` is the
arithmetic (`m.exp`, `m.tanh`, `m.sum`, …): NumPy here; PyTorch, JAX and balls in `reference`. So
the same lines give the values and, when they are differentiated, the derivative of any named
quantity with respect to any other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.operation import ByName, FloatArray, InvalidInput


class Undefined(LookupError):
    """A quantity that the article does not give; a claim that needs it cannot be decided."""


class Quantities:
    """Named values in the order of their definition; `q.z1` and `q["z1"]` are the same.

    `probes` are added to the quantities they name as these are defined: the derivative by a probe
    at 0 is the derivative by the quantity.
    """

    def __init__(self, values: ByName, probes: ByName | None = None) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_probes", dict(probes or {}))
        object.__setattr__(self, "_computed", [])

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise Undefined(f"the article gives no {name}") from None

    def __setitem__(self, name: str, value: np.ndarray) -> None:
        if name in self._values:
            raise InvalidInput(f"quantity {name!r} is defined twice")
        self._values[name] = value + self._probes[name] if name in self._probes else value
        self._computed.append(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: np.ndarray) -> None:
        self[name] = value

    def names(self) -> list[str]:
        """Return every name, the inputs first."""
        return list(self._values)

    def computed(self) -> list[str]:
        """Return the names that `forward` defined, in order."""
        return list(self._computed)


class Arithmetic(ABC):
    """What `forward` may use beside + - * / @ and `.T`: of NumPy's arrays, unless overridden."""

    xp: Any = np
    """The namespace that has the plain functions."""

    def exp(self, x: np.ndarray) -> Any:
        """Return e to the x, entry by entry."""
        return self.xp.exp(x)

    def log(self, x: np.ndarray) -> Any:
        """Return the natural logarithm, entry by entry."""
        return self.xp.log(x)

    @abstractmethod
    def apply(self, name: str, x: np.ndarray, **parameters: float) -> np.ndarray:
        """Return the registered activation `name` of x; its usual parameters unless given."""

    @abstractmethod
    def loss(self, name: str, y: np.ndarray, t: np.ndarray, **arguments: np.ndarray) -> np.ndarray:
        """Return the registered loss `name` before reduction; t are constants."""

    def sum(self, x: np.ndarray, axis: int | None = None, keepdims: bool = False) -> Any:
        """Return the sum of all entries, or along one axis."""
        return self.xp.sum(x, axis=axis, keepdims=keepdims)

    def stack(self, entries: Sequence[np.ndarray]) -> np.ndarray:
        """Return the vector of the given numbers."""
        return np.array(list(entries))

    def tanh(self, x: np.ndarray) -> np.ndarray:
        """Return the hyperbolic tangent."""
        return self.apply("tanh", x)

    def relu(self, x: np.ndarray) -> np.ndarray:
        """Return max(x, 0)."""
        return self.apply("relu", x)

    def sigmoid(self, x: np.ndarray) -> Any:
        """Return 1/(1 + e^-x), spelled out as the articles spell it."""
        return 1 / (1 + self.exp(-x))

    def softmax(self, x: np.ndarray) -> Any:
        """Return e^x_i / Σ e^x_j along the last axis."""
        e = self.exp(x)
        return e / self.sum(e, axis=-1, keepdims=True)


class SlopeArithmetic(Arithmetic):
    """An arithmetic that has the activations' slopes, too."""

    @abstractmethod
    def slope(self, name: str, x: np.ndarray) -> np.ndarray:
        """Return g'(x) of the registered activation `name`."""


class NumpyArithmetic(SlopeArithmetic):
    """The arithmetic of the subject: NumPy in float64, activations and slopes by hand."""

    def apply(self, name: str, x: np.ndarray, **parameters: float) -> np.ndarray:
        """Return the hand-written activation."""
        operation = ACTIVATIONS[name]
        return operation.forward(np.asarray(x), **{**operation.defaults(), **parameters})[()]

    def loss(self, name: str, y: np.ndarray, t: np.ndarray, **arguments: np.ndarray) -> np.ndarray:
        """Return the hand-written loss."""
        return LOSSES[name].forward(y, t, **arguments)

    def slope(self, name: str, x: np.ndarray) -> Any:
        """Return g'(x) by the hand-written backward."""
        operation, at = ACTIVATIONS[name], np.asarray(x)
        y = operation.forward(at, **operation.defaults())
        return operation.backward(at, y, np.ones_like(at), **operation.defaults())[()]


NUMPY = NumpyArithmetic()


class Draw:
    """Draws the inputs of one problem: real numbers, or small integers for a counterexample.

    With `integers=k` arrays hold integers of magnitude up to k and sizes are the smallest.
    """

    def __init__(self, stream: np.random.Generator, integers: int = 0) -> None:
        self.stream, self.integers = stream, integers

    def size(self, low: int, high: int) -> int:
        """Return a width from low to high, both included."""
        return low if self.integers else int(self.stream.integers(low, high + 1))

    def array(self, *shape: int) -> FloatArray:
        """Return numbers of either sign."""
        if self.integers:
            drawn = self.stream.integers(-self.integers, self.integers + 1, size=shape)
            return np.asarray(drawn, dtype=np.float64)
        return np.asarray(self.stream.standard_normal(shape))

    def positive(self, *shape: int) -> FloatArray:
        """Return numbers above 0."""
        return np.abs(self.array(*shape)) + 1

    def binary(self, *shape: int) -> FloatArray:
        """Return labels 0 and 1."""
        return self.stream.integers(0, 2, size=shape).astype(np.float64)

    def one_hot(self, rows: int, classes: int) -> FloatArray:
        """Return rows with a single 1."""
        return np.eye(classes)[self.stream.integers(0, classes, size=rows)]

    def choice(self, options: Sequence[str]) -> str:
        """Return one of the options; the first where everything is kept small."""
        return options[0] if self.integers else options[int(self.stream.integers(len(options)))]


Forward = Callable[[Arithmetic, Quantities], None]


@dataclass(frozen=True)
class System:
    """A network in an article's own notation, together with how its inputs are drawn.

    `loss` names what is differentiated; `samples` is the axis of a matrix along which the samples
    of a batch lie, if there is a batch. `latex` gives the article's spelling of a name. `labels`
    names the inputs that keep their kind of value (0 or 1, one-hot) in a counterexample.
    """

    name: str
    draw: Callable[[Draw], ByName]
    forward: Forward
    loss: str
    samples: int | None = None
    latex: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ("y", "Y")

    def inputs(self, seed: int, index: int, integers: int = 0) -> ByName:
        """Return the inputs of problem (seed, index); arrays are float64, the rest is structure."""
        stream = np.random.Generator(np.random.Philox(key=[seed, index]))
        drawn = self.draw(Draw(stream, integers))
        return {n: np.asarray(v) if isinstance(v, float) else v for n, v in drawn.items()}

    def run(self, inputs: ByName, m: Arithmetic = NUMPY) -> Quantities:
        """Compute every quantity from the inputs."""
        q = Quantities(inputs)
        self.forward(m, q)
        return q

    def spell(self, name: str) -> str:
        """Return a quantity's name in LaTeX."""
        return self.latex.get(name, name)


def differentiable(inputs: ByName) -> list[str]:
    """Return the names of the inputs that are numbers, leaving out sizes and choices."""
    return [name for name, value in inputs.items() if isinstance(value, np.ndarray)]
