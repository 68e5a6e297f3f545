"""Networks in bfloat16 and float16: right answers are right, injected errors of rounding show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.graph import Graph, GraphProblem, Step
from manual_backprop.layers.pooling import AdaptiveAvgPool2d
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import InvalidInput
from reference.campaign import Plan
from reference.drawing.graphs import ARCHITECTURES
from reference.evidence import outside_enclosure
from reference.formats import FORMATS, LOW, format_of
from reference.judge import (
    ACCUMULATED,
    STRICT,
    Judgement,
    TensorFinding,
    judge,
    judge_all,
)
from reference.oracles import Answer, load
from reference.oracles.enclosure import enclose
from reference.problems import (
    AnyProblem,
    Selection,
    address,
    arrays_of,
    cell,
    draw_any,
    in_dtype,
    lowered,
    parse_address,
)
from reference.rounding import RoundingUnit
from reference.translation import uses_of
from reference.trials.sensitivity import deep, inject

MANUAL = load(("manual",))["manual"]
SIZES = {"bfloat16": 2.0**-5, "float16": 2.0**-8}


def drawn(dtype: str, count: int, seed: int = 0) -> list[AnyProblem]:
    selection = Selection(dtypes=(dtype,), architectures=ARCHITECTURES)
    return [draw_any(seed, index).problem for index in selection.indices(count)]


def verdicts(problems: list[AnyProblem], answers: list[Answer]) -> list[str]:
    return [j.kind for j in judge_all(problems, {"manual": answers})]


def dense(x: Any, weight: Any, cotangent: Any, dtype: str) -> GraphProblem:
    """One product of matrices."""
    graph = Graph((Step("y", "dense", {"x": "x", "weight": "w", "bias": "b"}),), ("y",))
    kind = format_of(dtype).dtype
    arrays = {"x": np.asarray(x), "w": np.asarray(weight), "b": np.zeros(np.shape(weight)[1])}
    arrays = {name: array.astype(kind) for name, array in arrays.items()}
    return GraphProblem(graph, arrays, {"y": np.asarray(cotangent).astype(kind)})


def test_the_table_has_the_numbers_of_the_formats() -> None:
    half, brain = FORMATS["float16"], FORMATS["bfloat16"]
    assert (half.u, half.largest, half.smallest) == (2.0**-11, 65504.0, 2.0**-24)
    assert (brain.u, brain.tiny, brain.smallest) == (2.0**-8, 2.0**-126, 2.0**-133)
    assert (FORMATS["float64"].u, FORMATS["float32"].smallest) == (2.0**-53, 2.0**-149)


@pytest.mark.parametrize("dtype", LOW)
def test_the_hand_written_side_is_right_in_every_architecture(dtype: str) -> None:
    problems = drawn(dtype, 200)
    assert all(p.dtype == format_of(dtype).dtype for p in problems)
    found = verdicts(problems, MANUAL.answers(problems))
    assert set(found) <= {"AGREE", "PRECISION"}
    assert found.count("PRECISION") <= 4


@pytest.mark.parametrize("dtype", LOW)
def test_a_low_problem_is_the_same_problem_rounded(dtype: str) -> None:
    for index in Selection(dtypes=(dtype,), architectures=ARCHITECTURES).indices(40):
        low, plain = draw_any(0, index), draw_any(0, lowered(index)[1])
        assert low.cell == plain.cell._replace(dtype=dtype) == cell(index)
        assert parse_address(low.at) == (0, index)
        assert address(0, index) == low.at
        shapes = {name: array.shape for name, array in arrays_of(plain.problem).items()}
        assert {name: array.shape for name, array in arrays_of(low.problem).items()} == shapes


def test_low_dtypes_take_turns_with_the_others() -> None:
    selection = Selection(dtypes=("float32", *LOW))
    found = [cell(index).dtype for index in selection.indices(9)]
    assert sorted(found) == sorted(3 * ["float32", *LOW])


def test_second_order_is_refused_in_a_low_dtype() -> None:
    (index,) = Selection(dtypes=("float16",)).indices(1)
    with pytest.raises(InvalidInput, match="at order 2 expected one of: float64, float32"):
        draw_any(0, index, order=2)
    with pytest.raises(InvalidInput, match="at order 2 expected one of: float64, float32"):
        Plan(dtypes=("float16",), order=2, oracles=("manual",))


@pytest.mark.parametrize("dtype", LOW)
def test_rounding_towards_zero_deviates(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A injected bug: each operation's end cuts the digits off."""

    def cut(self: Any, array: Any) -> Any:
        near = np.asarray(array).astype(self._dtype)
        beyond = np.abs(near.astype(np.float64)) > np.abs(np.asarray(array, np.float64))
        return np.where(beyond, np.nextafter(near, np.zeros_like(near)), near)

    problems = drawn(dtype, 60)
    monkeypatch.setattr("reference.oracles.low_precision._Rounding.rounded", cut)
    assert verdicts(problems, MANUAL.answers(problems)).count("AGREE") <= 12


def in_low_sums(problem: GraphProblem) -> Answer:
    """Return the answer to one dense layer whose sums are accumulated in the dtype itself."""

    def product(a: Any, b: Any) -> Any:
        total = np.zeros((len(a), b.shape[1]), a.dtype)
        for k in range(b.shape[0]):
            total = total + a[:, k, None] * b[None, k]
        return total

    x, w, dy = problem.arrays["x"], problem.arrays["w"], problem.cotangents["y"]
    right = MANUAL.answer(problem)
    gradients = {"y": dy, "x": product(dy, w.T), "w": product(x.T, dy), "b": right.gradients["b"]}
    return replace(right, gradients=gradients, values={"y": product(x, w)})


@pytest.mark.parametrize("dtype", LOW)
def test_sums_in_the_low_dtype_are_excused_to_frameworks_alone(dtype: str) -> None:
    """The hand-written side computes in float32: what it loses in the dtype is a mistake."""
    stream = np.random.default_rng(3)
    x, w, dy = (stream.standard_normal(s) for s in ((64, 48), (48, 8), (64, 8)))
    problem = dense(x, w, dy, dtype)
    assert judge(problem, {"manual": MANUAL.answer(problem)}).kind == "AGREE"
    lossy = in_low_sums(problem)
    found = judge(problem, {"manual": lossy, "torch": replace(lossy, oracle="torch")})
    assert found.verdict == "DEVIATES(manual)"
    found = judge(problem, {"torch": replace(lossy, oracle="torch")})
    assert found.verdict == "PRECISION(torch)"


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("width", [4, 64])
def test_one_wrong_entry_deviates(dtype: str, width: int) -> None:
    stream = np.random.default_rng(width)
    problem = in_dtype(deep(stream, width, 3, "float32"), dtype)
    right = MANUAL.answer(problem)
    wrong = [a for _ in range(100) if (a := inject(right, SIZES[dtype], stream)) is not None]
    found = verdicts([problem] * len(wrong), wrong)
    assert found.count("DEVIATES") >= 0.99 * len(wrong)


def test_beyond_65504_infinity_is_right_and_below_it_is_not() -> None:
    problem = dense([[255.0, 255.0]], [[128.0, 64.0], [128.0, 64.0]], [[1.0, 1.0]], "float16")
    right = MANUAL.answer(problem)
    assert right.values["y"].tolist() == [[65280.0, 32640.0]]
    assert judge(problem, {"manual": right}).kind == "AGREE"
    over = dense([[256.0, 256.0]], [[128.0, 64.0], [128.0, 64.0]], [[1.0, 1.0]], "float16")
    infinite = MANUAL.answer(over)
    assert np.isinf(infinite.values["y"]).tolist() == [[True, False]]
    assert judge(over, {"manual": infinite}).kind == "AGREE"
    values = {"y": np.array([[np.inf, 32640.0]], np.float16)}
    assert judge(problem, {"manual": replace(right, values=values)}).kind == "DEVIATES"


def test_a_subnormal_is_rounded_and_not_flushed() -> None:
    problem = dense([[3 * 2.0**-24]], [[0.5]], [[1.0]], "float16")
    right = MANUAL.answer(problem)
    assert right.values["y"].item() == 2 * 2.0**-24  # to even
    assert judge(problem, {"manual": right}).kind == "AGREE"
    for y in (0.0, 4 * 2.0**-24):
        values = {"y": np.full((1, 1), y, np.float16)}
        assert judge(problem, {"torch": replace(right, oracle="torch", values=values)}).who


def test_a_loss_scale_keeps_what_underflows() -> None:
    """Cotangents of 2^-30 are 0 in float16; of 2^12 times that they are not."""
    network = Network(2, (Layer(2, "tanh"), Layer(1)), "mse", {}, "sum")
    parameters = {name: np.full(shape, 0.5, np.float16)
                  for name, shape in network.parameter_shapes().items()}  # fmt: skip
    x, targets = np.ones((2, 2), np.float16), np.zeros((2, 1), np.float16)
    found = {}
    for scale in (2.0**-24, 2.0**-12):
        weights = np.full(2, scale, np.float16)
        problem = Problem(network, parameters, x, targets, weights)
        answer = MANUAL.answer(problem)
        assert judge(problem, {"manual": answer}).kind == "AGREE"
        found[scale] = answer.gradients["layers.0.weight"]
    exact = MANUAL.answer(in_dtype(problem, "float64")).gradients["layers.0.weight"]
    assert np.abs(found[2.0**-12] - exact).max() < 2.0**-9 * np.abs(exact).max()
    assert np.abs(found[2.0**-24] * 2.0**12 - exact).max() > 2.0**-5 * np.abs(exact).max()


def test_problems_in_float16_come_at_several_loss_scales() -> None:
    largest = [max(float(np.abs(c.astype(np.float64)).max()) for c in p.cotangents.values())
               for p in drawn("float16", 80) if isinstance(p, GraphProblem)]  # fmt: skip
    assert any(size > 2.0**8 for size in largest)
    assert any(size < 2.0**6 for size in largest)


def test_joined_operations_are_excused_to_a_compiler_alone() -> None:
    """An output that was computed from what was not rounded between two operations."""
    graph = Graph((Step("a", "tanh", {"x": "x"}), Step("y", "tanh", {"x": "a"})), ("y",))
    x = np.linspace(0.1, 2.0, 64).astype(format_of("bfloat16").dtype)
    problem = GraphProblem(graph, {"x": x}, {"y": np.ones_like(x)})
    right = MANUAL.answer(problem)
    unrounded = np.tanh(np.tanh(x.astype(np.float32))).astype(x.dtype)
    joined = replace(right, values={**right.values, "y": unrounded})
    assert judge(problem, {"manual": right}).kind == "AGREE"
    assert judge(problem, {"manual": joined}).kind != "AGREE"
    assert judge(problem, {"jax": replace(joined, oracle="jax")}).kind == "AGREE"


def triplets(anchor: float, other: float, dtype: str = "float16") -> GraphProblem:
    """One triplet of numbers that are this far from 0, with ε = 2^-20."""
    arrays = {"a": [[anchor]], "p": [[0.25]], "n": [[other]]}
    names = {"anchor": "a", "positive": "p", "negative": "n"}
    options = {"margin": 0.5, "eps": 2.0**-20}
    graph = Graph((Step("y", "triplet_margin", names, options=options),), ("y",))
    kind = format_of(dtype).dtype
    given = {name: np.asarray(array).astype(kind) for name, array in arrays.items()}
    return GraphProblem(graph, given, {"y": np.ones(1).astype(kind)})


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("keys", ["different", "equal"])
def test_a_query_that_sees_one_key_may_keep_the_rounding_of_its_terms(
    dtype: str, keys: str
) -> None:
    """Its gradient is 0: p = 1, and of p (dp - Σ p dp) the rounding of p dp is left."""
    graph = Graph((Step("y", "attention", {n: n for n in "qkv"}, {"causal": True}),), ("y",))
    rng, kind = np.random.default_rng(6), format_of(dtype).dtype
    arrays = {n: rng.normal(size=(3, 2)).astype(kind) for n in "qkv"}
    if keys == "equal":
        arrays["k"][:] = arrays["k"][0]
    problem = GraphProblem(graph, arrays, {"y": rng.normal(size=(3, 2)).astype(kind)})
    right = replace(MANUAL.answer(problem), oracle="jax")
    assert not right.gradients["q"][0].any()
    dy, v, k = (np.asarray(a, float) for a in (problem.cotangents["y"], arrays["v"], arrays["k"]))
    terms = np.abs(dy[0] * v[0]).sum() * np.abs(k[0, 0])
    rounding = FORMATS[format_of(dtype).inside].u
    for error, verdict in ((rounding, "PRECISION"), (2**10 * format_of(dtype).u, "DEVIATES")):
        q = right.gradients["q"].copy()
        q[0, 0] = error * terms
        found = judge(problem, {"jax": replace(right, gradients={**right.gradients, "q": q})})
        assert found.kind == verdict, error


def test_a_value_is_judged_where_its_slope_is_unknown() -> None:
    """Found in float16: ‖a - n + ε‖ = 0, whose slope is 0/0, and whose value is 0."""
    problem = triplets(-6 * 2.0**-24, 10 * 2.0**-24)
    right = MANUAL.answer(problem)
    assert right.values["y"].tolist() == [0.75]
    assert judge(problem, {"manual": right}).kind == "AGREE"
    values = {"y": np.nextafter(right.values["y"], np.float16(1))}
    assert judge(problem, {"manual": replace(right, values=values)}).kind == "DEVIATES"


def test_what_an_end_adds_and_where_it_is_open() -> None:
    strict, accumulated = (RoundingUnit("float16", m) for m in (STRICT, ACCUMULATED))
    assert strict.result_rounding(np.array([1.0, 65504.0, 65505.0])).tolist() == [
        2.0**-11 + 2.0**-24, 32 - 2.0**-6 + 2.0**-24, np.inf,
    ]  # fmt: skip
    assert strict.u == 2.0**-24
    assert accumulated.u == 2.0**-11
    assert not RoundingUnit("float32", STRICT).result_rounding(np.ones(2)).any()


def test_a_mean_is_not_spoilt_by_an_infinite_neighbour() -> None:
    """Found in float16: a product with a matrix made NaN of every window."""
    x = np.ones((1, 1, 1, 4))
    x[..., 3] = np.inf
    assert AdaptiveAvgPool2d.forward(x, size=(1, 2)).tolist() == [[[[1.0, np.inf]]]]
    dx: Mapping[str, Any] = AdaptiveAvgPool2d.backward(
        x, np.array([[[[2.0, np.inf]]]]), size=(1, 2)
    )
    assert dx["x"].tolist() == [[[[1.0, 1.0, np.inf, np.inf]]]]


@pytest.mark.parametrize("dtype", LOW)
def test_torch_answers_in_its_own_low_precision(dtype: str) -> None:
    pytest.importorskip("torch")
    torch = load(("torch",))["torch"]
    problems = [draw_any(0, i).problem for i in Selection(
        regimes=("ordinary",), dtypes=(dtype,), architectures=("dense", "convolution", "recurrent")
    ).indices(24)]  # fmt: skip
    answers = torch.answers(problems)
    assert {a.status for a in answers} <= {"ok", "unsupported"}
    assert sum(a.status == "ok" for a in answers) >= 20
    for problem, answer in zip(problems, answers, strict=True):
        assert all(g.dtype == problem.dtype for g in answer.gradients.values())
    found = [j.kind for j in judge_all(problems, {"torch": answers})]
    assert set(found) <= {"AGREE", "PRECISION", "UNSUPPORTED", "CONVENTION"}
    assert found.count("AGREE") >= 12


def test_a_sum_may_leave_the_range_on_the_way_to_its_value() -> None:
    """Found in float16: torch rounds x W, 65,536, and then adds the bias."""
    problem = dense([[256.0, 64.0]], [[256.0], [0.0]], [[1.0]], "float16")
    problem.arrays["b"][:] = -4096.0
    right = MANUAL.answer(problem)
    assert right.values["y"].tolist() == [[61440.0]]
    values = {"y": np.array([[np.inf]], np.float16)}
    infinite = replace(right, values=values, oracle="torch")
    assert judge(problem, {"torch": infinite}).verdict == "PRECISION(torch)"
    assert judge(problem, {"manual": replace(right, values=values)}).kind == "DEVIATES"


def network_problem(
    loss: str, y: Any, targets: Any, activation: str = "identity", dtype: str = "float16"
) -> Problem:
    """A layer that hands on what it is given."""
    kind, y = format_of(dtype).dtype, np.asarray(y, np.float64)
    width = y.shape[1]
    network = Network(width, (Layer(width, activation, bias=False),), loss)
    weight = {"layers.0.weight": np.eye(width).astype(kind)}
    t = np.asarray(targets)
    return Problem(network, weight, y.astype(kind), t if t.dtype.kind == "i" else t.astype(kind))


def test_torch_refuses_a_nan_and_that_is_no_crash() -> None:
    pytest.importorskip("torch")
    y = [[np.inf, -np.inf], [0.25, 0.75]]
    problem = network_problem("binary_cross_entropy", y, [[0.0, 1.0], [0.0, 1.0]], "softmax")
    answer = load(("torch",))["torch"].answer(problem)
    assert answer.status == "unsupported"
    assert "between 0 and 1" in answer.reason
    wrong = network_problem("binary_cross_entropy", [[1.5, 0.5]], [[0.0, 1.0]], dtype="float32")
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        load(("torch",))["torch"].answer(wrong)


def test_a_composition_is_computed_in_float32() -> None:
    """The squares of a norm pass 65,504, and JAX's libraries do not compute them in float16."""
    pytest.importorskip("jax")
    names = {"x": "x", "weight": "w"}
    graph = Graph((Step("y", "rms_norm", names, options={"eps": 2.0**-16}),), ("y",))
    arrays = {"x": np.array([[300.0, -600.0]], np.float16), "w": np.ones(2, np.float16)}
    problem = GraphProblem(graph, arrays, {"y": np.array([[1.0, 2.0]], np.float16)})
    answer = load(("jax",))["jax"].answer(problem)
    assert answer.gradients["x"].dtype == np.float16
    assert judge(problem, {"jax": answer}).kind == "AGREE"


def test_what_overflowed_is_in_the_enclosure_of_the_network() -> None:
    """Found in float16: NaN behind an overflow, where a slope of l1 is never more than 1."""
    network = Network(2, (Layer(2, bias=False), Layer(2, bias=False)), "l1")
    weights = {"layers.0.weight": 2 * np.eye(2), "layers.1.weight": np.ones((2, 2))}
    parameters = {name: weight.astype(np.float16) for name, weight in weights.items()}
    x = np.array([[60000.0, -60000.0]], np.float16)
    problem = Problem(network, parameters, x, np.zeros((1, 2), np.float16))
    answer = MANUAL.answer(problem)
    assert np.isnan(np.asarray(answer.gradients["layers.1.a"], np.float32)).all()
    assert outside_enclosure(enclose(problem, RoundingUnit("float16", STRICT)), answer) is None


@pytest.mark.parametrize("dtype", LOW)
def test_the_translation_is_compared_in_float32(dtype: str) -> None:
    for index in Selection(dtypes=(dtype,), architectures=("dense", "stack")).indices(4):
        one = draw_any(0, index)
        assert one.problem.dtype == format_of(dtype).dtype
        finding = TensorFinding("torch", "loss", None, (), 1.0, 0.0)
        uses = list(uses_of(one, Judgement("DEVIATES", ("torch",), (finding,)), "torch"))
        problems = [problem for use in uses for problem in use.problems()]
        assert {problem.dtype for problem in problems} == {np.dtype(np.float32)}
