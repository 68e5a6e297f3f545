"""The sums over alignments: against all alignments, the frameworks and optax."""

from dataclasses import replace
from itertools import groupby, product
from typing import Any

import numpy as np
import pytest

from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.layers import LAYERS
from manual_backprop.operation import InvalidInput
from reference.judge import judge
from reference.oracles import load
from reference.oracles.manual import Manual

CTC = LAYERS["ctc"]
GRAPH = Graph((Step("y", "ctc", {n: n for n in CTC.arguments}),), ("y",))


def every_alignment(x: Any, labels: list[int], blank: int) -> float:
    """Return -log P of one sample, from all C^T alignments."""
    total = 0.0
    for path in product(range(x.shape[1]), repeat=len(x)):
        merged = [c for c, _ in groupby(path)]
        if [c for c in merged if c != blank] == labels:
            total += np.exp(sum(x[t, c] for t, c in enumerate(path)))
    return float(-np.log(total))


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("labels", [[], [0], [0, 1], [0, 0], [0, 1, 0], [1, 1, 0]])
def test_ctc_is_the_sum_over_all_alignments(labels: list[int], blank: int) -> None:
    """Of 5 steps, of 4 with one of padding; `labels` count the classes that are not the blank."""
    x = np.random.default_rng(1).normal(size=(5, 2, 3))
    own = [label + (label >= blank) for label in labels]
    padding = [(blank + 1) % 3] * (3 - len(own))
    target, lengths = np.array([own + padding] * 2), np.array([len(own)] * 2)
    given = target, np.array([5, 4]), lengths
    found = CTC.forward(x, *given, blank=blank)
    right = [every_alignment(x[:, 0], own, blank), every_alignment(x[:4, 1], own, blank)]
    np.testing.assert_allclose(found, right, rtol=1e-13)
    dx = CTC.backward(x, *given, np.ones(2), blank=blank)["x"]
    np.testing.assert_allclose(dx.sum(axis=2), [[-1, -1]] * 4 + [[-1, 0]], rtol=1e-13)


def test_ctc_without_labels_is_the_sum_of_the_blanks() -> None:
    x = np.random.default_rng(1).normal(size=(3, 1, 2))
    given = np.zeros((1, 0), int), np.array([3]), np.array([0])
    np.testing.assert_allclose(CTC.forward(x, *given, blank=1), -x[:, :, 1].sum(axis=0))
    dx = CTC.backward(x, *given, np.ones(1), blank=1)["x"]
    np.testing.assert_array_equal(dx, np.broadcast_to([0.0, -1.0], x.shape))


def test_a_label_beyond_the_sample_s_own_is_not_read() -> None:
    x = np.zeros((2, 1, 3))
    x[:, :, 2] = np.nan
    given = np.array([[1, 2]]), np.array([2]), np.array([1])
    np.testing.assert_allclose(CTC.forward(x, *given), -np.log(3))
    dx = CTC.backward(x, *given, np.ones(1))["x"]
    np.testing.assert_allclose(dx[:, 0], [[-1 / 3, -2 / 3, 0]] * 2)


def test_ctc_of_too_few_steps_is_infinite_or_zero() -> None:
    """Two equal labels need three steps."""
    x, dy = np.zeros((2, 1, 3)), np.ones(1)
    given = np.array([[1, 1]]), np.array([2]), np.array([2])
    with np.errstate(all="ignore"):
        assert CTC.forward(x, *given) == np.inf
        assert np.isnan(CTC.backward(x, *given, dy)["x"]).any()
        assert CTC.forward(x, *given, zero_infinity=True) == 0
        assert not CTC.backward(x, *given, dy, zero_infinity=True)["x"].any()


@pytest.mark.parametrize("wrong, message", [
    ({"target": [[0, 1]]}, "target: 0 is the blank, expected other labels"),
    ({"target": [[1, 3]]}, "target: 3, expected 0 to 2"),
    ({"input_lengths": [5]}, "input_lengths: 5, expected 1 to 4"),
    ({"target_lengths": [3]}, "target_lengths: 3, expected 0 to 2"),
    ({"blank": 3}, "blank: 3, expected 0 to 2"),
])  # fmt: skip
def test_ctc_refuses_labels_and_lengths_out_of_range(wrong: dict[str, Any], message: str) -> None:
    given = {"target": [[1, 2]], "input_lengths": [4], "target_lengths": [2], "blank": 0, **wrong}
    blank = given.pop("blank")
    with pytest.raises(InvalidInput, match=message):
        CTC.forward(np.zeros((4, 1, 3)), *map(np.array, given.values()), blank=blank)


def test_ctc_of_a_log_softmax_agrees_with_both_frameworks_and_with_optax() -> None:
    """By the logits, PyTorch's gradient is the right one; optax.ctc_loss takes them itself."""
    optax = pytest.importorskip("optax")
    rng = np.random.default_rng(2)
    steps = (
        Step("x", "log_softmax", {"x": "z"}),
        Step("y", "ctc", {n: n for n in ("x", "target", "input_lengths", "target_lengths")}),
    )
    arrays = {"z": rng.normal(size=(6, 2, 4)), "target": np.array([[1, 1], [3, 2]]),
              "input_lengths": np.array([6, 4]), "target_lengths": np.array([2, 1])}  # fmt: skip
    problem = GraphProblem(Graph(steps, ("y",)), arrays, {"y": rng.normal(size=2)})
    answers = {
        name: oracle.answer(problem) for name, oracle in load(("manual", "torch", "jax")).items()
    }
    right = answers["manual"]
    for answer in answers.values():
        np.testing.assert_allclose(answer.values["y"], right.values["y"], rtol=1e-13)
        np.testing.assert_allclose(answer.gradients["z"], right.gradients["z"], atol=1e-14)
    beyond = np.arange(6) >= arrays["input_lengths"][:, None]
    unused = np.arange(2) >= arrays["target_lengths"][:, None]
    losses = optax.ctc_loss(
        arrays["z"].swapaxes(0, 1), beyond * 1.0, arrays["target"], unused * 1.0
    )
    np.testing.assert_allclose(losses, right.values["y"], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_huge_loss_is_certified(dtype: str) -> None:
    """A mask of -1e35 and more is no missing alignment: it is above what stands for log 0."""
    lengths = {"input_lengths": np.array([1]), "target_lengths": np.array([1])}
    arrays = {"x": np.full((1, 1, 2), -1e35, dtype), "target": np.array([[1]]), **lengths}
    problem = GraphProblem(GRAPH, arrays, {"y": np.ones(1, dtype)})
    right = Manual().answer(problem)
    assert right.values["y"] == arrays["x"][0, 0, 1] * -1
    assert judge(problem, {"manual": right}).kind == "AGREE"
    wrong = replace(right, values={"y": right.values["y"] / 2})
    assert judge(problem, {"manual": wrong}).kind == "DEVIATES"


def test_nothing_comes_back_from_beyond_the_last_step() -> None:
    """Also of an infinite cotangent or tangent there: 0, not 0 · ∞."""
    given = np.zeros((3, 1, 2)), np.array([[1]]), np.array([2]), np.array([1])
    beyond = np.zeros((3, 1, 2))
    beyond[2] = np.inf
    with np.errstate(all="ignore"):
        dx = CTC.backward(*given, np.array([np.inf]))["x"]
        ty = CTC.tangent(*given, beyond)
    assert not dx[2].any() and dx[0, 0, 1] == -np.inf
    assert ty == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_jax_tells_a_huge_loss_from_an_impossible_target(dtype: str, zero_infinity: bool) -> None:
    """Two equal labels need three steps; a loss of 9e37 is no -log 0."""
    lengths = {"input_lengths": np.array([2, 2, 3]), "target_lengths": np.array([2, 2, 2])}
    target = np.array([[1, 1], [1, 2], [1, 1]])
    arrays = {"x": np.full((3, 3, 3), -3e37, dtype), "target": target, **lengths}
    step = Step("y", "ctc", {n: n for n in CTC.arguments}, {"zero_infinity": zero_infinity})
    problem = GraphProblem(Graph((step,), ("y",)), arrays, {"y": np.ones(3, dtype)})
    answer = load(("jax",))["jax"].answer(problem)
    np.testing.assert_allclose(
        answer.values["y"], [0 if zero_infinity else np.inf, 6e37, 9e37], rtol=1e-6
    )
    right = CTC.backward(**arrays, dy=np.ones(3, dtype), zero_infinity=True)
    np.testing.assert_allclose(answer.gradients["x"], right["x"], rtol=1e-6)


def test_a_loss_that_is_always_zero_has_no_slope_for_an_infinite_cotangent_or_tangent() -> None:
    given = np.zeros((2, 1, 3)), np.array([[1, 1]]), np.array([2]), np.array([2])
    tangent = np.full((2, 1, 3), np.inf)
    with np.errstate(all="ignore"):
        dx = CTC.backward(*given, np.array([np.inf]), zero_infinity=True)["x"]
        ty = CTC.tangent(*given, tangent, zero_infinity=True)
    assert not dx.any() and ty == 0


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (3, 2), r"x, target: shapes \(3, 2\) and \(2, 1\), expected \(T, N, C\)"),
        ("target", (3, 1), r"target: shape \(3, 1\), expected \(2, 1\)"),
        ("input_lengths", (3,), r"input_lengths: shape \(3,\), expected \(2,\)"),
        ("target_lengths", (2, 1), r"target_lengths: shape \(2, 1\), expected \(2,\)"),
    ],
)
def test_a_wrong_shape_is_named(name: str, shape: tuple[int, ...], message: str) -> None:
    arrays = {"x": np.zeros((3, 2, 3)), "target": np.ones((2, 1), int)}
    arrays |= {n: np.ones(2, int) for n in ("input_lengths", "target_lengths")}
    arrays[name] = np.ones(shape, arrays[name].dtype)
    with pytest.raises(InvalidInput, match=message):
        LAYERS["ctc"].forward(**arrays, blank=0, zero_infinity=False)
