"""Second order of every layer: by hand, by differences, by the certificate, by the frameworks."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_backprop import graph
from manual_backprop.graph import Graph, GraphProblem, Step, values_and_gradients
from manual_backprop.layers import LAYERS
from manual_backprop.operation import InvalidInput
from manual_backprop.second_order import HessianProduct, hessian_vector_product, variables
from reference.conventions.uses import draw
from reference.evidence import gather, local_truth, tensor_of
from reference.findings import short_finding_of
from reference.judge import Judgement, judge, judge_all
from reference.oracles import Answer, load
from reference.oracles.manual import Manual
from reference.problems import GRAPHS, DirectedGraph, DrawnGraph, draw_any, parse_address
from reference.repro_second import script_of_second
from reference.trials.mutants import mutate

MANUAL = Manual()
names = pytest.mark.parametrize("name", list(LAYERS))


def alone(name: str, seed: int, dtype: str = "float64") -> DirectedGraph:
    """Return one use of a layer, with a random cotangent and a random direction."""
    use = draw(LAYERS[name], seed, dtype)
    step = Step("y", name, {argument: argument for argument in use.arrays}, use.options)
    rng = np.random.default_rng(seed)
    direction = {n: rng.normal(size=use.arrays[n].shape).astype(dtype) for n in use.floats}
    return DirectedGraph(Graph((step,), ("y",)), use.arrays, {"y": use.dy}, direction)


def fan_out() -> DirectedGraph:
    """Return a graph in which a value goes to three steps and a parameter to two."""
    steps = (
        Step("a", "dense", {"x": "x", "weight": "w"}),
        Step("b", "tanh", {"x": "a"}),
        Step("c", "multiply", {"a": "a", "b": "b"}),
        Step("d", "dense", {"x": "c", "weight": "w"}),
        Step("e", "add", {"a": "d", "b": "a"}),
    )
    rng = np.random.default_rng(4)
    arrays = {"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(3, 3))}
    direction = {n: rng.normal(size=a.shape) for n, a in arrays.items()}
    return DirectedGraph(Graph(steps, ("e",)), arrays, {"e": rng.normal(size=(2, 3))}, direction)


def moved(problem: DirectedGraph, h: float) -> GraphProblem:
    arrays = {n: a + h * problem.direction[n] if n in problem.direction else a
              for n, a in problem.arrays.items()}  # fmt: skip
    return GraphProblem(problem.graph, arrays, problem.cotangents)


def check_by_differences(problem: DirectedGraph, found: HessianProduct) -> None:
    """Fail unless each tangent and product is the difference of what it is the derivative of."""
    h = 2.0**-17
    (up, dup), (down, ddown) = (values_and_gradients(moved(problem, s * h)) for s in (1, -1))
    for part, above, below in ((found.tangents, up, down), (found.products, dup, ddown)):
        for name, value in part.items():
            there = (above[name] - below[name]) / (2 * h)
            scale = 1 + float(np.abs(there).max(initial=0))
            np.testing.assert_allclose(value, there, rtol=1e-5, atol=1e-6 * scale, err_msg=name)


@names
def test_it_is_the_difference_of_the_gradient(name: str) -> None:
    """Away from edges, with ε in no denominator of its own: 1e-5 of a difference is left."""
    for seed in (0, 1, 2):
        problem = alone(name, seed)
        check_by_differences(problem, hessian_vector_product(problem, problem.direction))


def test_values_and_parameters_of_several_uses_add_up() -> None:
    problem = fan_out()
    check_by_differences(problem, hessian_vector_product(problem, problem.direction))


@names
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.broad)])
def test_the_certificate_clears_it_and_catches_a_thousandth(name: str, dtype: str) -> None:
    right = LAYERS[name]
    problems = [alone(name, seed, dtype) for seed in range(3)]
    answers = MANUAL.answers(problems)
    found = judge_all(problems, {"manual": answers})
    assert not [one for one in found if one.kind == "DEVIATES"]
    few, floats = problems, list(problems[0].direction)

    def tangent(*given: Any, **options: Any) -> Any:
        return right.tangent(*given, **options) * (1 + 1e-3)

    def second(*given: Any, **options: Any) -> Any:
        moves = dict(right.second(*given, **options))
        if not moves:
            return {floats[0]: few[0].dtype.type(1e-3)}
        key = max(moves, key=lambda n: float(np.abs(moves[n]).max()))
        return {**moves, key: moves[key] * (1 + 1e-3)}

    for wrong in (replace(right, tangent=tangent), replace(right, second=second)):
        assert any(one.verdict == "DEVIATES(manual)" for one in judged_with(name, wrong, few))


def judged_with(name: str, operation: Any, problems: list[DirectedGraph]) -> list[Judgement]:
    right = LAYERS[name]
    LAYERS._operations[name] = operation
    try:
        answers = MANUAL.answers(problems)
    finally:
        LAYERS._operations[name] = right
    return judge_all(problems, {"manual": answers})


def test_drawn_graphs_are_cleared_in_every_regime() -> None:
    drawn = [draw_any(6, GRAPHS + 41 * k, 2) for k in range(120)]
    problems = [one.problem for one in drawn]
    for one, found in zip(drawn, judge_all(problems, {"manual": MANUAL.answers(problems)}),
                          strict=True):  # fmt: skip
        assert found.kind not in ("DEVIATES", "CRASHED"), (one.at, found)


@pytest.mark.parametrize("part", ["tangents", "hessian_vector_products"])
def test_mutants_of_the_walk_are_killed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = fan_out()
    for change, function in mutate(getattr(graph, part)):
        with monkeypatch.context() as patch:
            patch.setattr(graph, part, function)
            try:
                answer = MANUAL.answer(problem)
            except Exception:  # noticed by whoever calls it
                continue
        assert judge(problem, {"manual": answer}).kind == "DEVIATES", change


def test_an_entry_is_proven_at_the_answers_own_numbers() -> None:
    problem = fan_out()
    answer = MANUAL.answer(problem)
    for tensor in ("tangent c", "tangent e", "product a", "product w", "product x", "product e"):
        value = tensor_of(answer, tensor)[1, 2]
        assert abs(float(local_truth(problem, answer, tensor, (1, 2))) - value) < 1e-13, tensor


def test_the_first_step_back_that_fails_is_named() -> None:
    problem = fan_out()
    products = dict(MANUAL.answer(problem).products)
    products["b"] = products["b"] * 1.001
    found = judge(problem, {"manual": replace(MANUAL.answer(problem), products=products)})
    assert found.leading is not None and found.leading.tensor == "product b"
    drawn = draw_any(*parse_address("0:g1"), 2)
    assert isinstance(drawn, DrawnGraph)
    seen = short_finding_of(replace(drawn, problem=problem), found)
    assert (seen.operation, seen.step) == ("multiply", "product b")


def test_a_layer_without_second_order_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from manual_backprop.operation import Registry, layer

    @layer(structure="elementwise", torch="torch.neg", jax="jax.numpy.negative",
           registry=Registry("layer"))  # fmt: skip
    class Bare:
        """y = -x."""

        forward = staticmethod(lambda x: -x)
        backward = staticmethod(lambda dy: {"x": -dy})
        definition = staticmethod(lambda m, x: -x)
        sample = staticmethod(lambda draw: None)

    monkeypatch.setitem(LAYERS._operations, "bare", Bare)
    step = Step("y", "bare", {"x": "x"})
    x = np.ones((2, 2))
    problem = GraphProblem(Graph((step,), ("y",)), {"x": x}, {"y": x})
    with pytest.raises(InvalidInput, match="layer 'bare' has no method tangent"):
        hessian_vector_product(problem, {"x": x})
    directed = DirectedGraph(problem.graph, problem.arrays, problem.cotangents, {"x": x})
    assert MANUAL.answer(directed).reason == "second order is not available for bare"


def test_a_direction_that_is_no_array_of_the_graph_is_a_clear_error() -> None:
    problem = fan_out()
    with pytest.raises(InvalidInput, match="direction: 'b' is unknown; expected one of: x, w"):
        hessian_vector_product(problem, {"b": problem.arrays["x"]})
    assert list(variables(problem)) == ["x", "w"]


# -- the frameworks ------------------------------------------------------------------------------


def agreement(sides: dict[str, Answer], problem: DirectedGraph) -> Judgement:
    return judge(problem, {"manual": MANUAL.answer(problem), **sides})


@names
def test_torch_agrees_in_both_ways(name: str) -> None:
    """But for what PyTorch lacks or, of weight_norm, has wrong by double backward."""
    problem = alone(name, 0)
    oracles = load(("torch_reverse", "torch_forward"))
    found = agreement({n: oracle.answer(problem) for n, oracle in oracles.items()}, problem)
    if name == "weight_norm":
        assert found.verdict == "DEVIATES(torch_reverse)"
    else:
        assert found.kind in ("AGREE", "PRECISION", "UNSUPPORTED"), found


@names
def test_nested_forward_mode_of_the_norms_is_wrong_in_torch_and_of_nothing_else(name: str) -> None:
    """What PyTorch cannot nest is unsupported, with its own reason."""
    problem = alone(name, 0)
    answer = load(("torch_nested",))["torch_nested"].answer(problem)
    found = agreement({"torch_nested": answer}, problem)
    if name in ("layer_norm", "batch_norm", "instance_norm"):
        assert found.verdict == "DEVIATES(torch_nested)" and found.leading is not None
        assert found.leading.tensor.startswith("product "), found
    elif answer.status == "unsupported":
        assert "forward AD" in found.reasons["torch_nested"] and found.kind != "DEVIATES"
    else:
        assert found.kind in ("AGREE", "PRECISION"), found


def test_an_error_of_nested_forward_mode_beyond_rounding_is_found() -> None:
    """Of group_norm the bias has the rounding of what cancels; 2^-40 of the largest is an error."""
    problem = alone("group_norm", 0)
    right = load(("torch_nested",))["torch_nested"].answer(problem)
    assert agreement({"torch_nested": right}, problem).verdict == "PRECISION(torch_nested)"
    as_other = agreement({"torch_forward": replace(right, oracle="torch_forward")}, problem)
    assert as_other.verdict == "DEVIATES(torch_forward)"  # nobody else may lose these digits
    largest = max(float(np.abs(p).max()) for p in right.products.values())
    for name, product in right.products.items():
        wrong = {**right.products, name: product + 2.0**-40 * largest}
        found = agreement({"torch_nested": replace(right, products=wrong)}, problem)
        assert found.verdict == "DEVIATES(torch_nested)", name


@pytest.mark.parametrize("far", [1e2, 1e4])
def test_nested_forward_mode_of_a_badly_conditioned_norm_has_lost_digits(far: float) -> None:
    """PyTorch loses (μ/σ)² of them; an error that is larger than this is found."""
    problem = alone("group_norm", 0)
    arrays = {**problem.arrays, "x": problem.arrays["x"] + far}
    problem = replace(problem, arrays=arrays)
    right = load(("torch_nested",))["torch_nested"].answer(problem)
    assert agreement({"torch_nested": right}, problem).verdict == "PRECISION(torch_nested)"
    largest = max(float(np.abs(p).max()) for p in right.products.values())
    for name, product in right.products.items():
        wrong = {**right.products, name: product + 2.0**-40 * far**2 * largest}
        found = agreement({"torch_nested": replace(right, products=wrong)}, problem)
        assert found.verdict == "DEVIATES(torch_nested)", name


def test_nested_forward_mode_is_not_asked_of_chains() -> None:
    chain = draw_any(0, 0, 2).problem
    answer = load(("torch_nested",))["torch_nested"].answer(chain)
    assert (answer.status, answer.products) == ("skipped", {}) and "graphs" in answer.reason


def test_an_error_of_torch_that_is_no_missing_rule_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch: Any = pytest.importorskip("torch")

    def fails(*given: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch.func, "jvp", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        load(("torch_nested",))["torch_nested"].answer(fan_out())


def jax_agrees(problem: DirectedGraph, name: str) -> None:
    oracles = load(("jax_forward", "jax_reverse"))
    found = agreement({n: oracle.answer(problem) for n, oracle in oracles.items()}, problem)
    right = found.kind in ("AGREE", "PRECISION")
    assert right or (name == "attention" and "manual" not in found.who), found


def test_jax_agrees_in_both_ways_where_values_meet() -> None:
    jax_agrees(fan_out(), "fan_out")


@pytest.mark.broad  # each layer is compiled twice
@names
def test_jax_agrees_in_both_ways(name: str) -> None:
    """But for attention, whose softmax is in float32."""
    jax_agrees(alone(name, 0), name)


# -- the script of a finding ---------------------------------------------------------------------


WRONG = {"weight_norm": "torch_reverse", "layer_norm": "torch_nested", "batch_norm": "torch_nested"}


def script_of(name: str) -> str:
    problem, who = alone(name, 0), WRONG[name]
    answers = {name: load((name,))[name].answer(problem) for name in ("manual", who)}
    found = judge(problem, answers)
    assert found.verdict == f"DEVIATES({who})"
    script = script_of_second(problem, answers[who], gather(problem, answers, found))
    assert script is not None
    return script


def test_the_script_of_a_layer_has_its_numbers_and_both_frameworks_calls() -> None:
    script = script_of("weight_norm")
    compile(script, "repro.py", "exec")
    assert 'return torch._weight_norm(v["v"], v["g"])' in script
    assert 'return weight_norm_composed(xp, v["v"], v["g"])' in script
    assert script.count('dtype="float64"') == 6  # v, g, their tangents, dy and its move


@pytest.mark.slow  # both frameworks are imported anew
@pytest.mark.parametrize("name", list(WRONG))
def test_the_script_of_a_layer_shows_who_is_wrong(name: str, tmp_path: Path) -> None:
    path = tmp_path / "repro.py"
    path.write_text(script_of(name))
    run = subprocess.run([sys.executable, "-P", str(path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = dict(line.split(": ", 1) if ": " in line else line.split(" ", 1)
                 for line in run.stdout.splitlines())  # fmt: skip
    certified = float(lines["certified"])
    together = {who: float(lines[who].split("together ")[1].split()[0])
                for who in (WRONG[name], "jax_forward", "jax_reverse")}  # fmt: skip
    assert abs(together[WRONG[name]] - certified) > 1e-6
    assert all(abs(together[f"jax_{way}"] - certified) < 1e-9 for way in ("forward", "reverse"))
