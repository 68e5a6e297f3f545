"""Every layer of the registry against torch, JAX and 60 digits of its own definition.

Errors are in units of rounding of the tensor's largest terms, Σ |dy ∂y/∂x|: no correct gradient
can promise more than some of these, and each wrong formula is off by millions.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays

from manual_backprop.layers import LAYERS
from manual_backprop.operation import LayerOperation
from reference.conventions.uses import (
    LayerUse,
    UseAnswer,
    UseTruth,
    by_framework,
    by_hand,
    draw,
    truth,
    use,
)
from reference.drawing.builder import Stream

RIGHT = 2.0**26
"""A gradient is right when no entry is off by more than half of float64's digits."""

JAX_IN_FLOAT32 = 2.0**36
"""The same where JAX computes in float32 whatever it is given: the softmax of its attention."""

EXACT_ENOUGH = 8.0
"""Below this many units nobody's error is worse than the other's: sums of another order."""

CANCELS = {
    **dict.fromkeys(
        ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"),
        "g - mean(g) - x̂ mean(g x̂) cancels where g lies nearly along x",
    ),
    "attention": "p (dp - Σ p dp) cancels where all that is seen is nearly alike",
    "gru_cell": "h - n, the slope of the update gate, crosses 0",
    "lstm_cell": "dx adds up four gates, whose parts nearly cancel",
    "triplet_margin": "u - w cancels where both others lie in nearly one direction",
}
"""Layers whose worst error may be up to twice the better framework's, and why."""

names = pytest.mark.parametrize("name", list(LAYERS))


def errors(true: UseTruth, found: UseAnswer) -> dict[str, float]:
    tensors = {"y": found.value, **found.gradient}
    return {name: true.error(name, tensor) for name, tensor in tensors.items()}


def wrong(true: UseTruth, found: UseAnswer, units: float = RIGHT) -> list[str]:
    return [name for name, error in errors(true, found).items() if not error <= units]


@names
def test_the_definition_and_both_frameworks_agree(name: str) -> None:
    """At an edge (every fourth use) conventions differ: there the definition alone decides."""
    operation = LAYERS[name]
    for seed in range(8):
        given_use = draw(operation, seed)
        true = truth(operation, given_use)
        assert wrong(true, by_hand(operation, given_use)) == [], seed
        if seed % 4 != 3:
            assert wrong(true, by_framework("torch", operation, given_use)) == [], ("torch", seed)
        if seed == 0:  # each use is compiled
            digits = JAX_IN_FLOAT32 if name == "attention" else RIGHT
            assert wrong(true, by_framework("jax", operation, given_use), digits) == [], "jax"


@names
@settings(max_examples=4)
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_any_numbers_give_the_gradient_of_the_definition(name: str, data: Any, seed: int) -> None:
    """Quarters meet every kink and tie; the truth is then all that lies between the slopes."""
    operation = LAYERS[name]
    stream = Stream(31, seed)
    sample = operation.sample(stream)
    quarters = st.integers(-32, 32).map(lambda k: k / 4)
    arrays = {
        n: data.draw(drawn_arrays(np.float64, shape, elements=quarters), label=n)
        for n, shape in sample.shapes.items()
    }
    with np.errstate(all="ignore"):
        given_use = use(operation, {**arrays, **sample.arrays}, sample.options, stream)
    true = truth(operation, given_use)
    if all(np.isfinite(end).all() for end in (*true.low.values(), *true.high.values())):
        assert wrong(true, by_hand(operation, given_use)) == []


@names
@pytest.mark.parametrize("argument", ["first", "last"])
def test_a_wrong_cotangent_is_caught(name: str, argument: str) -> None:
    right = LAYERS[name]

    def injected(*arrays: Any, **options: Any) -> Any:
        found = dict(right.backward(*arrays, **options))
        key = list(found)[0 if argument == "first" else -1]
        return {**found, key: found[key] * (1 + 1e-6)}

    mistaken = replace(right, backward=injected)
    uses = [draw(right, seed) for seed in range(4)]
    assert any(wrong(truth(right, u), by_hand(mistaken, u)) for u in uses)


def worst(operation: LayerOperation, uses: list[LayerUse]) -> dict[str, float]:
    """Return the worst error of the hand-written side and of torch."""
    found = {"manual": 0.0, "torch": 0.0}
    for u in uses:
        true = truth(operation, u)
        for who, answer in (("manual", by_hand), ("torch", partial(by_framework, "torch"))):
            found[who] = max(found[who], *errors(true, answer(operation, u)).values())
    return found


def check_accuracy(name: str, dtype: str, seeds: range) -> None:
    found = worst(LAYERS[name], [draw(LAYERS[name], seed, dtype) for seed in seeds])
    share = 2 if name in CANCELS else 1
    assert found["manual"] <= share * max(found["torch"], EXACT_ENOUGH), found


@names
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_framework_is_more_accurate(name: str, dtype: str) -> None:
    check_accuracy(name, dtype, range(100, 108))


@pytest.mark.broad
@names
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_framework_is_more_accurate_in_a_hundred_uses(name: str, dtype: str) -> None:
    """benchmarks/layer_accuracy.py does so 1,000 times, with JAX."""
    check_accuracy(name, dtype, range(100))


def test_what_cancels_is_a_layer() -> None:
    assert set(CANCELS) <= set(LAYERS)
