"""Mistakes injected into the backward of layers: each is caught, located and named."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from manual_backprop.graph import GraphProblem
from manual_backprop.layers import LAYERS
from reference.conventions.uses import draw, problem_of
from reference.diagnosis.closeness import same_to_rounding
from reference.diagnosis.layer_mistakes import LAYER_MISTAKES, line_of_step, named
from reference.findings import finding_of
from reference.judge import judge, judge_all
from reference.oracles import Answer
from reference.oracles.manual import Manual
from reference.problems import Selection, draw_any

Case = tuple[str, str, str]

CASES = [(m.name, o, a) for m in LAYER_MISTAKES.values() if m.operations for o, a in m.cases]
ONE_EACH = list({name: (name, operation, a) for name, operation, a in CASES}.values())


def injected(mistake: str, operation: str, argument: str) -> tuple[GraphProblem, Answer] | None:
    """Return the first use of a layer in which a mistake can be made, with the wrong answer.

    Larger uses come first: in the smallest, several mistakes are one.
    """
    drawn = [problem_of(LAYERS[operation], draw(LAYERS[operation], seed)) for seed in range(48)]
    drawn.sort(key=lambda problem: -min(problem.arrays[n].size for n in problem.floats))
    for problem in drawn:
        if argument not in problem.floats:
            continue
        answer = Manual().answer(problem)
        line = line_of_step(problem, answer, argument)
        assert line is not None
        wrong = LAYER_MISTAKES[mistake].make(line)
        if wrong is not None and not same_to_rounding(wrong, line.own):
            assert wrong.shape == line.own.shape
            return problem, replace(answer, gradients={**answer.gradients, argument: wrong})
    return None


def check(cases: Sequence[Case]) -> None:
    found = {case: injected(*case) for case in cases}
    assert [case for case, use in found.items() if use is None] == []
    uses = [use for use in found.values() if use is not None]
    judged = judge_all([p for p, _ in uses], {"manual": [a for _, a in uses]})
    other = []
    for case, (problem, answer), judgement in zip(cases, uses, judged, strict=True):
        assert judgement.verdict == "DEVIATES(manual)", case
        assert judgement.leading is not None and judgement.leading.tensor == case[2], case
        line = line_of_step(problem, answer, case[2])
        assert line is not None
        mistake = named(line, answer.gradients[case[2]])
        if mistake is None or mistake.name != case[0]:
            other.append((case, mistake and mistake.name))
    assert other == []


def test_there_are_sixty_named_mistakes_and_each_layer_has_its_own() -> None:
    assert len(ONE_EACH) >= 60
    assert {operation for _, operation, _ in CASES} == set(LAYERS) - {"dense", "reshape"}


def test_every_mistake_is_caught_located_and_named(every: int) -> None:
    check(ONE_EACH[::every])


@pytest.mark.broad
def test_every_mistake_is_so_in_each_of_its_layers_and_arguments() -> None:
    check(CASES)


def test_what_no_mistake_gives_has_no_name() -> None:
    problem = problem_of(LAYERS["layer_norm"], draw(LAYERS["layer_norm"], 1))
    answer = Manual().answer(problem)
    for argument in problem.floats:
        line = line_of_step(problem, answer, argument)
        assert line is not None
        assert named(line, line.own * 1.37) is None
        assert named(line, line.own + line.own.max()) is None


def test_a_finding_of_a_run_has_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LAYERS["layer_norm"]

    def wrong(x: Any, weight: Any, dy: Any, *, eps: float) -> Any:
        """γ's gradient from the input."""
        found = dict(right.backward(x, weight, dy, eps=eps))
        return {**found, "weight": (dy * x).reshape(-1, x.shape[-1]).sum(axis=0)}

    monkeypatch.setitem(LAYERS._operations, "layer_norm", replace(right, backward=wrong))
    chosen = Selection(architectures=("transformer",), regimes=("ordinary",), dtypes=("float64",))
    drawn = [draw_any(0, index) for index in chosen.indices(8)]
    answers = [{"manual": Manual().answer(one.problem)} for one in drawn]
    found = [finding_of(o, a, judge(o.problem, a)) for o, a in zip(drawn, answers, strict=True)]
    finding = next(f for f in found if f.operation == "layer_norm")
    assert finding.verdict == "DEVIATES(manual)" and finding.step == "weight"
    assert finding.example.diagnosis is not None
    assert finding.example.diagnosis.startswith("gamma_from_input: γ multiplies the normalised")
