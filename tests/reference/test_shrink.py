"""Shrinking: what fails stays failing, small and plain."""

from statistics import median

import numpy as np
import pytest

from manual_backprop.network import Problem, backward, check_problem, forward
from reference.checks.shrink import (
    hiding_places,
    shrink,
    spell,
    with_rows,
    with_widths,
    without_layer,
)
from reference.diagnosis.mistakes import CATALOGUE, Mistake, Planted
from reference.diagnosis.same import same_to_rounding
from reference.problems import Selection, draw
from reference.trials.diagnosis import planted

NAMES = (
    "weight_mean_taken_again", "bias_mean_over_batch", "below_skips_activation", "below_sign",
    "weight_reshaped", "mean_left_out", "activation_skipped", "below_overwritten",
)  # fmt: skip


def failing(entry: Mistake) -> object:
    oracle = Planted(((entry.name, None),))

    def fails(problem: Problem) -> bool | None:
        with np.errstate(all="ignore"):
            right = backward(problem, forward(problem))
        given = oracle.answer(problem).gradients
        if not all(np.isfinite(v).all() for v in right.values()):
            return None
        return any(not same_to_rounding(given[n], right[n]) for n in right)

    return fails


def test_counterexamples_are_small_and_plain() -> None:
    layers, widths, batches, digits = [], [], [], []
    for name in NAMES:
        entry = CATALOGUE[name]
        for evidence in planted(entry, 2):
            fails = failing(entry)
            small = shrink(evidence.problem, fails, tries=300)  # type: ignore[arg-type]
            assert fails(small) is True  # type: ignore[operator]
            check_problem(small)
            layers.append(len(small.network.layers))
            widths.append(max(small.network.widths))
            batches.append(small.batch)
            numbers = np.concatenate(
                [small.x.ravel(), *(v.ravel() for v in small.parameters.values())]
            )
            digits.append(max(len(f"{abs(v):.6g}".strip("0.").replace(".", "")) for v in numbers))
            assert spell(small)
    assert median(layers) <= 2
    assert median(widths) <= 2
    assert median(batches) <= 2
    assert median(digits) <= 2


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("weight_mean_taken_again", "at batch 1"),
        ("below_last_unit_missing", "at width 1"),
        ("sample_weights_left_out", "without sample weights"),
        ("mean_left_out", "where the loss is a sum"),
        ("below_weight_reshaped", "where every layer is square"),
    ],
)
def test_it_says_where_a_mistake_hides(name: str, place: str) -> None:
    entry = CATALOGUE[name]
    deep = [e for e in planted(entry, 12) if len(e.problem.network.layers) > 1]
    found = [list(hiding_places(e.problem, failing(entry))) for e in deep]  # type: ignore[arg-type]
    assert any(place in places for places in found), found


def test_smaller_problems_are_problems() -> None:
    for index in Selection(regimes=("ordinary",)).indices(150):
        problem = draw(0, index).problem
        check_problem(with_rows(problem, [0]))
        check_problem(with_widths(problem, [2] * len(problem.network.widths)))
        if len(problem.network.layers) > 1:
            check_problem(without_layer(problem, 0))


def test_a_budget_of_no_tries_changes_nothing() -> None:
    problem = draw(0, 0).problem
    assert shrink(problem, lambda p: True, tries=0) is problem
