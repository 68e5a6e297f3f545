"""Each mistake injected into a right network is named; a right network is not explained."""

import itertools
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from targetsources import modules_forgotten

from reference.checks.code import load, units_of
from reference.checks.explain import LIMIT, Explanation, explain
from reference.checks.judging import Chosen, search
from reference.checks.running import experiment

NETWORK = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def forward(X, W1, b1, W2, b2):
    z1 = X @ W1 + b1
    a1 = np.tanh(z1)
    z2 = a1 @ W2 + b2
    a2 = sigmoid(z2)
    return a2, (X, z1, a1, z2, a2, W1, W2)

def backward(da2, cache):
    X, z1, a1, z2, a2, W1, W2 = cache
    dz2 = da2 * a2 * (1 - a2)
    dW2 = a1.T @ dz2
    db2 = dz2.sum(axis=0)
    da1 = dz2 @ W2.T
    dz1 = da1 * (1 - a1 ** 2)
    dW1 = X.T @ dz1
    db1 = dz1.sum(axis=0)
    dX = dz1 @ W1.T
    return dX, dW1, db1, dW2, db2
"""

INJECTED = [
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1", "activation_skipped"),
    ("dz2 = da2 * a2 * (1 - a2)", "dz2 = da2", "activation_skipped"),
    ("dW2 = a1.T @ dz2", "dW2 = a1.T @ da2", "weight_skips_activation"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * (1 - a1)", "tanh_square_left_out"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * (1 - z1 ** 2)", "tanh_formula_at_input"),
    (
        "dz1 = da1 * (1 - a1 ** 2)",
        "dz1 = da1 * (1 - np.tanh(a1) ** 2)",
        "activation_overwrote_input",
    ),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * a1 * (1 - a1)", "activation_taken_for_sigmoid"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * (z1 > 0)", "activation_taken_for_relu"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * a1", "activation_value_for_slope"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1 * (1 - a1 ** 2) ** 2", "activation_slope_twice"),
    ("dz2 = da2 * a2 * (1 - a2)", "dz2 = da2 * (1 - a2)", "sigmoid_first_factor_left_out"),
    ("dz2 = da2 * a2 * (1 - a2)", "dz2 = da2 * (1 - da2)", "sigmoid_formula_at_cotangent_alone"),
    ("dz2 = da2 * a2 * (1 - a2)", "dz2 = a2 * (1 - a2)", "activation_cotangent_forgotten"),
    ("dz1 = da1 * (1 - a1 ** 2)", "dz1 = -da1 * (1 - a1 ** 2)", "activation_sign"),
    ("dW1 = X.T @ dz1", "dW1 = 2 * X.T @ dz1", "weight_accumulated_twice"),
    ("dW1 = X.T @ dz1", "dW1 = X.T @ dz1 / len(X)", "weight_mean_taken_again"),
    ("dW1 = X.T @ dz1", "dW1 = -X.T @ dz1", "weight_sign"),
    ("dW1 = X.T @ dz1", "dW1 = np.zeros_like(W1)", "weight_left_out"),
    ("dW1 = X.T @ dz1", "dW1 = X.T @ dz1 + 0.5 * W1", "regularisation_factor"),
    ("dW1 = X.T @ dz1", "dW1 = np.clip(X.T @ dz1, -0.1, 0.1)", "weight_clipped"),
    ("dW2 = a1.T @ dz2", "dW2 = z1.T @ dz2", "weight_from_pre_activation"),
    ("dW2 = a1.T @ dz2", "dW2 = (a1.T @ dz2)[::-1]", "flipped"),
    ("db2 = dz2.sum(axis=0)", "db2 = dz2.mean(axis=0)", "bias_mean_over_batch"),
    (
        "db1 = dz1.sum(axis=0)",
        "db1 = np.full(W1.shape[1], dz1.sum())",
        "bias_summed_over_everything",
    ),
    ("db1 = dz1.sum(axis=0)", "db1 = da1.sum(axis=0)", "bias_skips_activation"),
    ("db1 = dz1.sum(axis=0)", "db1 = dz1[0]", "bias_first_sample_only"),
    ("dX = dz1 @ W1.T", "dX = da1 @ W1.T", "below_skips_activation"),
    ("dX = dz1 @ W1.T", "dX = dz1 @ W1.T; dX[1:] = 0", "left_at_zero"),
]


def explained(folder: Path, source: str, name: str = "backward") -> Explanation:
    """Return the explanation of the one unit of a source."""
    file = folder / "net.py"
    file.write_text(textwrap.dedent(source))
    with modules_forgotten(file):
        target = load(str(file))
        unit = next(u for u in units_of(target) if u.backward.short == name)
        chosen = search(unit, target, 0, {})
        assert isinstance(chosen, Chosen)
        return explain(chosen.reading, chosen.objective, 0, range(12), limit=20 * LIMIT)


@pytest.mark.parametrize(
    ("right", "wrong", "name"), INJECTED, ids=[f"{i}-{p[2]}" for i, p in enumerate(INJECTED)]
)
def test_a_injected_mistake_is_named(tmp_path: Path, right: str, wrong: str, name: str) -> None:
    assert right in NETWORK
    found = explained(tmp_path, NETWORK.replace(right, wrong))
    assert [n.name for n in found.named] == [name]
    assert found.described == ()
    assert all(n.matched >= 3 and n.distance < 1e-9 for n in found.named)


def test_the_search_says_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise a long search would be taken for a target that hangs.
    clock = itertools.count()
    ticks = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(experiment, "time", ticks)
    heard: list[bool] = []
    experiment.watch(lambda problem, tape: heard.append(tape))
    try:
        explained(tmp_path, NETWORK.replace("db1 = dz1.sum(axis=0)", "db1 = dz1[0]"))
    finally:
        experiment.watch(None)
    assert heard.count(True) > 100


def test_a_right_network_is_not_explained(tmp_path: Path) -> None:
    assert explained(tmp_path, NETWORK) == Explanation()


def test_two_mistakes_are_both_named(tmp_path: Path) -> None:
    wrong = NETWORK.replace("dz1 = da1 * (1 - a1 ** 2)", "dz1 = da1").replace(
        "dW2 = a1.T @ dz2", "dW2 = a1.T @ da2"
    )
    found = explained(tmp_path, wrong)
    assert {n.name for n in found.named} == {"activation_skipped", "weight_skips_activation"}


ONES = """
import numpy as np

def gradient(theta, features, classes, reg):
    m = len(features)
    a1 = np.c_[ROW]
    a2 = 1 / (1 + np.exp(-a1 @ theta))
    kept = theta.copy()
    kept[AT] = 1
    return a1.T @ (a2 - classes) / m + reg * kept / m
"""


@pytest.mark.parametrize("index", ["[0]", "[-1]", "[:, 0]", "[:, -1]"])
def test_the_line_of_the_bias_is_named(tmp_path: Path, index: str) -> None:
    row = "np.ones((m, 1)), features" if "0" in index else "features, np.ones((m, 1))"
    source = ONES.replace("ROW", row).replace("[AT]", index)
    if ":" in index:
        source = source.replace("a1 @ theta", "a1 @ theta.T")
        source = source.replace("a1.T @ (a2 - classes)", "(a2 - classes).T @ a1")
    (found,) = explained(tmp_path, source, "gradient").named
    assert found.right.endswith(f"theta{index}"), found.right
    line = "column" if ":" in index else "row"
    assert f"The {line} of the bias takes part" in found.sentence


def test_what_follows_from_a_mistake_is_not_accused(tmp_path: Path) -> None:
    found = explained(tmp_path, NETWORK.replace("dz2 = da2 * a2 * (1 - a2)", "dz2 = da2"))
    assert found.first == "dz2"
    assert set(found.named[0].tensors) == {"dX", "dW1", "db1", "dW2", "db2"}


@pytest.mark.parametrize("name", ["dz1", "step"])
@pytest.mark.parametrize("factor", ["2 * ", "-"])
def test_a_variable_that_a_mistake_makes_too_large_is_named(
    tmp_path: Path, name: str, factor: str
) -> None:
    wrong = NETWORK.replace("dz1 = da1", f"dz1 = {factor}da1").replace("dz1", name)
    found = explained(tmp_path, wrong)
    assert found.first == name and found.named[0].name.startswith("activation")
    later = NETWORK.replace("X.T @ dz1", f"{factor}X.T @ dz1").replace("dz1", name)
    assert explained(tmp_path, later).first == "dW1"


def test_what_no_name_fits_is_described(tmp_path: Path) -> None:
    strange = NETWORK.replace("dW1 = X.T @ dz1", "dW1 = X.T @ dz1; dW1[0] = np.cos(dW1[0]) ** 3")
    found = explained(tmp_path, strange)
    assert found.named == ()
    assert [t for t, _ in found.described] == ["dW1"]
    assert "row 0" in found.described[0][1]


def test_a_rounded_constant_is_told_by_its_digits(tmp_path: Path) -> None:
    rounded = NETWORK.replace(
        "dW1 = X.T @ dz1", "dW1 = X.T @ dz1 * (1 + 1e-6 * np.abs(X).sum() * W1)"
    )
    found = explained(tmp_path, rounded)
    assert found.named == ()
    assert "digits only" in found.described[0][1]
