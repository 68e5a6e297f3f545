"""The catalogue, injected and found again; and what no name fits, described."""

import os

import numpy as np
import pytest

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, backward, forward
from manual_backprop.operation import FloatArray, InvalidInput
from reference.diagnose import SEVERAL, diagnose, locate
from reference.diagnosis.closeness import difference, same_to_rounding
from reference.diagnosis.describe import ArrayPair, describe
from reference.diagnosis.mistakes import (
    CATALOGUE,
    ActivationLine,
    FaultSite,
    InjectedFaults,
    backward_with,
    places,
)
from reference.diagnosis.mistakes.activations import GATES
from reference.diagnosis.mistakes.catalogue import WEIGHT
from reference.diagnosis.search import GradientEvidence
from reference.problems import Selection, draw
from reference.trials.diagnosis import diagnosis_rows, injected, single_mistakes, two_mistakes

# The whole catalogue, and pairs, where there is time; a part of it at every save.
FULL = os.environ.get("HYPOTHESIS_PROFILE", "dev") not in ("dev", "again")
SELECTION = Selection(regimes=("ordinary",), dtypes=("float64",))


def drawn(count: int, seed: int = 0) -> list[Problem]:
    return [draw(seed, i).problem for i in SELECTION.indices(count)]


def right_of(problem: Problem) -> dict[str, FloatArray]:
    with np.errstate(all="ignore"):
        return backward(problem, forward(problem))


def test_the_walk_with_nothing_injected_is_the_backward() -> None:
    for problem in drawn(40):
        right = right_of(problem)
        walked = backward_with(problem, None, {})
        for name, value in right.items():
            assert np.array_equal(value, walked[name], equal_nan=True), name


def test_the_catalogue_says_what_a_teacher_would() -> None:
    assert len(CATALOGUE) >= 60
    assert {m.family for m in CATALOGUE.values()} == {
        "layers", "activations", "slopes", "losses", "batching", "memory", "dtype",
    }  # fmt: skip
    for entry in CATALOGUE.values():
        assert entry.sentence.endswith("."), entry.name
        assert entry.wrong != entry.right, entry.name
        assert set(entry.operations) <= {*ACTIVATIONS, *LOSSES}, entry.name
    with pytest.raises(InvalidInput, match="defined twice"):
        WEIGHT("weight_sign", "", "A sentence.", lambda line: line)


def about(*lines: str, operation: str = "") -> int:
    """Return how many mistakes can be made in these lines, with an operation or with any."""
    found = [m.operations for m in CATALOGUE.values() if m.line in lines]
    return sum(not of or operation in of for of in found)


def test_every_operation_has_its_mistakes() -> None:
    for name in ACTIVATIONS:
        assert about("activation", operation=name) >= 8
    for name in LOSSES:
        assert about("loss", operation=name) >= 8
    assert about("weight", "bias", "below") >= 20


def test_single_mistakes_are_located_and_named() -> None:
    rows = single_mistakes(problems=6, most=None if FULL else 26)
    assert rows.injected >= (150 if FULL else 26)
    assert rows.located >= 0.98 * rows.injected, rows.missed
    assert rows.named >= 0.95 * rows.injected, rows.missed


def test_from_final_gradients_alone_too() -> None:
    rows = single_mistakes(problems=4, most=None if FULL else 8, steps=False)
    assert rows.named >= 0.95 * rows.injected, rows.missed


@pytest.mark.parametrize("steps", [True, False])
def test_two_mistakes_are_both_named(steps: bool) -> None:
    rows = two_mistakes(150 if FULL else 4, problems=4, steps=steps)
    assert rows.named >= 0.8 * rows.injected, rows.missed


def test_the_trial_gives_rows_for_the_report() -> None:
    rows = diagnosis_rows(singles=1, pairs=1, right=1000 if FULL else 60, problems=3)
    assert [row.section for row in rows] == ["diagnosis"] * len(rows)
    right = rows[-1]
    assert right.columns["diagnosed"] == 0


@pytest.mark.parametrize("value", [0.0, 1.0, np.inf, np.nan])
def test_a_number_that_is_none_differs_from_every_number(value: float) -> None:
    """Also from zeros: nan over a scale of 0 was a division by zero."""
    a, b = np.array([0.0, value]), np.array([0.0, np.nan])
    expected = 0.0 if np.isnan(value) else np.inf
    assert difference(a, b) == difference(b, a) == expected
    assert same_to_rounding(a, b) == bool(np.isnan(value))


def test_a_right_gradient_gets_no_diagnosis() -> None:
    evidence = [GradientEvidence(p, right_of(p)) for p in drawn(10)]
    found = diagnose(evidence)
    assert found.location is None
    assert not found.named
    assert locate(evidence[0]) is None


def test_too_few_problems_name_nothing() -> None:
    entry = CATALOGUE["weight_sign"]
    evidence = injected(entry, SEVERAL - 1)
    right = [GradientEvidence(p, right_of(p)) for p in drawn(SEVERAL)]
    assert not diagnose([*evidence, *right]).named


def test_a_mistake_that_nothing_names_is_described() -> None:
    evidence = []
    for problem in drawn(6):
        gradients = right_of(problem)
        gradients["layers.0.weight"] = 7 / 3 * gradients["layers.0.weight"]
        evidence.append(GradientEvidence(problem, gradients))
    found = diagnose(evidence)
    assert not found.named
    assert found.described == (("layers.0.weight", "it is 7/3 times the right one"),)


def test_nonsense_is_said_to_fit_nothing() -> None:
    rng = np.random.default_rng(0)
    evidence = []
    for problem in drawn(6):
        gradients = right_of(problem)
        gradients["x"] = rng.standard_normal(problem.x.shape)
        evidence.append(GradientEvidence(problem, gradients))
    found = diagnose(evidence)
    assert not found.named
    assert not found.described
    assert found.location is not None and found.location.tensor == "x"


def test_one_line_in_a_loop_is_one_mistake() -> None:
    evidence = []
    for problem in drawn(12):
        gradients = InjectedFaults((("weight_mean_taken_again", None),)).answer(problem).gradients
        evidence.append(GradientEvidence(problem, gradients))
    (named,) = diagnose(evidence).named
    assert named.mistake.name == "weight_mean_taken_again"
    assert len(named.places) > 1


def test_a_mistake_that_cannot_be_made_there_changes_nothing() -> None:
    for problem in drawn(30):
        entry = CATALOGUE["softmax_diagonal_only"]
        if not list(places(problem, entry)):
            right = backward_with(problem, None, {})
            injected = backward_with(problem, None, {FaultSite("activation", 0): entry})
            assert all(np.array_equal(right[n], injected[n], equal_nan=True) for n in right)
            return
    raise AssertionError("no problem without a softmax was drawn")


RNG = np.random.default_rng(1)
RIGHT = [RNG.standard_normal((n, 4)) for n in (2, 3, 5)]
DESCRIBED = [
    (lambda a: a.T, "transpose"),
    (lambda a: -a, "-1 times"),
    (lambda a: a * len(a), "N times the right one"),
    (lambda a: 2 * a / len(a), "2 · 1/N of the right one"),
    (lambda a: np.abs(a), "some signs are not"),
    (lambda a: a[::-1], "rows are the right ones in another order"),
    (lambda a: a[:, [1, 0, 2, 3]], "columns are the right ones in another order"),
    (lambda a: np.where(np.arange(4) < 3, a, 0), "last column is zero"),
    (lambda a: np.where(a > 0, a, 0), "some of its entries are zero"),
    (lambda a: np.zeros_like(a), "all zeros"),
    (lambda a: a + 0.25 * np.ones(4), "1/4 · ones is added"),
    (lambda a: a * np.arange(1.0, 5.0), "multiplied by count"),
    (lambda a: a.astype(np.float32).astype(float), "float32"),
    (lambda a: np.full_like(a, np.nan), "nan or inf"),
    (lambda a: a.ravel(), "the shape is not"),
    (lambda a: np.stack([a / 2, a / 2]), "a sum is missing"),
    (lambda a: a * np.log(2 + np.arange(a.size)).reshape(a.shape), ""),
]


@pytest.mark.parametrize(("spoil", "words"), DESCRIBED, ids=[words for _, words in DESCRIBED])
def test_relations_are_put_in_words(spoil: object, words: str) -> None:
    pairs = [
        ArrayPair(spoil(a), a, {"ones": np.ones(4), "count": np.arange(1.0, 5.0)}, {"N": len(a)})  # type: ignore[operator]
        for a in RIGHT
    ]
    found = describe(pairs)
    assert words in found if words else found == ""


def test_a_number_is_no_multiple_that_says_anything() -> None:
    pairs = [ArrayPair(np.array(a), np.array(b)) for a, b in ((1.0, 3.0), (2.0, 5.0), (7.0, -2.0))]
    assert describe(pairs) == "no constant factor explains it"


def test_what_agrees_is_not_described() -> None:
    assert describe([ArrayPair(a, a) for a in RIGHT]) == ""


@pytest.mark.parametrize("name", GATES)
def test_the_gate_at_zero_is_the_slope_there(name: str) -> None:
    """z g(z) has the slope g(0) at 0: ½ of most gates, tanh(ln 2) = 0.6 of mish."""
    z, da = np.array([[0.0, 1e-9]]), np.array([[2.0, 2.0]])
    operation = ACTIVATIONS[name]
    line = ActivationLine(operation, {}, z, operation.forward(z), da)
    gate = operation.forward(np.array([[1e-9]]))[0, 0] / 1e-9
    for key, right in (("gate_second_term_left_out", gate), ("gate_first_term_left_out", 0.0),
                           ("gate_value_for_slope", gate)):  # fmt: skip
        np.testing.assert_allclose(CATALOGUE[key].transform(line), 2 * right, atol=1e-7)
