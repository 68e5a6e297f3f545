"""A script without functions is read as one function of its weights."""

from pathlib import Path

import numpy as np
import pytest

from reference.checks.checker import check
from reference.checks.code import load
from reference.checks.code.scripts import MAX_WEIGHTS, script_of

SCRIPT = """
import numpy as np

X = np.zeros((6, 2))
for i in range(6):
    X[i] = [np.sin(i), np.cos(i)]
y = np.ones((6, 1))
W = np.random.randn(2, 1)
b = 0.0
rate = 0.1
for step in range(100):
    pred = X @ W + b
    error = pred - y
    loss = np.mean(error**2)
    if step % 10 == 0:
        print(step, loss)
    dpred = 2 * error / error.size
    dW = X.T @ dpred
    db = dpred.sum()
    W -= rate * dW
    b -= rate * db
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "training.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_step_of_a_loop_is_the_function(tmp_path: Path) -> None:
    found = script_of(load(str(_file(tmp_path, SCRIPT))))
    assert found is not None
    assert {k: s.dims for k, s in found.shapes.items()} == {"W": ("2", "1"), "b": ()}
    text = found.routine.text()
    assert "print" not in text and "rate" not in text and "X[i] = " in text
    W, b = np.array([[0.5], [-1.0]]), 0.25
    gradients = found.routine.function(W, b)
    rows = np.stack([np.sin(range(6)), np.cos(range(6))], axis=1)
    error = rows @ W + b - 1
    np.testing.assert_allclose(gradients["dW"], rows.T @ error / 3)
    np.testing.assert_allclose(gradients["db"], error.sum() / 3)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("X.T @ dpred", "X.T @ error"), ("2 * error /", "error /"), ("dpred.sum()", "dpred.mean()")],
)
def test_right_and_wrong(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in SCRIPT
    assert check(_file(tmp_path, SCRIPT), problems=4).exit_code == 0
    assert check(_file(tmp_path, SCRIPT.replace(right, wrong)), problems=4).exit_code == 1


def test_nothing_is_read_into_a_script_with_no_loss_or_no_gradient(tmp_path: Path) -> None:
    for name in ("loss", "dW"):
        text = SCRIPT.replace("error", "off").replace(name, "other")
        text = text.replace("db = dpred.sum()", "pass").replace("b -= rate * db", "pass")
        assert script_of(load(str(_file(tmp_path, text)))) is None


def test_a_script_that_is_too_large_says_so(tmp_path: Path) -> None:
    target = load(str(_file(tmp_path, SCRIPT.replace("randn(2, 1)", "randn(2, 600)"))))
    assert script_of(target) is None
    assert any(f"at most {MAX_WEIGHTS:,}" in remark for remark in target.remarks)


UNNAMED = SCRIPT.replace("    dW = X.T @ dpred\n    db = dpred.sum()\n", "").replace(
    "W -= rate * dW\n    b -= rate * db", "W -= rate * X.T @ dpred"
)


@pytest.mark.parametrize("step", ["W -= rate * X.T @ dpred", "W = W + rate * -(X.T @ dpred)"])
def test_a_step_without_a_name_for_its_gradient_gives_it(tmp_path: Path, step: str) -> None:
    source = UNNAMED.replace("W -= rate * X.T @ dpred", step)
    found = script_of(load(str(_file(tmp_path, source))))
    assert found is not None and list(found.shapes) == ["W"]
    assert check(_file(tmp_path, source), problems=4).exit_code == 0
    assert check(_file(tmp_path, source.replace("2 * error", "error")), problems=4).exit_code == 1


TWO_LAYERS = """
import numpy as np

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 3))
t = rng.normal(size=(6, 2))
W1 = rng.normal(size=(3, 4))
W2 = rng.normal(size=(4, 2))
lr = 0.1
for epoch in range(50):
    h = np.tanh(X @ W1)
    y = h @ W2
    loss = np.mean((y - t) ** 2)
    dy = 2 * (y - t) / y.size
    dW2 = h.T @ dy
    dh = dy @ W2.T
    W2 -= lr * dW2
    dW1 = X.T @ (dh * (1 - h**2))
    W1 -= lr * dW1
"""


def test_a_step_is_a_mistake_only_if_the_new_weight_is_used(tmp_path: Path) -> None:
    right = "    dh = dy @ W2.T\n    W2 -= lr * dW2\n"
    assert check(_file(tmp_path, TWO_LAYERS), problems=4).exit_code == 0
    wrong = TWO_LAYERS.replace(right, "    W2 -= lr * dW2\n    dh = dy @ W2.T\n")
    assert check(_file(tmp_path, wrong), problems=4).exit_code == 1


def test_the_gradient_of_data_that_a_loop_fills_is_not_compared(tmp_path: Path) -> None:
    source = SCRIPT.replace("    W -=", "    dX = dpred @ W.T\n    W -=")
    assert check(_file(tmp_path, source), problems=4).exit_code == 0
    wrong = source.replace("dpred.sum()", "dpred.mean()")
    assert check(_file(tmp_path, wrong), problems=4).exit_code == 1
