"""The trial itself: it catches, it counts, and it can fail."""

import runpy
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from reference.judge import Judgement, judge_all
from reference.oracles import load
from reference.oracles.counterparts import Framework
from reference.problems import draw
from reference.running.tasks import MarkedOracle
from reference.translation import FRAMEWORKS, settle_values
from reference.trials import trial as trials
from reference.trials.faults import TranslationFault, faults, translation_faults
from reference.trials.mutants import (
    Mutant,
    backward_by,
    generated,
    mutant_result,
    mutate,
    of_layers,
)
from reference.trials.mutation import Banks, mutants, swept
from reference.trials.sensitivity import sensitivity
from reports.records import Limit, TrialRow

pytest.importorskip("torch")

MUTANTS = Path(__file__).parents[2] / "benchmarks" / "mutants.py"
CATALOGUE_SHARE = 12  # every so-manieth; `manual-backprop trial` takes all


def by_section(rows: list[Any], section: str) -> list[TrialRow]:
    return [r for r in rows if isinstance(r, TrialRow) and r.section == section]


def test_one_wrong_entry_is_caught_where_the_promise_is() -> None:
    rows = list(sensitivity(0, injected=12, shapes=((32, 2), (8, 24)), checkers=False))
    assert {r.section for r in rows} == {"sensitivity by regime", "sensitivity by shape"}
    for row in rows:
        assert row.columns["manual-backprop"] == 1.0, row


def test_finite_differences_miss_what_the_judge_catches() -> None:
    pytest.importorskip("jax")
    (row,) = [
        r
        for r in sensitivity(0, injected=12, shapes=((4, 2),), regimes=())
        if r.row.startswith("float64")
    ]
    assert row.columns["manual-backprop"] == 1.0 and row.columns["gradcheck, slow"] == 0.0


def test_mutants_die_or_are_equivalent(every: int) -> None:
    rows = list(mutants(0, share=every * CATALOGUE_SHARE))
    table = by_section(rows, "mutants")
    assert sum(int(r.columns["injected"] or 0) for r in table) > 60 / every
    assert trials.passed(rows), trials.text(rows)


def test_the_right_backward_of_a_layer_is_no_mutant_and_a_blind_judge_catches_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Mutant("layer", "glu", "nothing", LAYERS["glu"].backward)
    dead, why = mutant_result(right)
    assert not dead and why.startswith("equivalent: the same bits at ")
    wrong = next(m for m in of_layers() if m.operation == "glu" and "dy * a" in m.change)
    assert mutant_result(wrong)[0]
    for helper in (
        "layer_norm: from_standardised, ",
        "logsumexp: _below_the_largest, ",
        "cosine_embedding: _Directions.across, ",
        "weight_norm: scaled, line 11: `of_x + exponent`",  # two modules call it
    ):
        assert mutant_result(next(m for m in of_layers() if m.name.startswith(helper)))[0]
    monkeypatch.setattr(
        "reference.trials.mutants.judge_all",
        lambda problems, answers: [Judgement("SKIPPED", ("manual",)) for _ in problems],
    )
    assert mutant_result(wrong) == (False, "not caught: SKIPPED")


def test_the_benchmark_prints_what_survives_and_fails_for_what_is_not_equivalent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(MUTANTS))["main"]
    assert main(["--kind", "layer", "--only", "l2_penalty"]) == 0
    assert "killed 7, layer killed 7" in capsys.readouterr().out
    assert main(["--order", "2", "--only", "softsign", "--share", "9"]) == 0
    assert "activation killed" in capsys.readouterr().out
    monkeypatch.setattr(
        "reference.trials.mutation.mutant_result", lambda mutant: (False, "not caught: DEVIATES")
    )
    assert main(["--kind", "layer", "--only", "l2_penalty"]) == 1
    assert "l2_penalty: line" in capsys.readouterr().out


def test_a_trial_that_lets_a_mutant_live_has_not_passed() -> None:
    row = TrialRow(section="mutants", row="injected", columns={"injected": 2, "killed": 1})
    assert not trials.passed([row])
    alarm = TrialRow(section="false alarms", row="float64", columns={"false alarms": 1})
    assert not trials.passed([alarm])


def test_there_are_hundreds_of_mutants_and_injecting_leaves_no_trace() -> None:
    found = list(generated())
    assert len(found) >= 150
    problem = draw(0, 3).problem
    with np.errstate(all="ignore"):
        from manual_backprop.network import backward, forward

        trace = forward(problem)
        before = backward(problem, trace)
        for mutant in found[::100]:
            with suppress(ValueError):  # of a product that does not fit
                backward_by(mutant, problem, trace)
        after = backward(problem, trace)
    assert all(np.array_equal(before[k], after[k], equal_nan=True) for k in before)


def test_each_kind_of_change_is_made() -> None:
    changes = [text for text, _ in mutate(ACTIVATIONS["softplus"].backward)]
    assert len(changes) == len({change for change in changes}) > 3

    def example(x: Any, y: Any, dy: Any) -> Any:
        """Example."""
        return np.where(x > 0, -y.T @ dy, x * 2.0 + 1)

    texts = "\n".join(text for text, _ in mutate(example))
    for expected in ("x < 0", "dy @ -y.T", "y.T", "x / 2.0", "x * 2.0 - 1", "3.0", "y"):
        assert f"→ `{expected}`" in texts, expected


def test_a_change_of_digits_alone_is_called_equivalent_and_a_real_one_is_caught() -> None:
    relu = ACTIVATIONS["relu"]
    same = Mutant("activation", "relu", "none", relu.backward)
    caught, why = swept(same)
    assert not caught and why.startswith("equivalent: the same bits")
    wrong = Mutant("activation", "relu", "off", lambda x, y, dy: relu.backward(x, y, dy) * 1.001)
    caught, why = swept(wrong)
    assert caught and "sweep" in why


CALLS = ("delta not passed on (huber)", "bias added twice (dense)", "wrong divisor of the mean")


def some_faults() -> list[TranslationFault]:
    return [fault for fault in faults("torch") if any(text in fault.name for text in CALLS)]


def test_a_wrong_call_of_a_framework_is_not_reported_as_its_gradient() -> None:
    rows = list(translation_faults(some_faults(), 40))
    assert [row.columns["injected"] for row in rows] == [1, 1, 1]
    assert trials.passed(rows), trials.text(rows)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_wrong_call_is_met_and_not_reported_as_a_gradient(framework: Framework) -> None:
    pytest.importorskip("jax")
    rows = list(translation_faults(list(faults(framework)), 64))
    assert sum(int(row.columns["injected"] or 0) for row in rows) > 10
    assert trials.passed(rows), trials.text(rows)


def test_a_wrong_call_that_accuses_the_framework_has_not_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "reference.trials.faults.settle_values", lambda _, judgements, __: judgements
    )
    rows = list(translation_faults(some_faults()[:1], 40))
    assert [row.columns["killed"] for row in rows] == [0] and not trials.passed(rows)


def test_what_a_framework_gets_wrong_itself_stays_its_own() -> None:
    found = Counter[str]()
    oracles = load(("manual", "torch"))
    for start in range(0, 256, 128):
        drawn = [draw(0, index) for index in range(start, start + 128)]
        asked = [one.problem for one in drawn]
        answers = {name: oracle.answers(asked) for name, oracle in oracles.items()}
        judgements = settle_values(drawn, judge_all(asked, answers), oracles)
        found.update(judgement.verdict for judgement in judgements)
    assert found["DEVIATES(torch)"] > 5 and not any("VALUE" in verdict for verdict in found)


def test_a_use_is_asked_about_once_for_all_blocks() -> None:
    """Each block of a worker wraps its oracles in new ones, which say when they are asked."""
    oracles = load(("manual", "torch"))
    drawn = [draw(0, index) for index in range(128)]
    asked = [one.problem for one in drawn]
    answers = {name: oracle.answers(asked) for name, oracle in oracles.items()}
    judgements = judge_all(asked, answers)
    assert any(judgement.verdict == "DEVIATES(torch)" for judgement in judgements)
    torch, marks = oracles["torch"], list[object]()
    first, second = (
        settle_values(
            drawn, judgements, {"torch": MarkedOracle(torch, "torch", marks.append, set())}
        )
        for _ in range(2)
    )
    once = len(marks)
    assert first == second and once > 0
    settle_values(
        drawn,
        judgements,
        {"torch": MarkedOracle(load(("torch",))["torch"], "", marks.append, set())},
    )
    assert len(marks) == 2 * once


def test_correct_networks_raise_no_alarm() -> None:
    rows = list(trials.false_alarms(40, oracles=("manual", "torch")))
    assert sum(int(r.columns["networks"] or 0) for r in rows) == 40
    assert not any(r.columns["false alarms"] for r in rows)


def test_hiding_places_hide_and_the_default_does_not() -> None:
    rows = {r.row: r.columns for r in trials.hiding_places()}
    assert rows["as drawn by default"]["unseen"] == 0
    assert "below_weight_not_transposed" in str(rows["square, symmetric weights"]["which"])
    limits = list(trials.limits([TrialRow(section="", row=k, columns=v) for k, v in rows.items()]))
    assert all(isinstance(limit, Limit) for limit in limits) and len(limits) > 3


def test_banks_use_the_operation_they_are_for() -> None:
    for problem, _ in Banks(0).bank("activation", "mish", 3):
        assert "mish" in {layer.activation for layer in problem.network.layers}
