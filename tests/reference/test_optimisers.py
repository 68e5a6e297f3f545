"""The hand-written optimisers against torch.optim and optax, step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.operation import InvalidInput
from manual_backprop.optimisers import OPTIMISERS, Adam, GradientDescent, Momentum, Optimiser

STEPS = 12
ULPS = 32  # of the largest entry, after 12 steps of a handful of roundings each

PAIRS: list[tuple[Optimiser, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (
        GradientDescent(0.1),
        lambda w: torch.optim.SGD([w], lr=0.1),
        lambda optax: optax.sgd(0.1),
    ),
    (
        Momentum(0.05, 0.8),
        lambda w: torch.optim.SGD([w], lr=0.05, momentum=0.8),
        lambda optax: optax.sgd(0.05, momentum=0.8),
    ),
    (
        Adam(0.02, 0.8, 0.95, 1e-6),
        lambda w: torch.optim.Adam([w], lr=0.02, betas=(0.8, 0.95), eps=1e-6),
        lambda optax: optax.adam(0.02, b1=0.8, b2=0.95, eps=1e-6),
    ),
]


@pytest.mark.parametrize(("by_hand", "torch_optim", "optax_of"), PAIRS)
@given(seed=st.integers(0, 2**32))
def test_every_step_is_that_of_torch_and_optax(
    by_hand: Optimiser,
    torch_optim: Callable[[Any], Any],
    optax_of: Callable[[Any], Any],
    seed: int,
) -> None:
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    stream = np.random.default_rng(seed)
    start = stream.standard_normal((3, 2))
    gradients = stream.standard_normal((STEPS, 3, 2)) * stream.choice([1e-3, 1, 1e3], (3, 2))
    w, state = start, by_hand.start(start)
    theirs = torch.tensor(start, requires_grad=True)
    their_optimiser = torch_optim(theirs)
    rule = optax_of(optax)
    w_optax, optax_state = start, rule.init(start)
    for t, g in enumerate(gradients):
        w, state = by_hand.step(w, g, state)
        theirs.grad = torch.tensor(g)
        their_optimiser.step()
        updates, optax_state = rule.update(g, optax_state)
        w_optax = np.asarray(optax.apply_updates(w_optax, updates))
        # Plain sums of the terms met so far set the scale of what rounding may do.
        scale = (
            np.abs(start).max() + np.abs(w).max() + np.abs(gradients[: t + 1]).sum(0).max() * 0.1
        )
        for other in (theirs.detach().numpy(), w_optax):
            assert np.abs(w - other).max() <= ULPS * 2.0**-53 * scale, f"step {t}"


def test_a_injected_mistake_is_seen() -> None:
    """Adam without the correction of its bias is far off at once."""
    w = np.ones(3)
    biased = Adam(0.02)
    right, _ = biased.step(w, np.full(3, 5.0), biased.start(w))
    assert np.allclose(right, w - 0.02)  # the first step has length η, whatever the gradient
    m, v = 0.1 * 5, 0.001 * 25
    assert not np.allclose(w - 0.02 * m / (np.sqrt(v) + 1e-8), right)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_float32_stays_float32_and_nothing_is_changed(name: str) -> None:
    optimiser = OPTIMISERS[name]()
    w, g = np.ones(4, np.float32), np.full(4, 0.5, np.float32)
    state = optimiser.start(w)
    moved, state = optimiser.step(w, g, state)
    moved, _ = optimiser.step(moved, g, state)
    assert moved.dtype == np.float32
    assert np.all(w == 1) and np.all(g == 0.5) and np.all(moved < w)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientDescent(0), "learning_rate=0"),
        (lambda: Momentum(0.1, 1.0), "momentum=1.0"),
        (lambda: Adam(beta2=-0.1), "beta2=-0.1"),
    ],
)
def test_impossible_constants(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()
