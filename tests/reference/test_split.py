"""Products with nearly twice the digits: beside exact fractions, and at the edges of the range."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.network import Layer, Network, Problem
from reference.arithmetic import split
from reference.arithmetic.split import split_product, two_sum, within_range
from reference.blocks.gather import Gathered
from reference.blocks.sums import SumCheck, sum_checks
from reference.judge import STRICT
from reference.oracles import load
from reference.rounding import RoundingUnit

QuickTest = Callable[[SumCheck, RoundingUnit], Any]
QUICK_TESTS: tuple[QuickTest, ...] = (SumCheck._right_by_halves, SumCheck._right_by_split_products)


def factors(seed: int, inner: int, decades: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two stacks of non-square matrices whose numbers lie `decades` apart, some zero."""
    stream = np.random.default_rng(seed)
    made = []
    for shape in ((2, 3, inner), (2, inner, 4)):
        scale = 10.0 ** stream.integers(-decades, decades + 1, shape)
        made.append(stream.normal(size=shape) * scale * (stream.random(shape) < 0.8))
    return made[0], made[1]


def exactly(left: np.ndarray, right: np.ndarray) -> Fraction:
    return sum(
        (Fraction(float(a)) * Fraction(float(b)) for a, b in zip(left, right, strict=True)),
        Fraction(0),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.sampled_from([0, 3, 30]))
def test_a_product_lies_within_its_radius_of_the_exact_sum(
    seed: int, inner: int, decades: int
) -> None:
    left, right = factors(seed, inner, decades)
    assert within_range(left, right).all()
    found = split_product(left, right)
    largest = np.abs(left).max(axis=2)[..., None] * np.abs(right).max(axis=1)[:, None]
    assert (found.radius <= inner * (inner + 4) * 2.0**-70 * largest).all()
    for m, i, j in np.ndindex(found.high.shape):
        truth = exactly(left[m, i], right[m, :, j])
        error = abs(truth - Fraction(found.high[m, i, j]) - Fraction(found.low[m, i, j]))
        assert error <= Fraction(found.radius[m, i, j]), (m, i, j)


def test_one_bit_too_many_is_not_exact_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A injected bug: the high parts keep so many bits that their sums are rounded."""
    real = split._split
    monkeypatch.setattr(split, "_split", lambda factor, kept, axis: real(factor, kept + 4, axis))
    with pytest.raises(AssertionError):
        test_a_product_lies_within_its_radius_of_the_exact_sum.hypothesis.inner_test(5, 64, 0)


@pytest.mark.parametrize(
    ("number", "inside"),
    [(1.0, True), (1e130, True), (1e300, False), (1e-300, False), (5e-324, False),
     (np.inf, False), (np.nan, False)],
)  # fmt: skip
def test_what_leaves_the_range_is_left_to_longer_numbers(number: float, inside: bool) -> None:
    left, right = np.ones((2, 3, 5)), np.full((2, 5, 4), 1e-3)
    left[1, 2, 3] = number
    assert within_range(left, right).tolist() == [True, inside]


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_two_sum_loses_nothing(a: float, b: float) -> None:
    total, lost = two_sum(np.float64(a), np.float64(b))
    assert Fraction(float(total)) + Fraction(float(lost)) == Fraction(a) + Fraction(b)


def checks_of(seed: int) -> list[SumCheck]:
    """Return the checks of all sums of a network's hand-written answer in float64."""
    stream = np.random.default_rng(seed)
    network = Network(5, (Layer(70, "relu"), Layer(9, "tanh"), Layer(3)), "mse")
    parameters = {n: stream.normal(size=s) for n, s in network.parameter_shapes().items()}
    x, t = stream.normal(size=(6, 5)), stream.normal(size=(6, 3))
    problem = Problem(network, parameters, x, t)
    gathered = Gathered([problem], [(0, load(["manual"])["manual"].answers([problem])[0])])
    return [
        check
        for (dtype, *_), layers in gathered.dense.items()
        for check in sum_checks(dtype, layers)
    ]


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_the_quick_tests_agree_with_longer_numbers(seed: int, decades: float) -> None:
    """An entry of each sum moved by a share of what it is allowed: never sure, and outside."""
    unit = RoundingUnit(np.dtype(np.float64), STRICT)
    stream = np.random.default_rng(seed)
    for check in checks_of(seed):
        m, i, j = stream.choice(np.argwhere(check.inside))
        moved = check.take(np.arange(len(check.layers)))
        moved.given[m, i, j] += 10.0**decades * float(check.allowed(unit)[m, i, j])
        inside = (moved.error - moved.radius <= moved.allowed(unit)) | ~moved.inside
        truly = inside.all(axis=(1, 2))
        for quick in QUICK_TESTS:
            assert (truly | ~quick(moved, unit)).all()
        assert m in moved.suspects(unit) or truly[m]


@pytest.mark.parametrize("quick", QUICK_TESTS)
def test_right_answers_are_settled_at_a_quick(quick: QuickTest) -> None:
    unit = RoundingUnit(np.dtype(np.float64), STRICT)
    long = [check for seed in range(5) for check in checks_of(seed) if (check.terms > 60).all()]
    assert np.mean(np.concatenate([quick(check, unit) for check in long])) > 0.9


def test_a_sum_that_is_not_added_up_in_halves_is_not_called_inside() -> None:
    """What a product in float64 loses itself is part of what is allowed, not beside it."""
    unit = RoundingUnit(np.dtype(np.float64), STRICT)
    (check,) = [c for c in checks_of(0) if c.kind == "z" and (c.terms > 60).all()]
    moved = check.take(np.arange(len(check.layers)))
    share = 1 - (check.left.shape[2] // 2) / float(check.terms[0])
    moved.given[...] += (share + 0.1) * check.allowed(unit)
    assert not SumCheck._right_by_halves(moved, unit).any()
    assert SumCheck._right_by_split_products(moved, unit).all()
