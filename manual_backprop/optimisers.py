"""Optimisers by hand: gradient descent, momentum and Adam.

An optimiser is a frozen record of its constants. `start(w)` makes its state for one parameter, and
`step(w, g, state)` returns the new parameter and the new state; nothing is changed in place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from manual_backprop.operation import FloatArray, InvalidInput

State = tuple[FloatArray | int, ...]


class Optimiser(Protocol):
    """Anything that turns a parameter and its gradient into the next parameter."""

    def start(self, w: FloatArray) -> State:
        """Return the state before the first step."""

    def step(self, w: FloatArray, g: FloatArray, state: State) -> tuple[FloatArray, State]:
        """Return the parameter and the state after one step."""


@dataclass(frozen=True)
class GradientDescent:
    """w ← w - η g.

    To first order L(w + d) = L(w) + g·d. Among all steps of one length, d = -η g lowers that most
    (Cauchy and Schwarz: g·d ≥ -|g||d|, with equality for d along -g). Cauchy, 1847.
    """

    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        _check_positive("learning_rate", self.learning_rate)

    def start(self, w: FloatArray) -> State:
        """Return no state."""
        return ()

    def step(self, w: FloatArray, g: FloatArray, state: State) -> tuple[FloatArray, State]:
        """Return w - η g."""
        return w - self.learning_rate * g, state


@dataclass(frozen=True)
class Momentum:
    """v ← μ v + g,  w ← w - η v.

    v_t = Σ_s μ^(t-s) g_s is a sum of past gradients with fading weights. Where the gradient keeps
    its direction the weights add up to 1/(1-μ), and the step is that much longer; where it turns
    at every step the terms cancel. The first v is the first gradient. Polyak, 1964.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9

    def __post_init__(self) -> None:
        _check_positive("learning_rate", self.learning_rate)
        _check_share("momentum", self.momentum)

    def start(self, w: FloatArray) -> State:
        """Return v = 0."""
        return (np.zeros_like(w),)

    def step(self, w: FloatArray, g: FloatArray, state: State) -> tuple[FloatArray, State]:
        """Return w - η (μ v + g)."""
        v = self.momentum * state[0] + g
        return w - self.learning_rate * v, (v,)


@dataclass(frozen=True)
class Adam:
    """m ← β₁ m + (1-β₁) g,  v ← β₂ v + (1-β₂) g²,  w ← w - η m̂ / (√v̂ + ε).

    m and v are running means of g and g² that start at 0, so they are too small at first: with g
    constant, m_t = (1 - β₁^t) g, as Σ_s (1-β₁) β₁^(t-s) = 1 - β₁^t. Dividing by it makes
    m̂ = m/(1-β₁^t) and v̂ = v/(1-β₂^t) unbiased; the first step then has length η for every
    entry, whatever the scale of g. Kingma and Ba, 2015.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check_positive("learning_rate", self.learning_rate)
        _check_share("beta1", self.beta1)
        _check_share("beta2", self.beta2)

    def start(self, w: FloatArray) -> State:
        """Return t = 0, m = 0, v = 0."""
        return 0, np.zeros_like(w), np.zeros_like(w)

    def step(self, w: FloatArray, g: FloatArray, state: State) -> tuple[FloatArray, State]:
        """Return w - η m̂ / (√v̂ + ε)."""
        t, m, v = state[0] + 1, state[1], state[2]
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * (g * g)
        m_hat = m / (1 - self.beta1**t)
        v_hat = v / (1 - self.beta2**t)
        return w - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon), (t, m, v)


OPTIMISERS: dict[str, type[GradientDescent | Momentum | Adam]] = {
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "adam": Adam,
}


def step_all(
    optimiser: Optimiser,
    parameters: Mapping[str, FloatArray],
    gradients: Mapping[str, FloatArray],
    states: Mapping[str, State],
) -> tuple[dict[str, FloatArray], dict[str, State]]:
    """Take one step of every parameter."""
    stepped = {
        name: optimiser.step(w, gradients[name], states[name]) for name, w in parameters.items()
    }
    return {n: w for n, (w, _) in stepped.items()}, {n: state for n, (_, state) in stepped.items()}


def start_all(optimiser: Optimiser, parameters: Mapping[str, FloatArray]) -> dict[str, State]:
    """Return every parameter's state before the first step."""
    return {name: optimiser.start(w) for name, w in parameters.items()}


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InvalidInput(f"{name}={value!r}: expected a number above 0")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise InvalidInput(f"{name}={value!r}: expected a number from 0 to below 1")
