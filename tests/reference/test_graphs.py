"""Graphs beyond dense chains: drawn, answered by all sides, certified, judged, reported."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb

from manual_backprop.graph import Graph, GraphProblem, Step, check_graph_problem
from manual_backprop.layers import LAYERS
from manual_backprop.operation import COMPOSED, FloatArray, InvalidInput, Sample, layer
from reference.arithmetic.balls import precision
from reference.blocks.graph_entry import truth_in_graph
from reference.blocks.graph_truth import Truths, certify_rows, rows_of_stack
from reference.blocks.graph_weigh import stack_of
from reference.blocks.rounded import formula_errors
from reference.blocks.steps import plan_of
from reference.book.chapters import build, operations
from reference.campaign import Plan, RunStatistics, run_block
from reference.conventions import edges
from reference.conventions.edges import ORDINARY
from reference.conventions.ledger import discover
from reference.drawing.graphs import (
    ARCHITECTURES,
    MANY,
    SHARED,
    SHARED_BY_MORE,
    STRUCTURES,
    cell_of_graph,
    first_graph,
    structure_number,
)
from reference.drawing.regimes import REGIMES
from reference.evidence import gather
from reference.judge import STRICT, TEXTBOOK, judge, judge_all, operation_at
from reference.oracles import Answer, load
from reference.oracles.jax_derivatives import first_order
from reference.oracles.jax_graph import GraphPrograms
from reference.oracles.jax_x64 import double_precision
from reference.oracles.manual import Manual
from reference.problems import (
    GRAPHS,
    Drawn,
    DrawnGraph,
    Selection,
    arrays_of,
    cell,
    draw,
    draw_any,
    parse_address,
)
from reference.rounding import RoundingUnit
from reference.running.report import report
from reference.show import show_data, show_text
from reports.book import render_book
from reports.folder import write_report
from reports.records import Convention, Run

NAMES = tuple(REGIMES)


def graphs(count: int, seed: int = 0, start: int = 0) -> list[GraphProblem]:
    drawn = (draw_any(seed, GRAPHS + start + k) for k in range(count))
    return [one.problem for one in drawn if isinstance(one, DrawnGraph)]


def aimed(name: str, dtype: str, regime: str = "ordinary") -> list[GraphProblem]:
    """Return some problems of one layer alone, each of another structure."""
    found: list[GraphProblem] = []
    for number in range(40 * len(LAYERS)):
        for k in (first_graph(number) + STRUCTURES * turn for turn in range(len(NAMES))):
            if cell_of_graph(k, NAMES) == (name, "", regime, dtype, "alone"):
                found += graphs(1, start=k)
        if len(found) == 2:
            break
    return found


# -- drawing --------------------------------------------------------------------------------------


def test_a_graph_is_a_pure_function_of_its_address_and_shares_its_structure() -> None:
    for k in (0, 5, 300):
        one, again = graphs(1, start=k)[0], graphs(1, start=k)[0]
        for name, array in arrays_of(one).items():
            assert array.tobytes() == arrays_of(again)[name].tobytes()
        assert graphs(1, start=k + STRUCTURES)[0].graph is one.graph
        assert graphs(1, start=k + STRUCTURES)[0].arrays is not one.arrays
    assert repr(graphs(1)[0].graph) != repr(graphs(1, start=SHARED)[0].graph)
    far = MANY + SHARED_BY_MORE - 1
    one, same, other = (graphs(1, start=far + more)[0].graph for more in (0, -STRUCTURES, 1))
    assert one is same and repr(one) != repr(other)
    for number in range(20 * STRUCTURES):
        first = first_graph(number)
        assert structure_number(first) == structure_number(first + STRUCTURES) == number
        assert first < STRUCTURES or structure_number(first - STRUCTURES) < number


def test_every_layer_architecture_regime_and_dtype_is_drawn() -> None:
    numbers = range(2 * len(LAYERS) * len(ARCHITECTURES))
    cells = [cell_of_graph(first_graph(n) + STRUCTURES * t, NAMES) for n in numbers for t in (0, 1)]
    assert {c.activation for c in cells} == set(LAYERS)
    assert {c.architecture for c in cells} == set(ARCHITECTURES) - {"dense"}
    assert {c.regime for c in cells} == set(REGIMES)
    assert {(c.activation, c.dtype) for c in cells} == {
        (a, d) for a in LAYERS for d in ("float32", "float64")
    }


def test_the_graphs_of_a_report_by_default_have_every_layer() -> None:
    assert {cell_of_graph(k, NAMES).activation for k in range(1000)} == set(LAYERS)


def test_a_cell_over_time_shares_its_weights_and_a_transformer_has_attention() -> None:
    met = set()
    for k in map(first_graph, range(60 * STRUCTURES)):
        architecture = cell_of_graph(k, NAMES).architecture
        if architecture not in ("transformer", "recurrent"):
            continue
        steps = graphs(1, start=k)[0].graph.steps
        met.add(architecture)
        if architecture == "transformer":
            assert "attention" in {s.operation for s in steps}
        else:
            assert sum(s.inputs.get("weight_h") == "weight_h" for s in steps) >= 2
    assert met == {"transformer", "recurrent"}


def test_every_graph_can_be_computed() -> None:
    for k in map(first_graph, range(40 * STRUCTURES)):
        check_graph_problem(graphs(1, seed=3, start=k)[0])


def test_addresses_and_selections() -> None:
    assert parse_address("7:g12") == (7, GRAPHS + 12)
    assert draw_any(0, GRAPHS + 12).at == "0:g12" and draw_any(0, 12).at == "0:12"
    assert isinstance(draw_any(0, 12), Drawn)
    with pytest.raises(InvalidInput, match="'0:g12': a graph, expected a chain"):
        draw(0, GRAPHS + 12)
    for wrong in ("0:gg1", "0:g", "g0:1", f"0:g{GRAPHS}"):
        with pytest.raises(InvalidInput, match="address"):
            parse_address(wrong)
    both = Selection(architectures=ARCHITECTURES)
    assert [both.index(p) for p in range(4)] == [0, GRAPHS, 1, GRAPHS + 1]
    some = Selection(architectures=("residual",), regimes=("tiny",), dtypes=("float32",))
    for index in some.indices(5):
        assert cell(index)[2:] == ("tiny", "float32", "residual")
    with pytest.raises(InvalidInput, match="architecture='cube' is unknown"):
        Selection(architectures=("cube",))
    with pytest.raises(InvalidInput, match="with an activation or a loss chosen"):
        Selection(activations=("tanh",), architectures=("alone",))


# -- all sides ------------------------------------------------------------------------------------


def test_all_sides_are_right_on_graphs_of_all_regimes() -> None:
    problems = [p for k in range(4) for p in graphs(STRUCTURES // 2, seed=5, start=STRUCTURES * k)]
    answers = {name: o.answers(problems) for name, o in load(("manual", "torch", "jax")).items()}
    assert all(a.status == "ok" for of_all in answers.values() for a in of_all)
    judgements = judge_all(problems, answers)
    wrong = [
        gather(p, {n: of_all[k] for n, of_all in answers.items()}, j).sentence
        for k, (p, j) in enumerate(zip(problems, judgements, strict=True))
        if j.kind == "DEVIATES" and "manual" in j.who
    ]
    assert wrong == []
    assert sum(j.kind == "AGREE" for j in judgements) > len(problems) // 2


def test_chains_and_graphs_of_one_block_keep_their_places() -> None:
    problems: list[Any] = [draw(1, 3).problem, *graphs(2), draw(1, 4).problem, *graphs(1, start=9)]
    for name, oracle in load(("manual", "torch")).items():
        for problem, answer in zip(problems, oracle.answers(problems), strict=True):
            alone = oracle.answer(problem)
            assert answer.gradients.keys() == alone.gradients.keys(), name
            for key, gradient in answer.gradients.items():
                assert gradient.tobytes() == alone.gradients[key].tobytes(), (name, key)
    answers = Manual().answers(problems)
    wrong = replace(answers[2], gradients={k: 2 * g for k, g in answers[2].gradients.items()})
    judged = judge_all(problems, {"manual": [*answers[:2], wrong, *answers[3:]]})
    assert [j.kind == "DEVIATES" for j in judged] == [False, False, True, False, False]


def test_what_jax_answers_does_not_depend_on_the_block() -> None:
    problems = [p for k in range(3) for p in graphs(2, start=2 * SHARED + STRUCTURES * k)]
    programs = GraphPrograms("jax", first_order)
    with double_precision():
        together = programs.answers(problems)
        for k in (0, 3, 5):
            alone = programs.answers([problems[k]])[0]
            for name, gradient in together[k].gradients.items():
                assert gradient.tobytes() == alone.gradients[name].tobytes()


# -- what the judge must catch --------------------------------------------------------------------

INJECTED = {"float64": 1e-9, "float32": 1e-3}


def injected(answer: Answer, tensor: str, by: float) -> Answer:
    """Return the answer with the largest entry of a tensor off by a share of it, or of 1."""
    forward = tensor.startswith("forward ")
    arrays = dict(answer.values if forward else answer.gradients)
    name = tensor.removeprefix("forward ")
    array = np.array(arrays[name])
    array.flat[np.abs(array).argmax()] += by * max(1.0, float(np.abs(array).max()))
    arrays[name] = array
    return replace(answer, **{"values" if forward else "gradients": arrays})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(LAYERS))
def test_an_error_in_any_tensor_of_a_layer_is_caught(name: str, dtype: str) -> None:
    problems = aimed(name, dtype)
    assert problems
    missed = []
    for problem in problems:
        answer = Manual().answer(problem)
        assert judge(problem, {"manual": answer}).kind != "DEVIATES"
        (step,) = problem.graph.steps
        off = np.dtype(dtype).type(INJECTED[dtype])
        assert answer.loss is not None
        loss = answer.loss + 100 * np.abs(answer.loss + 1) * off
        wrong = {"loss": replace(answer, loss=loss)}
        for tensor in (f"forward {step.name}", step.name, *problem.floats):
            wrong[tensor] = injected(answer, tensor, INJECTED[dtype])
        judged = judge_all([problem] * len(wrong), {"manual": list(wrong.values())})
        for tensor, found in zip(wrong, judged, strict=True):
            if found.kind not in ("DEVIATES", "PRECISION") or (
                found.kind == "PRECISION" and LAYERS[name].structure != "rows"
            ):
                missed.append((tensor, found.kind))
            elif found.leading is not None and found.kind == "DEVIATES":
                assert found.leading.tensor in {tensor, *problem.graph.given, "loss", step.name}
                if found.leading.tensor not in ("loss", step.name):
                    assert operation_at(problem, found.leading.tensor) == name
    assert missed == []


def test_a_slope_that_is_hardly_known_excuses_no_error() -> None:
    """tanh² x is 1e-22 at 1e-11: 1 - 1/cosh² has no digit of it in any floating type."""
    graph = Graph((Step("y", "tanhshrink", {"x": "x"}),), ("y",))
    x, dy = np.array([[1.5e-11, -2.5e-11]]), np.array([[1.25, -0.5]])
    problem = GraphProblem(graph, {"x": x}, {"y": dy})
    right = Manual().answer(problem)
    assert judge(problem, {"manual": right}).kind == "AGREE"
    for share in (1e-10, 1e-2):
        wrong = {**right.gradients, "x": right.gradients["x"] * (1 + share)}
        assert judge(problem, {"manual": replace(right, gradients=wrong)}).kind != "AGREE"


def test_what_a_layer_loses_is_in_units_of_its_own_terms() -> None:
    """A weight's slope in a saturated cell may lose units of x; a normalisation's small slope not.

    The slope is dh (1 - z)(1 - n²) x: with n rounded, 1 - n² is off by units of 1.
    """
    arrays = {"x": np.array([[1000.0]]), "h": np.array([[0.5]]), "weight_x": np.zeros((3, 1)),
              "weight_h": np.zeros((3, 1)), "bias_x": np.array([0.0, 0.0, 8.0]),
              "bias_h": np.zeros(3)}  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    graph = Graph((Step("y", "gru_cell", {name: name for name in arrays}),), ("y",))
    problem = GraphProblem(graph, arrays, {"y": np.ones((1, 1), np.float32)})
    right = Manual().answer(problem)
    assert judge(problem, {"manual": right}).kind == "AGREE"
    for off, kind in ((5e-4, "PRECISION"), (5e-2, "DEVIATES")):
        wrong = {k: v.copy() for k, v in right.gradients.items()}
        wrong["weight_x"][2, 0] += off
        assert judge(problem, {"manual": replace(right, gradients=wrong)}).kind == kind, off
    wide = {"x": np.array([[1e6, 3e6, -2e6]]), "weight": np.ones(3), "bias": np.zeros(3)}
    graph = Graph((Step("y", "layer_norm", {name: name for name in wide}),), ("y",))
    problem = GraphProblem(graph, wide, {"y": np.array([[1.0, -0.25, 0.5]])})
    right = Manual().answer(problem)
    assert judge(problem, {"manual": right}).kind == "AGREE"
    off = {**right.gradients, "x": right.gradients["x"] * (1 + 1e-8)}
    assert judge(problem, {"manual": replace(right, gradients=off)}).kind == "DEVIATES"


def test_a_choice_that_underflow_turns_round_is_a_loss_of_digits() -> None:
    """cos of subnormal vectors is 1e-66: in float32 no more than its margin 0."""
    x, z = (np.array([[a, 2e-39]], np.float32) for a in (1e-39, 3e-39))
    arrays = {"x": x, "z": z, "target": np.array([-1])}
    step = Step("y", "cosine_embedding", {name: name for name in arrays}, {"margin": 0.0})
    problem = GraphProblem(Graph((step,), ("y",)), arrays, {"y": np.ones(1, np.float32)})
    answer = Manual().answer(problem)
    assert answer.gradients["x"].all()
    assert judge(problem, {"manual": answer}).kind == "AGREE"
    none = {name: np.zeros_like(gradient) for name, gradient in answer.gradients.items()}
    turned = replace(answer, gradients={**none, "y": answer.gradients["y"]})
    assert judge(problem, {"manual": turned}).kind == "PRECISION"


def test_a_step_that_changes_nothing_has_a_cotangent_of_its_own_in_torch() -> None:
    """torch's identity returns its argument: what also goes elsewhere is not identity's."""
    steps = (
        Step("h", "tanh", {"x": "x"}),
        Step("same", "identity", {"x": "h"}),
        Step("y", "multiply", {"a": "same", "b": "h"}),
    )
    x, dy = np.array([[0.5, -1.0]]), np.array([[2.0, 3.0]])
    problem = GraphProblem(Graph(steps, ("y",)), {"x": x}, {"y": dy})
    (answer,) = load(("torch",))["torch"].answers([problem])
    assert np.allclose(answer.gradients["same"], dy * np.tanh(x), rtol=1e-14, atol=0)
    assert np.allclose(answer.gradients["h"], 2 * dy * np.tanh(x), rtol=1e-14, atol=0)


def test_a_missing_cotangent_at_a_fan_out_is_caught() -> None:
    """The oldest mistake with graphs: `=` where `+=` belongs."""
    steps = (Step("y", "tanh", {"x": "x"}), Step("z", "multiply", {"a": "y", "b": "x"}))
    x = np.array([[0.5, -1.25], [2.0, 0.125]])
    problem = GraphProblem(Graph(steps, ("z",)), {"x": x}, {"z": np.ones((2, 2)) / 3})
    answer = Manual().answer(problem)
    assert judge(problem, {"manual": answer}).kind == "AGREE"
    once = LAYERS["multiply"].backward(answer.values["y"], x, answer.gradients["z"])["b"]
    wrong = replace(answer, gradients={**answer.gradients, "x": once})
    found = judge(problem, {"manual": wrong})
    assert found.verdict == "DEVIATES(manual)" and found.leading is not None
    assert found.leading.tensor == "x"
    sentence = gather(problem, {"manual": wrong}, found).sentence
    assert "own inputs of this step" in sentence


@pytest.mark.parametrize("what", ["gone", "shape", "dtype", "value", "list", "loss"])
def test_a_tensor_that_is_missing_or_no_such_array_is_a_deviation(what: str) -> None:
    problem = graphs(1)[0]
    answer = Manual().answer(problem)
    name = problem.graph.steps[0].name
    array = answer.gradients[name]
    gradients = {k: v for k, v in answer.gradients.items() if k != name}
    values = dict(answer.values)
    if what == "shape":
        gradients[name] = array[None]
    if what == "dtype":
        gradients[name] = array.astype(np.float16)
    if what == "list":
        gradients[name] = array.tolist()
    if what in ("value", "loss"):
        gradients[name] = array
    if what == "value":
        del values[name]
    loss = None if what == "loss" else answer.loss
    answer = replace(answer, gradients=gradients, values=values, loss=loss)
    found = judge(problem, {"manual": answer})
    assert found.verdict == "DEVIATES(manual)"
    assert found.leading is not None and "expected" in found.leading.reason
    assert found.leading.reason.startswith("a list") == (what == "list")


def test_an_answer_that_is_not_finite_where_the_truth_is_is_a_deviation() -> None:
    problem = aimed("layer_norm", "float64")[0]
    answer = Manual().answer(problem)
    wrong = replace(answer, gradients={k: v * np.nan for k, v in answer.gradients.items()})
    assert judge(problem, {"manual": wrong}).verdict == "DEVIATES(manual)"


def test_other_slopes_at_a_kink_are_a_convention_and_one_outside_deviates() -> None:
    graph = Graph((Step("y", "relu", {"x": "x"}),), ("y",))
    x, dy = np.array([[0.0, 1.0, -1.0]]), np.array([[1.5, 2.0, -0.75]])
    problem = GraphProblem(graph, {"x": x}, {"y": dy})
    right = Manual().answer(problem)
    for slope, kind in ((1.0, "CONVENTION"), (0.5, "CONVENTION"), (1.25, "DEVIATES")):
        dx = right.gradients["x"].copy()
        dx[0, 0] = slope * dy[0, 0]
        other = replace(right, oracle="torch", gradients={**right.gradients, "x": dx})
        assert judge(problem, {"manual": right, "torch": other}).kind == kind


@pytest.mark.parametrize(
    ("ulps", "weights", "kind"),
    [(3, (0.5, 0.5), "PRECISION"), (3, (0.0, 1.0), "PRECISION"), (3, (10.0, 0.0), "DEVIATES"),
     (2**40, (0.5, 0.5), "DEVIATES")],
)  # fmt: skip
def test_a_near_tie_of_huge_scores_may_go_either_way(
    ulps: int, weights: tuple[float, float], kind: str
) -> None:
    """Scores of 3e21 that lie ulps apart: the rounding of their products decides the softmax.

    The truth there is (1, 0); weights beside which no rounding leads are wrong all the same.
    """
    large, other = 4e10, 4e10 - ulps * np.spacing(4e10)
    arrays = {
        "q": np.array([[large, -1e11]]),
        "k": np.array([[large, 5e10], [other, 5e10]]),
        "v": np.array([[1.0, -2.0], [1.0, -2.0]]),
    }
    graph = Graph((Step("y", "attention", {n: n for n in arrays}),), ("y",))
    dy = np.array([[-3.0, 0.5]])
    problem = GraphProblem(graph, arrays, {"y": dy})
    right = Manual().answer(problem)
    assert judge(problem, {"manual": right}).kind == "AGREE"
    dv = np.array(weights)[:, None] * dy
    other_side = replace(right, oracle="torch", gradients={**right.gradients, "v": dv})
    assert judge(problem, {"manual": right, "torch": other_side}).kind == kind


@pytest.mark.parametrize(("shift", "kind"), [(0.0, "AGREE"), (1e-41, "DEVIATES")])
def test_a_factor_may_underflow_before_another_makes_it_large(shift: float, kind: str) -> None:
    """z σ(z) is 0 in float32 at -108.7; times 67.9 the truth is 32 of the smallest numbers."""
    arrays = {"x": np.full((1, 1), 67.922424, np.float32), "gate": np.full((1, 1), -108.70471)}
    arrays["gate"] = arrays["gate"].astype(np.float32)
    graph = Graph((Step("y", "swi_glu", {n: n for n in arrays}),), ("y",))
    problem = GraphProblem(graph, arrays, {"y": np.ones((1, 1), np.float32)})
    answer = Manual().answer(problem)
    values = {"y": answer.values["y"] + np.float32(shift)}
    found = judge(problem, {"manual": replace(answer, values=values)})
    assert found.kind == kind


@pytest.mark.parametrize(("first", "kind"), [(1e-41, "AGREE"), (1e-34, "DEVIATES")])
@pytest.mark.parametrize("terms", [1, 200])
@pytest.mark.parametrize("name", ["y", "x", "weight"])
def test_of_three_factors_any_two_may_underflow_first(
    first: float, kind: str, name: str, terms: int
) -> None:
    """y = Σ x W z, dx = Σ dy W z, dW = dy x z: in float32 3e-5 · 1e-41 is 0, 3e-5 · 1e-34 is not.

    Each term of a sum may be lost.
    """
    x, weight, dy = {"y": (first, 3e-5, 1), "x": (1, 3e-5, first), "weight": (first, 1, 3e-5)}[name]
    factors = {"x": [[x]], "z": [[1041.0] * terms], "weight": [[[weight] * terms]]}
    arrays = {name: np.array(value, np.float32) for name, value in factors.items()}
    graph = Graph((Step("y", "bilinear", {n: n for n in arrays}),), ("y",))
    problem = GraphProblem(graph, arrays, {"y": np.array([[dy]], np.float32)})
    right = Manual().answer(problem)
    kept = right.values if name == "y" else right.gradients
    changed = {**kept, name: np.zeros_like(kept[name])}
    other = replace(right, **{"values" if name == "y" else "gradients": changed})
    assert judge(problem, {"manual": right}).kind == "AGREE"
    assert judge(problem, {"manual": other}).kind == kind


# -- the certified values -------------------------------------------------------------------------


def test_the_truth_of_an_entry_is_that_of_the_stack() -> None:
    for problem in graphs(8, seed=2):
        answer = Manual().answer(problem)
        stack = stack_of([problem], [(0, answer)])
        rows = rows_of_stack(stack)
        certify_rows(rows, problem.dtype)
        for tensor in Truths(stack, rows).tensors(RoundingUnit(problem.dtype, STRICT)):
            forward = tensor.name.startswith("forward ")
            arrays = answer.values if forward else answer.gradients
            shape = arrays[tensor.name.removeprefix("forward ")].shape
            for e in {0, tensor.truth.shape[1] - 1}:
                if not tensor.judged[0, e] or tensor.hull[0, e]:
                    continue
                entry = tuple(map(int, np.unravel_index(e, shape)))
                with precision(256):
                    ball = truth_in_graph(problem, answer, tensor.name, entry)
                    off = abs(float(ball - arb(float(tensor.truth[0, e]))))
                left = float(abs(tensor.truth[0, e] - np.longdouble(float(tensor.truth[0, e]))))
                assert off <= float(tensor.radius[0, e]) + left + 1e-300


def test_the_error_of_a_formula_covers_its_evaluation_in_float32() -> None:
    draw_ = np.random.default_rng(8)
    for d in (2, 3, 7):
        step = Step("y", "layer_norm", {n: n for n in ("x", "weight", "bias")}, {"eps": 2.0**-16})
        arrays = {"x": np.ones((2, d)), "weight": np.ones(d), "bias": np.ones(d)}
        plan = plan_of(step, arrays, (2, d))
        inputs = draw_.standard_normal((plan.index.shape[1], 200)).astype(np.float32)
        unit = RoundingUnit(np.float32, TEXTBOOK)
        allowed = formula_errors(plan.row.tape, inputs.astype(np.float64), unit)
        x, w, b = inputs[:d].T, inputs[d : 2 * d].T, inputs[2 * d :].T
        eps = step.options["eps"]
        single = LAYERS["layer_norm"].composition(np, x, w, b, eps=np.float32(eps))
        double = LAYERS["layer_norm"].composition(
            np, x.astype(np.float64), w.astype(np.float64), b.astype(np.float64), eps=eps
        )
        error = np.abs(single - double).T
        assert (error <= allowed[: plan.row.values]).all()
        assert (error > allowed[: plan.row.values] / 1000).any()  # and is not out of all measure


def test_a_variance_that_is_multiplied_out_is_covered_for_nested_forward_mode_alone() -> None:
    """mean(x²) - μ² loses (μ/σ)² units of rounding, mean((x - μ)²) does not."""
    d, far = 4, 30
    step = Step("y", "layer_norm", {n: n for n in ("x", "weight", "bias")}, {"eps": 2.0**-16})
    arrays = {"x": np.ones((2, d)), "weight": np.ones(d), "bias": np.ones(d)}
    plan = plan_of(step, arrays, (2, d))
    inputs = np.random.default_rng(9).standard_normal((plan.index.shape[1], 200)) + far
    inputs = inputs.astype(np.float32)
    x = inputs[:d]
    variance = (x * x).mean(axis=0) - x.mean(axis=0) ** 2 + np.float32(2.0**-16)
    found = (x - x.mean(axis=0)) / np.sqrt(variance) * inputs[d : 2 * d] + inputs[2 * d :]
    w, b = (part.T.astype(np.float64) for part in (inputs[d : 2 * d], inputs[2 * d :]))
    right = LAYERS["layer_norm"].composition(np, x.T.astype(np.float64), w, b, eps=2.0**-16).T
    unit = RoundingUnit(np.float32, TEXTBOOK)
    wide = inputs.astype(np.float64)
    plain, out = (
        formula_errors(plan.row.tape, wide, unit, multiplied_out=way)[:d] for way in (False, True)
    )
    assert (np.abs(found - right) <= out).all() and (plain <= out).all()
    assert (np.abs(found - right) > plain).any()


# -- one class in one place -----------------------------------------------------------------------


@pytest.fixture
def scaled() -> Iterator[Any]:
    """A layer with a parameter, written here and nowhere else."""

    @layer(structure="elementwise", takes="any", trainable=("scale",), torch=COMPOSED, jax=COMPOSED)
    class CubeScale:
        """y = s x³ + x."""

        @staticmethod
        def forward(x: FloatArray, scale: FloatArray, *, lift: float = 1.0) -> FloatArray:
            return np.asarray(scale * (x * x * x) + lift * x)

        @staticmethod
        def backward(
            x: FloatArray, scale: FloatArray, dy: FloatArray, *, lift: float = 1.0
        ) -> dict[str, FloatArray]:
            along = tuple(range(dy.ndim - 1))
            dx = dy * (3 * scale * (x * x) + lift)
            return {"x": dx, "scale": (dy * (x * x * x)).sum(axis=along)}

        @staticmethod
        def definition(m: Any, x: Any, scale: Any, *, lift: Any) -> Any:
            return scale * x * x * x + lift * x

        @staticmethod
        def composition(xp: Any, x: Any, scale: Any, *, lift: float) -> Any:
            return scale * x**3 + lift * x

        @staticmethod
        def sample(draw: Any, shape: tuple[int, ...] | None = None) -> Sample:
            shape = shape or (3, 1 + draw.below(4))
            return Sample({"x": shape, "scale": shape[-1:]}, options={"lift": 0.5})

    yield CubeScale
    del LAYERS._operations["cube_scale"]


def test_a_new_layer_is_drawn_certified_compared_and_reported(
    scaled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(problems=512, architectures=ARCHITECTURES[1:], oracles=("manual", "torch", "jax"))
    chosen = [
        p for p in range(40 * SHARED)
        if cell_of_graph(p, NAMES).activation == "cube_scale"
    ][:8]  # fmt: skip
    oracles = load(plan.oracles)
    for result in [run_block(plan, p, p + 1, oracles) for p in chosen]:
        assert result.coverage["operation/cube_scale"] == 1
        assert not any("DEVIATES" in o.verdict or "CRASHED" in o.verdict for o in result.outcomes)
    right = scaled.backward

    def wrong(*given: Any, **options: Any) -> Any:
        found = right(*given, **options)
        return {**found, "x": found["x"] * (1 + 1e-3)}

    monkeypatch.setitem(LAYERS._operations, "cube_scale", replace(scaled, backward=wrong))
    statistics = RunStatistics()
    for p in chosen:
        statistics.add(run_block(plan, p, p + 1, load(("manual",))))
    found = [f for f in statistics.findings() if f.operation == "cube_scale"]
    assert {f.verdict for f in found} == {"DEVIATES(manual)"} and found[0].step == "x"
    run = Run(command="", seed=0, problems=len(chosen), verdicts=statistics.verdicts)
    records = [run, *statistics.cells(0), *statistics.findings(), *statistics.coverage()]
    assert write_report(tmp_path / "out", records).exit_code == 1
    assert "cube_scale" in (tmp_path / "out" / "index.html").read_text()


def test_a_new_layer_is_in_the_ledger(scaled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not discover([scaled], ("float64",))  # all agree at each of its edges

    def rows_with(where: Callable[[Any], Any]) -> list[Convention]:
        def wrong(x: Any, *given: Any, **options: Any) -> Any:
            found = scaled.backward(x, *given, **options)
            return {**found, "scale": found["scale"] * (2 if where(x) else 1)}

        wrong_layer = replace(scaled, backward=wrong)
        monkeypatch.setitem(LAYERS._operations, "cube_scale", wrong_layer)
        return discover([wrong_layer], ("float64",))

    at_edges = rows_with(lambda x: np.abs(x).max() > 1e3 or (x == 1).all())
    assert {row.situation for row in at_edges} >= {"x: equal numbers", "x: times 1e6"}
    assert not {row.situation for row in at_edges} & {ORDINARY, "x: zeros"}
    everywhere = rows_with(lambda x: True)
    assert {row.situation for row in everywhere} == {ORDINARY}  # of all edges it says the same
    for row in (*at_edges, *everywhere):
        assert row.admissible == {"manual": False, "torch": True, "jax": True}
        assert row.quantity == "slope" and "at dscale" in row.input


def test_a_row_without_a_deviation_hides_no_other_edge(
    scaled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_slopes(edge: Any, *_: object) -> edges._EdgeRow:
        row = Convention("cube_scale", "layer", edge.situation, "", "slope", "float64")
        return edges._EdgeRow(row, {})

    monkeypatch.setattr(edges, "_row", other_slopes)
    rows = list(edges.discover_edges([scaled], ("manual",), "float64"))
    assert {row.situation for row in rows} >= {ORDINARY, "x: equal numbers", "x: one NaN"}


def test_a_new_layer_is_in_the_book(scaled: Any) -> None:
    assert scaled in operations()
    book = build([scaled], implementations=("manual", "torch", "jax"), ledger=())
    (chapter,) = book.chapters
    assert chapter.numbers and {row.quantity for row in chapter.accuracy} == {
        "value", "cotangent of x", "cotangent of scale"
    }  # fmt: skip
    page = render_book(book)
    assert "y = s x³ + x." in page and "scale * x * x * x" in page


def test_the_example_of_the_docs_runs_and_prints_what_it_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (quoted,) = re.findall(r"^```\n(PRECISION.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for block in code:
        exec(block, names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(" is ")[0] for line in printed] == [
        line.partition(" is ")[0] for line in quoted.splitlines()
    ]
    assert "own inputs of this step" in printed[-1] and "layer_norm" in printed[-1]
    assert names["found"]["x"].shape == (4, 5)


# -- records, evidence, page ----------------------------------------------------------------------


def test_a_wrong_layer_of_a_graph_is_named_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LAYERS["conv2d"]

    def wrong(*given: Any, **options: Any) -> Any:
        found = dict(right.backward(*given, **options))
        return {**found, "weight": found["weight"] * 1.01}

    monkeypatch.setitem(LAYERS._operations, "conv2d", replace(right, backward=wrong))
    plan = Plan(problems=96, architectures=("convolution",), regimes=("ordinary",),
                oracles=("manual",))  # fmt: skip
    result = run_block(plan, 0, 96, load(plan.oracles))
    (finding,) = [f for f in result.findings if f.operation == "conv2d"][:1]
    assert finding.verdict == "DEVIATES(manual)" and finding.step == "weight"
    assert finding.example.graph is not None and finding.example.network is None
    assert finding.example.graph.architecture == "convolution"
    assert parse_address(finding.example.at)[1] >= GRAPHS


def test_a_report_of_graphs_has_their_matrix_and_its_examples(tmp_path: Path) -> None:
    plan = Plan(problems=12, oracles=("manual",))
    report(plan, tmp_path / "out", workers=1)
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    architectures = {r.get("architecture", "dense") for r in records if r["type"] == "cell"}
    assert "dense" in architectures and len(architectures) > 1
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Matrix of layers and architectures" in page


def test_a_graph_is_shown_with_all_its_numbers() -> None:
    one = draw_any(0, GRAPHS + 1)
    answers = {"manual": Manual().answer(one.problem)}
    judged = judge(one.problem, answers)
    text = show_text(one, answers, judged)
    data = show_data(one, answers, judged)
    assert isinstance(one, DrawnGraph)
    for step in one.problem.graph.steps:
        assert f"∂L/∂{step.name}" in text and step.operation in data["network"]
    assert "cotangent of" in text and data["at"] == "0:g1"
