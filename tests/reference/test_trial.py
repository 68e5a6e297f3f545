"""The trial itself: it catches, it counts, and it can fail."""

from typing import Any

import numpy as np
import pytest

from manual_backprop.spec import ACTIVATIONS
from reference.problems import draw
from reference.trials import trial as trials
from reference.trials.mutants import Mutant, backward_by, generated, mutate
from reference.trials.mutation import Banks, mutants, swept
from reference.trials.sensitivity import sensitivity
from reports.records import Limit, TrialRow

pytest.importorskip("torch")

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


def test_mutants_die_or_are_equivalent() -> None:
    rows = list(mutants(0, share=CATALOGUE_SHARE))
    table = by_section(rows, "mutants")
    assert sum(int(r.columns["planted"] or 0) for r in table) > 60
    assert trials.passed(rows), trials.text(rows)


def test_a_trial_that_lets_a_mutant_live_has_not_passed() -> None:
    row = TrialRow(section="mutants", row="planted", columns={"planted": 2, "killed": 1})
    assert not trials.passed([row])
    alarm = TrialRow(section="false alarms", row="float64", columns={"false alarms": 1})
    assert not trials.passed([alarm])


def test_there_are_hundreds_of_mutants_and_planting_leaves_no_trace() -> None:
    found = list(generated())
    assert len(found) >= 150
    problem = draw(0, 3).problem
    with np.errstate(all="ignore"):
        from manual_backprop.network import backward, forward

        trace = forward(problem)
        before = backward(problem, trace)
        for mutant in found[::100]:
            backward_by(mutant, problem, trace)
        after = backward(problem, trace)
    assert all(np.array_equal(before[k], after[k], equal_nan=True) for k in before)


def test_each_kind_of_change_is_made() -> None:
    changes = [text for text, _ in mutate(ACTIVATIONS["softplus"].backward)]
    assert len(changes) == len({change for change in changes}) > 3

    def example(x: Any, y: Any, dy: Any) -> Any:
        """Example."""
        return np.where(x > 0, -y.T @ dy, x * 2.0 + 1)

    said = "\n".join(text for text, _ in mutate(example))
    for expected in ("x < 0", "dy @ -y.T", "y.T", "x / 2.0", "x * 2.0 - 1", "3.0", "y"):
        assert f"→ `{expected}`" in said, expected


def test_a_change_of_digits_alone_is_called_equivalent_and_a_real_one_is_caught() -> None:
    relu = ACTIVATIONS["relu"]
    same = Mutant("activation", "relu", "none", relu.backward)
    caught, why = swept(same)
    assert not caught and why.startswith("equivalent: the same bits")
    wrong = Mutant("activation", "relu", "off", lambda x, y, dy: relu.backward(x, y, dy) * 1.001)
    caught, why = swept(wrong)
    assert caught and "sweep" in why


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
    for trial in Banks(0).bank("activation", "mish", 3):
        assert "mish" in {layer.activation for layer in trial.problem.network.layers}
