"""The judge is judged: injected bugs are named, right answers are cleared, each verdict occurs."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import FloatArray
from reference.blocks.weigh import TensorFinding
from reference.evidence import Evidence, gather
from reference.judge import Judgement, another_function, judge, judge_all, operation_at
from reference.oracles import Answer, crashed, load, skipped, unsupported
from reference.problems import Selection, draw
from reports.records import encode

MANUAL = load(("manual",))["manual"]
INJECTED = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}


def problem_of(
    activation: str = "tanh",
    loss: str = "mse",
    *,
    widths: tuple[int, ...] = (3, 5, 2),
    dtype: Any = np.float64,
    seed: int = 0,
    batch: int = 4,
    scale: float = 1.0,
) -> Problem:
    stream = np.random.default_rng(seed)
    layers = (*(Layer(w, activation) for w in widths[1:-1]), Layer(widths[-1]))
    network = Network(widths[0], layers, loss, {}, "mean")
    parameters = {
        k: (scale * stream.standard_normal(s)).astype(dtype)
        for k, s in network.parameter_shapes().items()
    }
    x = stream.standard_normal((batch, widths[0])).astype(dtype)
    shape = (batch, widths[-1])
    targets = {
        "cross_entropy": stream.integers(0, widths[-1], batch),
        "bce_with_logits": stream.uniform(0, 1, shape).astype(dtype),
    }.get(loss, stream.standard_normal(shape).astype(dtype))
    weights = stream.uniform(0.5, 2, batch).astype(dtype)
    return Problem(network, parameters, x, targets, weights)


def answers_of(problem: Problem, *names: str) -> dict[str, Answer]:
    """The correct answer under several names."""
    right = MANUAL.answer(problem)
    return {name: dataclasses.replace(right, oracle=name) for name in names}


def changed(answer: Answer, tensor: str, change: Callable[[FloatArray], Any]) -> Answer:
    tensors = dict(answer.gradients)
    tensors[tensor] = np.asarray(change(tensors[tensor].copy()))
    return dataclasses.replace(answer, gradients=tensors)


def verdict_of(problem: Problem, answers: Mapping[str, Answer]) -> Judgement:
    return judge(problem, answers)


def evidence_of(problem: Problem, answers: Mapping[str, Answer]) -> Evidence:
    return gather(problem, answers, judge(problem, answers))


def added_at(entry: int, by: float) -> Callable[[FloatArray], FloatArray]:
    def change(g: FloatArray) -> FloatArray:
        g.flat[entry] += by
        return g

    return change


def off_at(entry: int, by: float) -> Callable[[FloatArray], FloatArray]:
    def change(g: FloatArray) -> FloatArray:
        g.flat[entry] += by * np.abs(g).max()
        return g

    return change


# -- the six verdicts -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("who", ["manual", "torch", "jax"])
@given(data=st.data())
def test_one_entry_slightly_wrong_deviates_and_the_others_are_cleared(
    dtype: Any, who: str, data: st.DataObject
) -> None:
    activation = data.draw(st.sampled_from(["tanh", "relu", "gelu", "softmax", "softplus"]))
    loss = data.draw(st.sampled_from(["mse", "cross_entropy", "bce_with_logits"]))
    problem = problem_of(activation, loss, dtype=dtype, seed=data.draw(st.integers(0, 50)))
    answers = answers_of(problem, "manual", "torch", "jax")
    tensor = data.draw(st.sampled_from(sorted(answers[who].gradients)))
    entry = data.draw(st.integers(0, answers[who].gradients[tensor].size - 1))
    by = INJECTED[np.dtype(dtype)] * data.draw(st.sampled_from([-1, 1]))
    # A sum is as exact as its terms: a bias whose terms cancel may be off by all of its digits.
    terms = answers[who].gradients.get(f"{tensor.rpartition('.')[0]}.z", np.zeros(1))
    gradient = answers[who].gradients[tensor]
    by *= float(max(np.abs(gradient).max(), np.abs(terms).max()))
    if by == 0:
        return
    answers[who] = changed(answers[who], tensor, added_at(entry, by))
    found = verdict_of(problem, answers)
    assert found.verdict == f"DEVIATES({who})"
    assert found.leading is not None
    # Where a cancelled sum may lose as much, the step after it is the first that cannot be.
    lost = [f for f in found.findings if f.tensor == tensor and f.oracle == who and f.model]
    assert found.leading.tensor == tensor or any(f.error >= 0.9 * abs(by) for f in lost)


@given(index=st.integers(0, 100_000))
def test_the_hand_written_gradient_never_deviates(index: int) -> None:
    problem = draw(5, index).problem
    found = verdict_of(problem, answers_of(problem, "manual", "torch"))
    assert found.kind in ("AGREE", "PRECISION"), found


@pytest.mark.parametrize("step", ["layers.0.z", "layers.0.a", "layers.1.z"])
def test_a_wrong_value_is_named_where_it_is_made(step: str) -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch")
    values = dict(answers["torch"].values)
    values[step] = off_at(0, 1e-9)(values[step].copy())
    answers["torch"] = replace(answers["torch"], values=values)
    found = verdict_of(problem, answers)
    assert found.verdict == "DEVIATES(torch)"
    assert f"forward {step}" in {f.tensor for f in found.findings if f.is_wrong}
    operation = operation_at(problem, f"forward {step}")
    assert operation == ("tanh" if step.endswith("a") else "dense")


def test_equal_answers_agree() -> None:
    problem = problem_of()
    found = verdict_of(problem, answers_of(problem, "manual", "torch", "jax"))
    assert found.verdict == "AGREE" and not found.findings


def test_all_alike_and_all_wrong_deviate() -> None:
    problem = problem_of()
    answers = {
        name: changed(answer, "x", off_at(0, 1e-6))
        for name, answer in answers_of(problem, "manual", "torch").items()
    }
    found = verdict_of(problem, answers)
    assert found.verdict == "DEVIATES(manual, torch)"


def tanh_slope_from_the_output(problem: Problem) -> Answer:
    """The textbook 1 - y², which has no digits left where y is nearly 1."""
    right = MANUAL.answer(problem)
    y = np.tanh(problem.x @ problem.parameters["layers.0.weight"])
    dz = right.gradients["layers.0.a"] * (1 - y * y)
    weight = problem.parameters["layers.0.weight"]
    gradients = {
        **right.gradients,
        "layers.0.z": dz,
        "layers.0.weight": problem.x.T @ dz,
        "x": dz @ weight.T,
    }
    return dataclasses.replace(right, gradients=gradients)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_lost_by_convention_are_precision(dtype: Any) -> None:
    network = Network(2, (Layer(3, "tanh", bias=False), Layer(2)), "mse")
    stream = np.random.default_rng(0)
    parameters = {
        k: (6 * stream.standard_normal(s)).astype(dtype)
        for k, s in network.parameter_shapes().items()
    }
    x = np.ones((3, 2), dtype) + stream.uniform(0, 1, (3, 2)).astype(dtype)
    problem = Problem(network, parameters, x, np.zeros((3, 2), dtype))
    answers = answers_of(problem, "manual", "jax")
    answers["torch"] = dataclasses.replace(tanh_slope_from_the_output(problem), oracle="torch")
    found = verdict_of(problem, answers)
    assert found.verdict == "PRECISION(torch)"
    assert "digits are lost" in evidence_of(problem, answers).sentence


def on_the_kink_of_relu() -> tuple[Problem, dict[str, Answer]]:
    problem = problem_of("relu")
    parameters = dict(problem.parameters)
    parameters["layers.0.weight"] = parameters["layers.0.weight"] * 0
    parameters["layers.0.bias"] = parameters["layers.0.bias"] * 0
    problem = dataclasses.replace(problem, parameters=parameters)
    return problem, answers_of(problem, "manual", "torch", "jax")


def with_slope(problem: Problem, answer: Answer, slope: float) -> Answer:
    dz = slope * answer.gradients["layers.0.a"]
    gradients = {
        **answer.gradients,
        "layers.0.z": dz,
        "layers.0.weight": problem.x.T @ dz,
        "layers.0.bias": dz.sum(0),
        "x": dz @ problem.parameters["layers.0.weight"].T,
    }
    return dataclasses.replace(answer, gradients=gradients)


@pytest.mark.parametrize("slope", [0.5, 1.0])
def test_another_slope_on_a_kink_is_a_convention(slope: float) -> None:
    problem, answers = on_the_kink_of_relu()
    answers["jax"] = with_slope(problem, answers["jax"], slope)
    found = verdict_of(problem, answers)
    assert found.verdict == "CONVENTION"
    evidence = evidence_of(problem, answers)
    assert evidence.enclosure is not None and not evidence.enclosure.thin
    assert evidence.operation == "relu" and "every slope" in evidence.sentence


def test_digits_that_are_lost_at_a_kink_are_shown_as_lost() -> None:
    problem, answers = on_the_kink_of_relu()
    answers["jax"] = with_slope(problem, answers["jax"], 1.0)
    assert verdict_of(problem, answers).verdict == "CONVENTION"
    loss = np.asarray(answers["torch"].loss)
    answers["torch"] = replace(answers["torch"], loss=loss * (1 + 4e-15))
    assert verdict_of(problem, answers).verdict == "PRECISION(torch)"


@pytest.mark.parametrize("slope", [1.0001, -0.0001])
def test_a_slope_outside_of_the_one_sided_ones_deviates_on_a_kink_too(slope: float) -> None:
    problem, answers = on_the_kink_of_relu()
    answers["jax"] = with_slope(problem, answers["jax"], slope)
    assert verdict_of(problem, answers).verdict == "DEVIATES(jax)"


def test_each_side_is_judged_at_its_own_numbers() -> None:
    """A pre-activation that rounding moves across a kink: each slope is right where it is."""
    network = Network(2, (Layer(1, "relu"), Layer(1)), "mse", {}, "sum")
    parameters = {
        "layers.0.weight": np.array([[0.1], [0.2]]),
        "layers.0.bias": np.array([-0.1 * 3 - 0.2 * 3]),
        "layers.1.weight": np.ones((1, 1)),
        "layers.1.bias": np.zeros(1),
    }
    problem = Problem(network, parameters, np.full((1, 2), 3.0), np.ones((1, 1)))
    answers = answers_of(problem, "manual", "torch")
    z = answers["torch"].values["layers.0.z"]
    values = {**answers["torch"].values, "layers.0.z": -np.abs(z) - 1e-17}
    values["layers.0.a"] = np.zeros_like(z)
    other = with_slope(problem, replace(answers["torch"], values=values), 0.0)
    other.gradients["layers.1.weight"][:] = 0.0  # type: ignore[index]
    assert verdict_of(problem, {**answers, "torch": other}).kind in ("AGREE", "DEVIATES")
    slope = [f for f in verdict_of(problem, {**answers, "torch": other}).findings
             if f.tensor == "layers.0.z"]  # fmt: skip
    assert not slope


def test_a_block_does_not_change_a_verdict() -> None:
    drawn = [draw(2, 977 * k).problem for k in range(40)]
    answers = {n: o.answers(drawn) for n, o in load(("manual", "torch")).items()}
    together = judge_all(drawn, answers)
    for k, problem in enumerate(drawn):
        alone = judge(problem, {name: of_all[k] for name, of_all in answers.items()})
        assert (alone.verdict, alone.findings) == (together[k].verdict, together[k].findings)


# -- range ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_where_the_truth_is_finite_deviates(value: float) -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch")
    answers["torch"] = changed(answers["torch"], "x", lambda g: np.full_like(g, value))
    assert verdict_of(problem, answers).verdict == "DEVIATES(torch)"


def test_nothing_is_held_where_the_truth_is_beyond_the_range() -> None:
    problem = problem_of("identity", scale=1e30, dtype=np.float32)
    with np.errstate(all="ignore"):
        answers = answers_of(problem, "manual", "torch")
    answers["torch"] = changed(answers["torch"], "x", lambda g: np.zeros_like(g))
    assert verdict_of(problem, answers).verdict == "AGREE"


def test_a_flush_to_zero_is_told_apart() -> None:
    problem = problem_of("identity")
    tiny = float(np.finfo(np.float64).tiny) / 8
    problem = dataclasses.replace(problem, x=(problem.x * tiny).copy())
    answers = answers_of(problem, "manual", "torch", "jax")
    name = "layers.0.weight"
    assert np.abs(answers["jax"].gradients[name]).max() > 0
    answers["jax"] = changed(answers["jax"], name, np.zeros_like)
    found = verdict_of(problem, answers)
    assert found.verdict == "PRECISION(jax)"
    assert evidence_of(problem, answers).mark == "flush"
    answers["manual"] = changed(answers["manual"], name, np.zeros_like)
    assert verdict_of(problem, answers).verdict == "DEVIATES(manual)"  # NumPy does not flush


# -- what is no number ----------------------------------------------------------------------------


def test_shape_and_dtype_are_judged() -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch")
    for change in (lambda g: g.T, lambda g: g.astype(np.float32)):
        wrong = {**answers, "torch": changed(answers["torch"], "layers.0.weight", change)}
        found = verdict_of(problem, wrong)
        assert found.verdict == "DEVIATES(torch)"
        assert "expected float64 (3, 5)" in evidence_of(problem, wrong).sentence
        del wrong["manual"]  # nor does it need another answer beside it
        assert verdict_of(problem, wrong).verdict == "DEVIATES(torch)"


def test_an_oracle_that_fails_is_named() -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch")
    answers["jax"] = crashed("jax", RuntimeError("out of memory"))
    found = verdict_of(problem, answers)
    assert found.verdict == "CRASHED(jax)"
    assert evidence_of(problem, answers).sentence == "jax failed while answering."
    broken = {**answers, "torch": changed(answers["torch"], "x", off_at(0, 1e-3))}
    found = verdict_of(problem, broken)
    assert found.verdict == "CRASHED(jax)"
    text = evidence_of(problem, broken).sentence
    assert text.endswith("Also outside what is admissible: torch in x.")
    answers["manual"] = changed(answers["manual"], "x", off_at(0, 1e-3))
    assert verdict_of(problem, answers).verdict == "DEVIATES(manual)"


def test_an_oracle_that_fails_only_when_it_is_asked_again_is_named() -> None:
    problem = problem_of()
    answers = {name: [answer] for name, answer in answers_of(problem, "manual", "jax").items()}
    again = {"jax": {0: crashed("jax", RuntimeError("out of memory"))}}
    (found,) = judge_all([problem], answers, again=again)
    assert found.verdict == "CRASHED(jax)" and "out of memory" in found.reasons["jax"]


def test_alone_the_hand_written_gradient_is_still_judged() -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual")
    answers["torch"] = skipped("torch", "torch is not installed")
    assert verdict_of(problem, answers).verdict == "AGREE"
    answers["manual"] = changed(answers["manual"], "x", off_at(0, 1e-9))
    assert verdict_of(problem, answers).verdict == "DEVIATES(manual)"


def test_an_advisory_oracle_is_not_named() -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch", "complex_step")
    answers["complex_step"] = changed(
        answers["complex_step"], "x", lambda g: np.full_like(g, np.nan)
    )
    found = verdict_of(problem, answers)
    assert found.verdict == "AGREE"


# -- whole functions, and real frameworks ---------------------------------------------------------


def test_admissible_choices_that_compose_into_a_wrong_slope_deviate() -> None:
    """max(z, 0) - z t + log(1 + e^-|z|) at z = 0: slope 1 of max and 0 of abs give 1 - t."""
    problem = problem_of("identity", "bce_with_logits")
    zero = {k: v * 0 for k, v in problem.parameters.items()}
    problem = dataclasses.replace(problem, parameters=zero)
    answers = answers_of(problem, "manual", "torch", "jax")
    assert problem.weights is not None
    composed = (1 - problem.targets) * problem.weights[:, None] / problem.targets.size
    answers["jax"] = changed(answers["jax"], "layers.1.a", lambda g: composed)
    found = verdict_of(problem, answers)
    assert found.verdict == "DEVIATES(jax)"
    assert evidence_of(problem, answers).operation == "bce_with_logits"


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_wrong_divisor_of_the_mean_is_ours(
    loss: str, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge counts by a definition of its own."""
    indices = Selection(losses=(loss,), regimes=("ordinary",), dtypes=("float64",)).indices(400)
    problem = next(
        p
        for p in (draw(3, index).problem for index in indices)
        if p.network.reduction == "mean" and (p.weights is not None) == weighted
    )
    answers = {"manual": MANUAL.answer(problem)}
    assert judge(problem, answers).kind != "DEVIATES"
    operation = LOSSES[loss]
    one_more = replace(
        operation, count=lambda *given, **named: operation.count(*given, **named) + 1
    )
    monkeypatch.setitem(LOSSES._operations, loss, one_more)
    answers = {"manual": MANUAL.answer(problem)}
    assert judge(problem, answers).verdict == "DEVIATES(manual)"


@pytest.mark.parametrize("factor", [1 + 1e-7, 1.001, 0.0])
def test_a_broken_torch_is_named(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("jax")
    problem = problem_of("tanh", "cross_entropy")
    right = torch.nn.functional.tanh

    class Broken(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = right(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (y,) = ctx.saved_tensors
            return dy * (1 - y * y) * factor

    from reference.oracles import counterparts

    def resolve(operation: Any, framework: Any) -> Any:
        if operation.name == "tanh" and framework == "torch":
            return Broken.apply
        return counterparts.resolve(operation, framework)

    monkeypatch.setattr("reference.oracles.forwards.resolve", resolve)
    asked = ("manual", "torch", "jax") if factor == 1.001 else ("manual", "torch")
    answers = {name: oracle.answer(problem) for name, oracle in load(asked).items()}
    found = verdict_of(problem, answers)
    assert found.verdict == "DEVIATES(torch)"
    assert found.leading is not None and found.leading.tensor == "layers.0.z"
    assert evidence_of(problem, answers).operation == "tanh"


def test_the_evidence_fits_the_records() -> None:
    problem = problem_of()
    answers = answers_of(problem, "manual", "torch")
    answers["torch"] = changed(answers["torch"], "x", off_at(0, 1e-3))
    evidence = evidence_of(problem, answers)
    assert evidence.enclosure is not None
    assert evidence.enclosure.digits is not None and evidence.enclosure.digits >= 30
    assert encode_part(evidence.enclosure)
    assert evidence.scaled["manual"] < 1e-15 < 1e-4 < evidence.scaled["torch"]
    assert evidence.sentence.startswith("torch differs by ")
    answers["torch"] = changed(answers["torch"], "x", off_at(0, np.nan))
    assert evidence_of(problem, answers).sentence.startswith(
        "torch has nan instead of the certified "
    )


def encode_part(part: Any) -> bytes:
    from reports.records import Case, Finding, NetworkShape

    shape = NetworkShape(input_width=1, layers=(), loss="mse")
    case = Case(at="0:0", network=shape, batch=1, dtype="float64", enclosure=part)
    return encode(Finding(operation="", verdict="", count=1, example=case))


@pytest.mark.parametrize("who", ["manual", "torch"])
@pytest.mark.parametrize("index", [3, 17, 101])
def test_what_is_left_out_or_not_finite_is_named(who: str, index: int) -> None:
    """A tensor left out, an infinity, a NaN: none passes the screen, each is laid at its door."""
    problem = draw(3, index).problem
    answers = {name: oracle.answer(problem) for name, oracle in load(("manual", "torch")).items()}
    given = dict(answers[who].gradients)
    injected = [{k: v for k, v in given.items() if k != name} for name in given]
    for value in (np.inf, -np.inf, np.nan):
        array = given["x"].copy()
        array.flat[0] = value
        injected.append({**given, "x": array})
    for gradients in injected:
        injected = {**answers, who: replace(answers[who], gradients=gradients)}
        found = judge(problem, injected)
        assert found.kind == "DEVIATES"
        assert who in found.who


def test_a_side_without_an_answer_is_named_at_a_kink_too() -> None:
    """Where all that answered chose the same slope, nothing is found."""
    problem, answers = on_the_kink_of_relu()
    manual = answers["manual"]
    same = {"manual": manual, "torch": replace(manual, oracle="torch")}
    found = judge(problem, {**same, "jax": unsupported("jax", "no rule")})
    assert found.verdict == "UNSUPPORTED(jax)"


def test_an_advisory_oracle_makes_no_convention() -> None:
    """At a kink where all that are judged agree, what it says changes no verdict."""
    problem, _ = on_the_kink_of_relu()
    manual = load(("manual",))["manual"].answer(problem)
    answers = {"manual": manual, "torch": replace(manual, oracle="torch")}
    advisory = replace(
        manual, oracle="complex_step", gradients={k: v + 1 for k, v in manual.gradients.items()}
    )
    assert judge(problem, answers).verdict == "AGREE"
    assert judge(problem, {**answers, "complex_step": advisory}).verdict == "AGREE"


@pytest.mark.parametrize(("activation", "loss"), [("softmax", "categorical_cross_entropy"),
                                                  ("sigmoid", "binary_cross_entropy")])  # fmt: skip
@pytest.mark.parametrize("wrong", [2.0, -1.0, 0.0, np.nan])
def test_near_a_pole_a_wrong_gradient_is_told(activation: str, loss: str, wrong: float) -> None:
    """log p, with p so small that the error which the textbook model allows holds 0."""
    problem = problem_of("tanh", "mse", widths=(2, 3, 2), dtype=np.float32)
    layers = (problem.network.layers[0], Layer(2, activation))
    steep = np.array([0, -14], np.float32)
    problem = dataclasses.replace(
        problem,
        network=Network(2, layers, loss),
        parameters={**problem.parameters, "layers.1.bias": steep},
        targets=np.tile(np.array([0, 1], np.float32), (4, 1)),
    )
    answers = answers_of(problem, "manual", "torch", "jax")
    assert verdict_of(problem, answers).kind in ("AGREE", "PRECISION")
    answers["manual"] = changed(answers["manual"], "layers.0.weight", lambda g: g * wrong)
    assert verdict_of(problem, answers).verdict == "DEVIATES(manual)"


def test_nothing_is_held_where_there_is_no_truth() -> None:
    """-log y at y = 0: frameworks clamp it, NumPy says infinity, and no number is the truth."""
    network = Network(2, (Layer(2, bias=False),), "binary_cross_entropy", {}, "sum")
    x, targets = np.array([[0.0, 0.3], [0.5, 0.2]]), np.array([[1.0, 0.4], [0.5, 0.2]])
    problem = Problem(network, {"layers.0.weight": np.eye(2)}, x, targets)
    answers = answers_of(problem, "manual", "torch")
    clamped = np.where(np.isfinite(g := answers["torch"].gradients["layers.0.a"]), g, -1e12)
    answers["torch"] = changed(answers["torch"], "layers.0.a", lambda _: clamped)
    answers["torch"] = changed(answers["torch"], "layers.0.z", lambda _: clamped)
    for name, value in (("layers.0.weight", x.T @ clamped), ("x", clamped @ np.eye(2))):
        answers["torch"] = changed(answers["torch"], name, lambda _, v=value: v)
    assert verdict_of(problem, answers).verdict == "AGREE"
    half = changed(answers["torch"], "layers.0.a", lambda g: np.where(g == -1e12, g, g / 2))
    assert verdict_of(problem, {**answers, "torch": half}).verdict == "DEVIATES(torch)"


@pytest.mark.parametrize(
    ("who", "verdict", "leading"),
    [
        (("torch",), "VALUE(torch)", "forward layers.0.a"),
        (("torch", "jax"), "DEVIATES(jax)", "layers.1.weight"),
        (("manual", "torch"), "DEVIATES(manual)", "layers.1.weight"),
    ],
)
def test_who_computes_another_function_is_not_accused(
    who: tuple[str, ...], verdict: str, leading: str
) -> None:
    network = Network(2, (Layer(3, "elu"), Layer(2)), "mse")
    parameters = {k: np.ones(s) for k, s in network.parameter_shapes().items()}
    problem = Problem(network, parameters, np.ones((2, 2)), np.ones((2, 2)))
    places = {"torch": ("forward layers.0.a", "layers.0.z")}
    findings = tuple(
        TensorFinding(name, tensor, None, (0, 0), 1.0, 0.0)
        for name in who
        for tensor in places.get(name, ("layers.1.weight",))
    )
    found = another_function(
        problem, Judgement("DEVIATES", who, findings), {"torch": frozenset({"elu"})}
    )
    assert found.verdict == verdict
    assert found.leading is not None and found.leading.tensor == leading


@pytest.mark.parametrize("factor", [1, 1 + 2.0**-40])
def test_a_soft_label_is_as_rounded_as_the_prediction_that_it_cancels(factor: float) -> None:
    """At p = t = 1/8 the slope p Σt - t is what Σt lacks to 1, below half an ulp of t."""
    rows = np.random.default_rng(3).dirichlet(np.ones(7), 16) * 0.875
    targets = np.concatenate([rows, np.full((16, 1), 0.125)], axis=1)
    lacking = [sum(map(Fraction, row)) - 1 for row in targets.tolist()]
    assert any(lacking) and (targets.sum(axis=1) == 1).any()
    network = Network(2, (Layer(8),), "cross_entropy", reduction="sum")
    parameters = {n: np.zeros(s) for n, s in network.parameter_shapes().items()}
    problem = Problem(network, parameters, np.zeros((16, 2)), targets)
    answer = MANUAL.answer(problem)
    wrong = {**answer.gradients, "layers.0.a": answer.gradients["layers.0.a"] + (factor - 1) / 8}
    found = judge(problem, {"manual": replace(answer, gradients=wrong)})
    assert found.kind == ("AGREE" if factor == 1 else "DEVIATES")


def test_a_loss_may_be_off_by_what_an_ulp_of_its_prediction_moves() -> None:
    """At y = log 1/2, rounded, t (log t - y) by hand is 0; two ulps of y away it is wrong."""
    y = np.log(np.float32(0.5))
    network = Network(1, (Layer(1, bias=False),), "kl_div", reduction="none")
    one, half = np.ones((1, 1), np.float32), np.full((1, 1), 0.5, np.float32)
    problem = Problem(network, {"layers.0.weight": np.full((1, 1), y)}, one, half)
    answer = MANUAL.answer(problem)
    assert answer.loss == 0 and judge(problem, {"manual": answer}).verdict == "PRECISION(manual)"
    wrong = replace(answer, loss=np.full((1, 1), np.spacing(-y)))
    assert judge(problem, {"manual": wrong}).verdict == "DEVIATES(manual)"
