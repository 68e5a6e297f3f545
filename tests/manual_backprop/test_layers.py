"""Every layer of the registry against torch, JAX and 60 digits of its own definition.

Errors are in units of rounding of the tensor's largest terms, Σ |dy ∂y/∂x|: no correct gradient
can promise more than some of these, and each wrong formula is off by millions.
"""

import runpy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as drawn_arrays

from manual_backprop.layers import LAYERS
from manual_backprop.layers.standardised import scaled_product
from manual_backprop.operation import InvalidInput, LayerOperation
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

CANCELS = {"triplet_margin": "u - w cancels where both others lie in nearly one direction"}
"""Layers whose worst error may be up to twice the better framework's, and why."""

BY_LOGITS = {
    ("torch", "ctc"): "it adds e^x, which makes it the derivative by the logits of a log-softmax"
}
"""Frameworks whose gradient by x is by design another one, and why."""

ACCURACY = Path(__file__).parents[2] / "benchmarks" / "layer_accuracy.py"
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
            other = ["x"] if ("torch", name) in BY_LOGITS else []
            assert wrong(true, by_framework("torch", operation, given_use)) == other, seed
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


def test_the_benchmark_compares_three_sides_and_fails_for_a_wrong_gradient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Uses that share a structure go to JAX together; their numbers are their own."""
    first, second = (draw(LAYERS["prelu"], seed, structure=3) for seed in (0, 2))
    assert {n: a.shape for n, a in first.arrays.items()} == {
        n: a.shape for n, a in second.arrays.items()
    }
    assert not np.array_equal(first.arrays["x"], second.arrays["x"])
    main = runpy.run_path(str(ACCURACY))["main"]
    arguments = ["--uses", "6", "--structures", "2", "--layers", "prelu"]
    assert main(arguments) == 0
    assert "jax 0 " not in capsys.readouterr().out  # it was asked
    right = LAYERS["prelu"]
    wrong = replace(right, backward=lambda *a: {n: 1.5 * g for n, g in right.backward(*a).items()})
    monkeypatch.setitem(LAYERS._operations, "prelu", wrong)
    assert main(arguments) == 1
    assert "WRONG" in capsys.readouterr().out


def test_what_cancels_is_a_layer() -> None:
    assert set(CANCELS) <= set(LAYERS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row, y, p", [
    ([-np.inf, -np.inf, -np.inf, -np.inf], -np.inf, [0.25, 0.25, 0.25, 0.25]),
    ([np.inf, 0.0, -np.inf, 1.0], np.inf, [1.0, 0.0, 0.0, 0.0]),
    ([np.inf, 0.0, np.inf, 1.0], np.inf, [0.5, 0.0, 0.5, 0.0]),
    ([-np.inf, 2.0, 2.0, -np.inf], 2 + np.log(2), [0.0, 0.5, 0.5, 0.0]),
    ([-1e38, -1e38, -3e38, 0.0], 0.0, [0.0, 0.0, 0.0, 1.0]),
])  # fmt: skip
def test_the_shares_of_a_log_sum_exp_add_up_to_one_also_at_infinity(
    row: list[float], y: float, p: list[float], dtype: type
) -> None:
    x, operation = np.array([row, [0.0] * 4], dtype).T, LAYERS["logsumexp"]
    with np.errstate(all="ignore"):
        value = operation.forward(x, axis=(0,), keepdims=False)
        dx = operation.backward(x, np.array([2, 1], dtype), axis=(0,), keepdims=False)["x"]
    assert value.dtype == dx.dtype == dtype
    np.testing.assert_allclose(value, [y, np.log(4)], rtol=1e-6)
    np.testing.assert_array_equal(dx[:, 0], 2 * np.array(p))


NORMS = ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm",
         "batch_norm_evaluation", "weight_norm")  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(("of_weight", "of_dy", "of_x"), [
    (-72, -72, -13), (66, 66, 60),  # γ dy is 2^-144 or 2^132
    (120, -100, -12), (-100, 90, 50),  # γ/σ is 2^132 or 2^-150
    (-100, 120, -12), (90, -100, 50),  # dy/σ is
])  # fmt: skip
def test_a_norm_keeps_its_digits_where_one_product_on_the_way_leaves_the_range(
    name: str, of_weight: int, of_dy: int, of_x: int
) -> None:
    """In both orders; the tangent of x is as large as x, and that of γ as γ."""
    operation, rng = LAYERS[name], np.random.default_rng(3)
    sample = operation.sample(Stream(29, 2), None if name == "weight_norm" else (2, 3, 4))
    first, weight = operation.arguments[0], "g" if name == "weight_norm" else "weight"
    powers = dict.fromkeys(sample.shapes, of_x) | {weight: of_weight, "bias": of_weight}
    arrays = {n: rng.normal(size=s) * 2.0 ** powers[n] for n, s in sample.shapes.items()}
    arrays |= {n: a * 4.0**of_x for n, a in sample.arrays.items()}
    tangents = {n: rng.normal(size=a.shape) * 2.0 ** powers.get(n, 2 * of_x)
                for n, a in arrays.items()}  # fmt: skip
    options = {**sample.options, **({} if name == "weight_norm" else {"eps": 2.0**-26})}
    dy = rng.normal(size=arrays[first].shape) * 2.0**of_dy

    def both(dtype: str) -> list[Any]:
        given, moves = ({n: a.astype(dtype) for n, a in of.items()} for of in (arrays, tangents))
        y = operation.apply("stable", given, options)
        found = operation.pull_back("stable", given, y, dy.astype(dtype), options)
        along = operation.pull_back_along(given, y, dy.astype(dtype), moves, options)
        return [found[first], along[first]]

    for single, right in zip(both("float32"), both("float64"), strict=True):
        assert np.abs(single - right).max() < 2.0**-14 * np.abs(right).max()


@pytest.mark.parametrize("name, d", [("layer_norm", 2), ("rms_norm", 1)])
def test_a_slope_of_a_huge_spread_keeps_its_digits(name: str, d: int) -> None:
    """dx is d ε/σ³, where ε/σ² = 2e-43 is no normal number of float32."""
    x, dy = np.array([[1e19, -1e19][:d]]), np.array([[1e30, 2e30][:d]])
    given = (a.astype(np.float32) for a in (x, np.ones(d), dy))
    single = LAYERS[name].backward(*given, eps=2.0**-16)["x"]
    right = dy - dy.mean() if d == 2 else dy
    np.testing.assert_allclose(single, right * 2.0**-16 / 1e57, rtol=1e-6)


@pytest.mark.parametrize("name", [*NORMS[:5], "weight_norm", "cosine_embedding"])
@pytest.mark.parametrize("size", [1e25, 2e38])
def test_the_square_of_a_huge_number_is_not_computed(name: str, size: float) -> None:
    """Value and cotangents of float32 are those of float64; of 2e38 the spread overflows, too."""
    operation, rng = LAYERS[name], np.random.default_rng(3)
    sample = operation.sample(Stream(29, 2), None if operation.takes == "nothing" else (3, 2, 4))
    sizes = {n: 1.0 if n in ("weight", "bias", "g") else size for n in sample.shapes}
    arrays = {n: rng.uniform(-1, 1, s) * sizes[n] for n, s in sample.shapes.items()}
    y = operation.apply("stable", arrays | sample.arrays, sample.options)
    dy = rng.normal(size=y.shape) * 1e20

    def both(dtype: str) -> list[Any]:
        given = {n: a.astype(dtype) for n, a in arrays.items()} | sample.arrays
        y = operation.apply("stable", given, sample.options)
        found = operation.pull_back("stable", given, y, dy.astype(dtype), sample.options)
        return [y, *found.values()]

    for single, right in zip(both("float32"), both("float64"), strict=True):
        np.testing.assert_allclose(single, right, rtol=1e-3, atol=1e-5 * np.abs(right).max())


def test_a_product_that_is_zero_does_not_scale_a_tiny_one() -> None:
    tiny = np.ldexp(np.longdouble(1), np.finfo(np.longdouble).minexp)
    p, exponent = scaled_product(np.array([0, tiny]), np.array([1, tiny]), (0,))
    assert p[1] == 0.5 and exponent == 2 * np.finfo(np.longdouble).minexp + 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NORMS[:1] + NORMS[2:5])
def test_a_mean_far_from_zero_takes_no_digits(name: str, dtype: str) -> None:
    """Of numbers that share half of their digits the spread keeps the others."""
    operation = LAYERS[name]
    for seed in range(0, 40, 4):
        given_use = draw(operation, seed, dtype)
        x = given_use.arrays["x"]
        far = x + x.dtype.type(2.0 ** (np.finfo(dtype).nmant // 2))
        given_use = given_use._replace(arrays={**given_use.arrays, "x": far})
        assert wrong(truth(operation, given_use), by_hand(operation, given_use), 16) == []


def test_a_vector_of_zeros_has_no_direction_and_the_slope_zero() -> None:
    """There weight_norm is not continuous, so `truth` allows all slopes of both branches."""
    v, g = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[2.0], [2.0]])
    found = LAYERS["weight_norm"].pull_back("stable", {"v": v, "g": g}, v, np.ones((2, 2)), {})
    assert not found["v"][0].any() and found["v"][1].all()


def test_a_triplet_without_a_difference_has_the_slope_zero_there() -> None:
    """a - p + ε is 0 in the first row, a - n + ε in the second."""
    anchor, other = np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([[4.0, 6.0], [1.5, 2.0]])
    same = anchor + 0.25
    positive, negative = np.stack([same[0], other[1]]), np.stack([other[0], same[1]])
    y = LAYERS["triplet_margin"].forward(anchor, positive, negative, margin=6.0, eps=0.25)
    far = np.hypot(2.75, 3.75), np.hypot(-0.25, 0.25)
    np.testing.assert_allclose(y, [6 - far[0], 6 + far[1]])
    found = LAYERS["triplet_margin"].backward(
        anchor, positive, negative, y, np.ones(2), margin=6.0, eps=0.25
    )
    u, w = np.array([-0.25, 0.25]) / far[1], np.array([-2.75, -3.75]) / far[0]
    np.testing.assert_allclose(found["anchor"], [-w, u])
    np.testing.assert_allclose(found["positive"], [[0, 0], -u])
    np.testing.assert_allclose(found["negative"], [w, [0, 0]])


def test_a_triplet_of_huge_differences_keeps_its_loss_and_directions() -> None:
    rng = np.random.default_rng(5)
    triplet = [rng.normal(size=(3, 4)) * 1e25 for _ in range(3)]
    dy = np.ones(3)

    def both(dtype: str) -> list[Any]:
        given = [a.astype(dtype) for a in triplet]
        y = LAYERS["triplet_margin"].forward(*given)
        found = LAYERS["triplet_margin"].backward(*given, y, dy.astype(dtype))
        return [y, *found.values()]

    for single, right in zip(both("float32"), both("float64"), strict=True):
        np.testing.assert_allclose(single, right, rtol=1e-5)


def test_a_log_sum_exp_of_no_numbers_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"axis=\(1,\) of \(2, 0\): expected at least one number"
    ):
        LAYERS["logsumexp"].forward(np.zeros((2, 0)), axis=(1,))
    assert LAYERS["logsumexp"].forward(np.zeros((0, 2)), axis=(1,)).shape == (0, 1)
    assert LAYERS["logsumexp"].forward(np.full((1, 1), 2.0), axis=(1,)) == 2
