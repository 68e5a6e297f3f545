"""Whole networks, value_and_grad: drawn by `accepts`, judged by their own loss."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kindtools import checked, only
from patience import PATIENCE
from targetsources import NETWORK

from manual_backprop.operation import InvalidInput

CLASSIFIER = """
import numpy as np
accepts = {"activations": "tanh", "output": "identity", "losses": "cross_entropy",
           "reductions": "mean", "targets": "labels", "depths": (2,)}

def value_and_grad(network, params, x, y):
    W1, b1, W2, b2 = params.values()
    h = np.tanh(x @ W1 + b1)
    z = h @ W2 + b2
    z = z - z.max(axis=1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    n = len(x)
    d2 = np.exp(logp)
    d2[np.arange(n), y] -= 1
    d2 /= n
    d1 = d2 @ W2.T * (1 - h * h)
    return -logp[np.arange(n), y].mean(), [x.T @ d1, d1.sum(0), h.T @ d2, d2.sum(0)]
"""

WITH_WEIGHTS = """
import numpy as np
accepts = {"activations": "tanh", "output": "identity", "losses": "mse", "reductions": "sum",
           "depths": 2}

def value_and_grad(network, params, x, y, weights):
    W1, b1, W2, b2 = params.values()
    w = np.ones((len(x), 1)) if weights is None else weights[:, None]
    h = np.tanh(x @ W1 + b1)
    d = h @ W2 + b2 - y
    d2 = 2 * w * d
    d1 = d2 @ W2.T * (1 - h * h)
    return (w * d * d).sum(), {"W1": x.T @ d1, "b1": d1.sum(0), "W2": h.T @ d2, "b2": d2.sum(0)}
"""

HALF = NETWORK.replace("loss = ((a - y) ** 2).mean()", "loss = ((a - y) ** 2).mean() / 2").replace(
    "d = 2 * (a - y)", "d = (a - y)"
)

ON_FLOATS = "from array import array\n" + NETWORK.replace(
    "loss = ((a - y) ** 2).mean()", "loss = array('d', [((a - y) ** 2).mean()])[0]"
)

WEIGHT = 'grads[f"layers.{i}.weight"]'
STEPS = NETWORK.replace(WEIGHT, 'grads[f"layers.{i}.z"] = dz\n        ' + WEIGHT)

FORMS = {
    "any depth": (NETWORK, "dz @ values", "d @ values", "below_skips_activation"),
    "a classifier": (CLASSIFIER, "(1 - h * h)", "(1 - h)", "tanh_square_left_out"),
    "sample weights": (WITH_WEIGHTS, "d2.sum(0)", "d2.mean(0)", "bias_mean_over_batch"),
    "half of the loss": (HALF, "dz.sum(axis=0)", "dz.mean(axis=0)", "bias_mean_over_batch"),
    "on floats alone": (ON_FLOATS, "dz.sum(axis=0)", "dz.mean(axis=0)", "bias_mean_over_batch"),
    "with steps": (STEPS, "d * (z > 0)", "d * (d > 0)", "relu_mask_of_cotangent"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_right_and_wrong(tmp_path: Path, form: str) -> None:
    source, right, wrong, text = FORMS[form]
    found = only(tmp_path, source, problems=9)
    assert found.kind == "network"
    assert found.right, found
    assert found.text == ""
    assert right in source
    found = only(tmp_path, source.replace(right, wrong), problems=9)
    assert not found.right
    assert text in found.text, found.text


def test_what_it_is_judged_by_is_said(tmp_path: Path) -> None:
    assert only(tmp_path, NETWORK).subject.judged_by() == "its own loss, certified"  # type: ignore[union-attr]
    judged = only(tmp_path, ON_FLOATS).subject.judged_by()  # type: ignore[union-attr]
    assert judged.startswith("the definition of the network, certified")


def test_a_loss_that_is_another_is_judged_by_itself_and_said(tmp_path: Path) -> None:
    found = only(tmp_path, HALF)
    assert any("0.5 times mse" in r for r in found.cases[0].assessment.remarks)
    other = NETWORK.replace("((a - y) ** 2).mean()", "((a - y) ** 4).mean()")
    other = other.replace("2 * (a - y)", "4 * (a - y) ** 3")
    found = only(tmp_path, other)
    assert found.right
    assert any("its loss is another than mse" in r for r in found.cases[0].assessment.remarks)


def test_labels_are_not_smoothed_unless_it_is_asked_for(tmp_path: Path) -> None:
    found = only(tmp_path, CLASSIFIER, problems=16)
    assert found.right
    assert not any(c.assessment.remarks for c in found.cases)


def test_inner_steps_are_compared_where_they_came_back(tmp_path: Path) -> None:
    found = only(tmp_path, STEPS)
    leaves = {r.leaf[0] for c in found.cases for r in c.assessment.rows}
    assert {"layers.0.z", "layers.0.weight"} <= leaves


def test_kinks_are_no_mistake(tmp_path: Path) -> None:
    """relu' = 1 at 0 is as good as 0: problems that meet it exactly are drawn anew."""
    assert only(tmp_path, NETWORK.replace("(z > 0)", "(z >= 0)"), problems=20).right


def test_changed_inputs_and_a_coarser_dtype_are_faults(tmp_path: Path) -> None:
    source = NETWORK.replace(
        "    values, a, steps", "    x *= 1.0\n    x += 1\n    values, a, steps"
    )
    assert any(k == "mutated" for c in only(tmp_path, source).cases for k, _ in c.faults)
    source = NETWORK.replace("dz.sum(axis=0)", "dz.sum(axis=0).astype(np.float32)")
    assert any(k == "dtype" for c in only(tmp_path, source).cases for k, _ in c.faults)


@pytest.mark.parametrize(
    ("accepts", "text"),
    [
        ("'x'", "accepts = 'x': expected a dict"),
        ("{'regimes': 3}", "accepts: 'regimes'; expected activations,"),
        ("{'activations': ['nope']}", "accepts: activations: 'nope'; expected one of"),
        ("{'losses': 5}", "accepts: losses: 5; expected one of"),
        ("{'targets': ['nope']}", "accepts: targets: 'nope'; expected one of real,"),
        ("{'reduction': 'nope'}", "accepts: reductions: 'nope'; expected one of none, sum,"),
        ("{'bias': 'no'}", "accepts: bias = 'no': expected True or False"),
        ("{'depths': 'a'}", "accepts: depths = 'a': expected whole numbers > 0"),
        ("{'widths': [0, 2]}", "accepts: widths = [0, 2]: expected whole numbers > 0"),
        ("{'widths': [2]}", "accepts: widths = [2]: expected two of them at least"),
        ("{'losses': []}", "accepts: losses = []: expected a list that is not empty"),
    ],
)
def test_an_accepts_that_means_nothing_is_refused(tmp_path: Path, accepts: str, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(tmp_path, NETWORK + f"\naccepts = {accepts}\n")
    assert str(caught.value).startswith(text)


EXAMPLES = {
    "student_mlp": {"tanh_square_left_out", "weight_mean_taken_again", "bias_mean_over_batch"},
    "textbook_mlp": {"sigmoid_first_factor_left_out"},
    "sklearn_mlp": set(),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_say_what_they_are_there_to_show(tmp_path: Path, name: str) -> None:
    if name == "sklearn_mlp":
        pytest.importorskip("sklearn")
    source = (Path(__file__).parents[2] / "examples" / "check" / f"{name}.py").read_text()
    found = only(tmp_path, source, problems=12)
    assert {m.name for m in found.explained.named} == EXAMPLES[name]
    assert not found.explained.described
    assert found.right is not EXAMPLES[name] or not EXAMPLES[name]


ALONE = """
import sys
from pathlib import Path
from kindtools import only
from targetsources import GENERAL, NETWORK
for source in (GENERAL, NETWORK, NETWORK.replace("dz @ values", "d @ values")):
    only(Path(sys.argv[1]), source)
assert "torch" not in sys.modules and "jax" not in sys.modules
"""


def test_numpy_code_imports_no_framework(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, ran.stderr
