"""Which reading of somebody's code is the narrower one: it overrules no wider one."""

import pytest
from injected_catalogue import injected
from randomcheck import check_file
from targetsources import inside

from reference.checks.code import Layout, Spec
from reference.checks.judging import chosen
from reference.checks.judging.chosen import extent_of


def _layout(**dims: str) -> Layout:
    return {name: Spec("normal", tuple(text.split())) for name, text in dims.items()}


WIDE = _layout(x="N D", W="D C", b="C")


@pytest.mark.parametrize(
    ("one", "narrower"),
    [
        (WIDE, False),
        (_layout(x="N D", W="D H", b="H"), False),
        (_layout(x="N D", W="D 1", b="1"), True),
        (_layout(x="N D", W="D C", b=""), True),
        (_layout(x="D", W="D C", b="C"), True),
        (_layout(x="D 1", W="C D", b="C 1"), True),
        (_layout(x="D N", W="C D", b="C 1"), False),
        (_layout(x="N T D", W="D 1", b="1"), True),
    ],
)
def test_one_sample_or_one_unit_is_narrower(one: Layout, narrower: bool) -> None:
    assert extent_of(one).narrower_than(extent_of(WIDE)) is narrower


def test_a_reading_of_one_unit_does_not_rule_out_one_sample() -> None:
    one_unit = extent_of(_layout(x="N D", W="1 D"))
    assert not extent_of(_layout(x="D 1", W="C D")).narrower_than(one_unit)


def test_widths_that_prove_nothing_rule_out_fewer_samples_alone() -> None:
    wide = extent_of(WIDE).of_samples()
    assert not extent_of(_layout(x="N D", W="D 1", b="1")).narrower_than(wide)
    assert extent_of(_layout(x="D", W="D C", b="C")).narrower_than(wide)


HIDDEN = (
    ("weight_reshaped", 7),
    ("weight_mean_over_units", 7),
    ("bias_summed_over_everything", 7),
    ("below_mean_over_units", 7),
    ("below_overwritten", 7),
    ("squared_hinge_target_left_out", 7),
    ("sample_weights_left_out", 7),
    ("sample_weights_twice", 23),
)
"""Mistakes that a narrower reading (of one unit, of targets 0 and 1) does not show."""


@pytest.mark.parametrize(("name", "seed"), HIDDEN)
def test_a_narrower_reading_hides_no_mistake(name: str, seed: int) -> None:
    for one in injected(name, seed):
        counts = check_file(one)
        assert not counts.accused and not counts.unchecked
        assert counts.named[name] == 1, (counts.missed, counts.unnamed)


def test_a_step_of_fewer_digits_is_seen() -> None:
    """self.theta -= self.lr * dL_dtheta, whose gradient is float32: the step is float64."""
    (one,) = injected("weight_in_single_precision", 202)
    assert "self.theta -= self.lr * dL_dtheta" in one.wrong
    counts = check_file(one)
    assert counts.named["weight_in_single_precision"] == 1 and not counts.accused


def test_a_search_without_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen.Extent, "narrower_than", lambda one, other: False)
    (one,) = injected("weight_mean_over_units", 7)
    assert check_file(one).missed


ONE_OUTPUT = """
import numpy as np

def loss(params, x, y):
    return np.mean((np.tanh(x @ params["V"]) @ params["W"] - y) ** 2)

def loss_grad(params, x, y):
    h = np.tanh(x @ params["V"])
    d = 2 * (h @ params["W"] - y) / len(y)
    return {"V": x.T @ (d @ params["W"].T * (1 - h**2)), "W": h.T @ d}
"""


def test_a_mean_that_counts_the_samples_alone_is_right_for_one_output() -> None:
    (part,) = inside(ONE_OUTPUT).parts
    assert part.verdict == "right"
    assert "read with one output" in " ".join(part.remarks)
    (part,) = inside(ONE_OUTPUT.replace("/ len(y)", "/ (h @ params['W']).size")).parts
    assert part.verdict == "right" and "one output" not in " ".join(part.remarks)
    (part,) = inside(ONE_OUTPUT.replace('"W": h.T @ d', '"W": h.T @ d / len(y)')).parts
    assert part.verdict == "wrong", "one of two gradients is no common factor"


def test_a_written_loss_is_not_replaced_by_a_guess() -> None:
    """Half the squared error, times 2, is another loss than the one in the file."""
    (part,) = inside(ONE_OUTPUT.replace(" / len(y)", "")).parts
    assert part.verdict == "wrong"


AFFINE = """
import numpy as np

def affine_forward(x, w, b):
    return x @ w + b, (x, w, b)

def affine_backward(dout, cache):
    x, w, b = cache
    return dout @ w.T, dout.sum(axis=0), dout.sum(axis=0)
"""


def test_gradients_of_a_wrong_shape_are_not_said_to_be_in_another_order() -> None:
    (part,) = inside(AFFINE).parts
    assert part.verdict == "wrong"
    assert "come back in the order" not in " ".join(part.remarks)
