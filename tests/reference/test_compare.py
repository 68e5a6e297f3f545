"""Distances: what they measure, and that a bug injected in them is seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reference import compare as compare_module
from reference.compare import compare, distance, farthest, largest_finite, ulps_between
from reference.oracles import Answer

floats = st.floats(width=64, allow_nan=False)


@given(floats, st.integers(0, 50))
def test_ulps_count_the_floats_in_between(start: float, steps: int) -> None:
    end, moved = np.float64(start), 0
    with np.errstate(over="ignore"):  # the step from the largest number to infinity
        for _ in range(steps):
            before, end = end, np.nextafter(end, np.inf)
            moved += int(end > before)
    assert ulps_between(np.float64(start), end) == moved


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ulps_pass_zero_and_know_the_line(dtype: type) -> None:
    tiny = np.nextafter(dtype(0), dtype(1))
    assert ulps_between(-tiny, tiny) == 2
    assert ulps_between(dtype(-0.0), dtype(0.0)) == 0
    assert ulps_between(dtype(1), dtype(1) + np.finfo(dtype).eps) == 1
    assert ulps_between(dtype(np.nan), dtype(1)) == math.inf
    assert ulps_between(dtype(np.nan), dtype(np.nan)) == 0
    assert ulps_between(-np.finfo(dtype).max, np.finfo(dtype).max) > 2**31


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-8, 8)), st.integers(0, 11))
def test_the_worst_entry_is_found(a: np.ndarray, at: int) -> None:
    b = a.copy()
    b.flat[at] += 1.0
    found = distance("t", a, b)
    assert found.index == tuple(np.unravel_index(at, a.shape))
    assert found.difference == pytest.approx(1.0)
    assert found.scaled == found.difference / max(np.abs(a).max(), np.abs(b).max())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_infinitely_far_unless_both_are_the_same(bad: float) -> None:
    a = np.array([1.0, bad])
    assert distance("t", a, a.copy()).difference == 0
    assert distance("t", a, np.array([1.0, 2.0])).scaled == math.inf


def test_another_shape_or_dtype_is_infinitely_far() -> None:
    a = np.ones((2, 3))
    assert distance("t", a, a.T).scaled == math.inf
    assert distance("t", a, a.astype(np.float32)).scaled == math.inf


@pytest.mark.parametrize("who", ["left", "right"])
def test_one_tensor_of_another_dtype_is_infinitely_far_on_either_side(who: str) -> None:
    """Equal numbers: float32 has them all, so that only the dtype tells the two apart."""
    plain = Answer("a", np.float32(1), {n: np.ones(2, np.float32) for n in ("w", "b")})
    odd = replace(plain, gradients={**plain.gradients, "w": np.ones(2)})
    pair = (odd, plain) if who == "left" else (plain, odd)
    same, found = farthest({"a": [plain, pair[0]], "b": [plain, pair[1]]})
    assert same == (0, "loss", "a, a")
    assert found == (math.inf, "w", "a, a")


def test_loss_comes_first_and_every_tensor_follows() -> None:
    gradients = {"layers.0.weight": np.ones((2, 3)), "x": np.ones((4, 2))}
    left = Answer("manual", np.float64(1), gradients)
    right = Answer("torch", np.float64(2), {k: v + 1 for k, v in gradients.items()})
    assert [d.tensor for d in compare(left, right)] == ["loss", "layers.0.weight", "x"]
    assert all(d.difference == 1 for d in compare(left, right))


@pytest.mark.parametrize(
    "injected",
    [
        lambda a, b: np.zeros(np.shape(a)),  # finds nothing
        lambda a, b: np.nan_to_num(np.abs(a - b), nan=0.0),  # a NaN passes
        lambda a, b: np.abs(np.abs(a) - np.abs(b)),  # a sign passes
        lambda a, b: np.where(np.arange(a.size).reshape(a.shape) == 0, np.abs(a - b), 0),
    ],
    ids=["nothing", "nan", "sign", "first entry only"],
)
def test_a_bug_injected_in_the_comparison_is_caught(
    injected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes that a right comparison passes and each of these wrong ones fails."""

    def probes_pass() -> bool:
        a = np.array([1.0, 2.0, 3.0])
        wrong = [np.array([1.0, 2.0, 4.0]), np.array([1.0, np.nan, 3.0]), np.array([1.0, -2.0, 3])]
        return all(distance("t", a, b).difference > 0 for b in wrong)

    assert probes_pass()
    monkeypatch.setattr(compare_module, "absolute_difference", injected)
    assert not probes_pass()


NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, 1e-30, 1e30, np.inf, -np.inf, np.nan])


@st.composite
def pairs_of_answers(draw: st.DrawFn) -> tuple[Answer, Answer]:
    """Two answers with tensors of several sizes; entries, a shape or a whole tensor may differ."""
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    left, right = {}, {}
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True)):
        shape = draw(st.sampled_from([(1,), (2, 3), (4,)]))
        left[name] = draw(hnp.arrays(dtype, shape, elements=NUMBERS.map(dtype)))
        right[name] = left[name].copy()
        how = draw(st.sampled_from(["same", "entry", "shape", "gone"]))
        if how == "entry":
            right[name].flat[draw(st.integers(0, right[name].size - 1))] = draw(NUMBERS)
        elif how == "shape":
            right[name] = np.zeros((5, 1), dtype)
        elif how == "gone":
            del right[name]
    return Answer("a", dtype(1.0), left), Answer("b", dtype(draw(NUMBERS)), right)


@given(st.lists(pairs_of_answers(), max_size=5), st.integers(1, 40))
@np.errstate(all="ignore")
def test_of_many_problems_the_farthest_is_what_each_tensor_by_itself_says(
    pairs: list[tuple[Answer, Answer]], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reference.compare.AT_ONCE", at_once)
        found = farthest({"a": [left for left, _ in pairs], "b": [right for _, right in pairs]})
    assert len(found) == len(pairs)
    for (left, right), together in zip(pairs, found, strict=True):
        alone = {}
        for name, a in {"loss": np.asarray(left.loss), **left.gradients}.items():
            b = np.asarray(right.loss) if name == "loss" else right.gradients.get(name, np.empty(0))
            far = distance(name, a, b).difference
            scale = largest_finite(a)
            alone[name] = far / scale if far and scale else math.inf if far else 0.0
        assert together.scaled == max(alone.values())
        assert alone[together.tensor] == together.scaled
        assert together.between == "a, b"


def test_of_three_sides_the_farthest_from_the_first_is_named() -> None:
    def side(name: str, off: float) -> Answer:
        return Answer(name, np.float64(1), {"w": np.array([2.0, 4.0 + off])})

    skipped = Answer("jax", status="skipped", reason="not installed")
    given = {"manual": side("manual", 0), "torch": side("torch", 1), "jax": side("jax", -2)}
    assert farthest({name: [one] for name, one in given.items()}) == [(0.5, "w", "manual, jax")]
    (found,) = farthest({**{name: [one] for name, one in given.items()}, "jax": [skipped]})
    assert found == (0.25, "w", "manual, torch")
    assert farthest({"manual": [given["manual"]], "jax": [skipped]}) == [(0, "", "")]
