"""A problem in the making: its random numbers, its structure, and the ways to fill in values."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import REDUCTIONS, Layer, Network, Problem
from manual_backprop.operation import Domain, FloatArray, Loss, Operation, TargetKind
from reference.formats import Array, format_of

_T = TypeVar("_T")

MAX_DEPTH, MAX_WIDTH, MAX_BATCH = 4, 8, 8

LARGE = 1 / 64
"""The share of problems that are drawn larger: deeper, and wider where no operation takes rows."""
LARGE_DEPTH = 12
LARGE_WIDTHS = (9, 10, 12, 16, 24, 32, 48, 64)
LARGE_ROWS = (9, 10, 12)
"""Widths of layers whose operation looks at whole rows: its slopes grow with their square."""


class ProblemCell(NamedTuple):
    """What the index alone decides.

    Of a graph beyond dense chains `activation` is the layer that is aimed at; it has no loss.
    """

    activation: str
    loss: str
    regime: str
    dtype: str
    architecture: str = "dense"


class _Key(np.random.bit_generator.ISeedSequence):
    """Hands Philox its key as it is; given `key=`, it would ask the system for entropy first."""

    def __init__(self, seed: int, index: int) -> None:
        self._words = np.array([seed, index], np.uint64)

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> Array:
        """Return the key, which is what Philox seeds itself with."""
        return self._words


class Stream:
    """The random numbers of one problem: Philox keyed by (seed, index)."""

    def __init__(self, seed: int, index: int) -> None:
        key: Any = _Key(seed, index)  # NumPy's stubs know no seed sequence but its own
        self.generator = np.random.Generator(np.random.Philox(key))
        self._words: list[int] = []

    def below(self, n: int) -> int:
        """Return a whole number from 0 to n − 1."""
        if not self._words:
            # Structure needs some dozens of 32 bits; one call is cheaper than dozens.
            words = self.generator.bit_generator.random_raw(32)
            self._words = words.astype("<u8").view("<u4").tolist()
        return self._words.pop() * n >> 32

    def chance(self, numerator: int, denominator: int) -> bool:
        """Return True in `numerator` of `denominator` cases."""
        return self.below(denominator) < numerator

    def choice(self, options: Sequence[_T]) -> _T:
        """Return one of a sequence."""
        return options[self.below(len(options))]

    def normal(self, *shape: int) -> npt.NDArray[np.float64]:
        """Return independent standard normal numbers."""
        return self.generator.standard_normal(shape)


class ProblemBuilder:
    """A problem in the making: the structure stands; a regime sets the values."""

    def __init__(self, stream: Stream, where: ProblemCell, *, large: bool = False) -> None:
        self.stream, self.where = stream, where
        self.dtype = format_of(where.dtype).dtype
        self.loss: Loss = LOSSES[where.loss]
        self.depth = 1 + stream.below(MAX_DEPTH)
        self.place = self._place_of_the_activation()
        self.batch = 2 + stream.below(MAX_BATCH - 1)
        self.widths = [2 + stream.below(MAX_WIDTH - 1)]
        for _ in range(self.depth):  # no two neighbours alike: a transposed weight would not fit
            step = 1 + stream.below(MAX_WIDTH - 2)
            self.widths.append(2 + (self.widths[-1] - 2 + step) % (MAX_WIDTH - 1))
        self.biases = [not stream.chance(1, 8) for _ in range(self.depth)]
        self.activations = self._activations()
        if large:
            self._enlarge()
        self.reduction = stream.choice(REDUCTIONS)
        self.loss_parameters = _drawn_parameters(stream, self.loss)
        self.weighted = not stream.chance(1, 4)
        self.parameters: dict[str, npt.NDArray[np.float64]] = {}
        self.x: npt.NDArray[np.float64] = np.empty(0)
        self.targets: Array | None = None

    def _place_of_the_activation(self) -> int:
        """Choose the layer of the cell's activation: the output only where the loss takes it."""
        at_output = fits(ACTIVATIONS[self.where.activation].range, self.loss.predictions)
        if not at_output:
            self.depth = max(2, self.depth)
        return self.stream.below(self.depth if at_output else self.depth - 1)

    def _activations(self) -> list[tuple[str, dict[str, float]]]:
        """Choose the other activations: any where hidden, what the loss takes at the end."""
        hidden = _hidden()
        last = outputs_for(self.loss.predictions)
        names = [self.stream.choice(hidden) for _ in range(self.depth - 1)]
        plain = "identity" in last and self.stream.chance(2, 3)
        names.append("identity" if plain else self.stream.choice(last))
        names[self.place] = self.where.activation
        return [(name, _drawn_parameters(self.stream, ACTIVATIONS[name])) for name in names]

    def _enlarge(self) -> None:
        """Put layers in front, and widen all: no two neighbours alike."""
        more = 1 + self.stream.below(LARGE_DEPTH - self.depth)
        front = [self.stream.choice(_hidden()) for _ in range(more)]
        drawn = [(name, _drawn_parameters(self.stream, ACTIVATIONS[name])) for name in front]
        self.activations = [*drawn, *self.activations]
        self.biases = [True] * more + self.biases
        self.depth, self.place = self.depth + more, self.place + more
        self.widths = [self.stream.choice(LARGE_WIDTHS)]
        for i, (name, _) in enumerate(self.activations):
            last = i == self.depth - 1
            rows = ACTIVATIONS[name].rowwise or (last and not self.loss.elementwise)
            sizes = [w for w in (LARGE_ROWS if rows else LARGE_WIDTHS) if w != self.widths[-1]]
            self.widths.append(self.stream.choice(sizes))

    # -- values -----------------------------------------------------------------------------

    def fill(
        self, weight: float = 1.0, bias: float = 0.5, x: float = 1.0, *, lattice: bool = False
    ) -> None:
        """Set parameters and x: normal numbers at the given scales, weights over √D_in.

        On the lattice everything is a multiple of one half, so sums are exact in any order.
        """
        for i, (d_in, d_out) in enumerate(pairwise(self.widths)):
            w = self.stream.normal(d_in, d_out)
            self.parameters[f"layers.{i}.weight"] = (
                np.rint(2 * w) / 2 if lattice else w * (weight / d_in**0.5)
            )
            if self.biases[i]:
                b = self.stream.normal(d_out)
                self.parameters[f"layers.{i}.bias"] = np.rint(2 * b) / 2 if lattice else b * bias
        rows = self.stream.normal(self.batch, self.widths[0])
        self.x = np.rint(2 * rows) / 2 if lattice else rows * x

    def draw_targets(self, kind: TargetKind | None = None, *, one_hot: bool = True) -> Array:
        """Return targets of a kind that the loss takes; `one_hot`: rows may hold exact zeros."""
        stream, shape = self.stream, (self.batch, self.widths[-1])
        match kind or stream.choice(self.loss.targets):
            case "real":
                targets = stream.normal(*shape)
                if self.where.regime == "lattice":
                    targets = np.rint(2 * targets) / 2
            case "unit":
                targets = stream.generator.random(shape)
                if stream.chance(1, 2):
                    targets = np.rint(targets)
            case "sign":
                targets = np.where(stream.generator.random(shape) < 0.5, -1.0, 1.0)
            case "count":
                targets = np.floor(6 * stream.generator.random(shape))
            case "labels":
                labels = stream.generator.integers(0, shape[1], shape[0])
                if "ignore_index" in self.loss_parameters and stream.chance(1, 4):
                    labels[stream.below(shape[0])] = int(self.loss_parameters["ignore_index"])
                return labels
            case _:
                targets = quantised(np.exp(stream.normal(*shape)))
                if one_hot and stream.chance(1, 4):
                    targets = (targets == targets.max(axis=1, keepdims=True)).astype(np.float64)
                targets /= targets.sum(axis=1, keepdims=True)
        return targets.astype(self.dtype)

    def draw_arrays(self) -> dict[str, FloatArray]:
        """Return the loss's array arguments: positive numbers, for each class or each entry."""
        arrays: dict[str, FloatArray] = {}
        for name, extent in self.loss.arrays.items():
            per_class = extent == "classes"
            shape = (self.widths[-1],) if per_class else (self.batch, self.widths[-1])
            if not per_class or self.stream.chance(1, 2):  # class weights may be left out
                arrays[name] = quantised(np.exp(self.stream.normal(*shape) / 2)).astype(self.dtype)
        return arrays

    def network(self) -> Network:
        """Return the structure."""
        layers = tuple(
            Layer(width, name, parameters, bias)
            for width, (name, parameters), bias in zip(
                self.widths[1:], self.activations, self.biases, strict=True
            )
        )
        return Network(self.widths[0], layers, self.loss.name, self.loss_parameters, self.reduction)

    def problem(self) -> Problem:
        """Return the finished problem, every float in the cell's dtype."""
        weights = quantised(np.exp(self.stream.normal(self.batch) / 2)) if self.weighted else None
        return Problem(
            network=self.network(),
            parameters={k: v.astype(self.dtype) for k, v in self.parameters.items()},
            x=self.x.astype(self.dtype),
            targets=self.draw_targets() if self.targets is None else self.targets,
            weights=None if weights is None else weights.astype(self.dtype),
            arrays=self.draw_arrays(),
        )


def quantised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positive numbers on a grid of 1/256: the last bit of exp differs between processors.

    Sums of them are exact, so a problem is the same problem on every machine.
    """
    return np.maximum(np.rint(values * 256), 1) / 256


def fits(range_: Domain, predictions: Domain) -> bool:
    """Say whether values in `range_` are what a loss with this prediction domain takes."""
    accepted: dict[Domain, set[Domain]] = {
        "real": {"real", "unit", "simplex", "log_simplex"},
        "unit": {"unit", "simplex"},
        "simplex": {"simplex"},
        "log_simplex": {"log_simplex"},
    }
    return range_ in accepted[predictions]


@cache
def outputs_for(predictions: Domain) -> list[str]:
    """Return the activations whose range a loss with this prediction domain takes."""
    return [name for name, a in ACTIVATIONS.items() if fits(a.range, predictions)]


@cache
def _hidden() -> list[str]:
    return list(ACTIVATIONS)


def _drawn_parameters(stream: Stream, operation: Operation) -> dict[str, float]:
    """Draw an operation's parameters: the default in half the cases."""
    if not operation.parameters or stream.chance(1, 2):
        return operation.defaults()
    return {name: stream.choice(p.choices) for name, p in operation.parameters.items()}


def sampled(seed: int, index: int, share: float, salt: int = 0) -> bool:
    """Say whether a problem is in a fixed share of all.

    As a coin would choose, so that the share is met in every cell: a step of SplitMix64 mixes all
    bits (Steele, Lea and Flood, 2014). A mere multiple of the index would come round with the
    number of cells and never meet most of them. Shares of different `salt` are independent.
    """
    bits = (index + _mixed(seed ^ salt)) % 2**64
    return _mixed(bits) < share * 2**64


def _mixed(bits: int) -> int:
    bits = (bits + 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
    return bits ^ bits >> 31
