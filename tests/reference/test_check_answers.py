"""What `check` answers to small mistakes: one name for each array, and no promise too many."""

import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE
from targetsources import file_inside, inside

LAYER = """
import numpy as np

def forward(x, W, b):
    z = x @ W + b
    a = np.where(z > 0, z, 0.1 * z)
    return a, (x, W, z)

def backward(da, cache):
    x, W, z = cache
    dz = da * np.where(z > 0, 1.0, 0.1)
    return dz @ W.T, x.T @ dz, dz.sum(0)
"""
SLOPE = "np.where(z > 0, 1.0, 0.1)"

NORM = """
import numpy as np

def layernorm_forward(x, gamma, beta):
    mu = x.mean(1, keepdims=True)
    var = x.var(1, keepdims=True)
    rstd = 1 / np.sqrt(var + 1e-5)
    xhat = (x - mu) * rstd
    return gamma * xhat + beta, (xhat, rstd, gamma)

def layernorm_backward(dout, cache):
    xhat, rstd, gamma = cache
    dxhat = dout * gamma
    through_rstd = xhat * (dxhat * xhat).mean(1, keepdims=True)
    dx = rstd * (dxhat - dxhat.mean(1, keepdims=True) - through_rstd)
    return dx, (dout * xhat).sum(0), dout.sum(0)
"""

CROSS_ENTROPY = """
import numpy as np

def softmax_ce(logits, y):
    e = np.exp(logits - logits.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(y)), y]).mean()
    d = p.copy()
    d[np.arange(len(y)), y] -= 1
    return loss, d
"""

SQUARE = {
    "torch": """
import torch

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x * g
""",
    "jax": """
import jax

@jax.custom_vjp
def square(x):
    return x * x

square.defvjp(lambda x: (x * x, x), lambda x, g: (3 * x * g,))
""",
}


SILU = """
import numpy as np

def silu(x):
    return x / (1 + np.exp(-x))

def silu_backward(dout, x):
    s = 1 / (1 + np.exp(-x))
    return dout * (s + x * s * (1 - s))
"""


RNN = """
import numpy as np

def rnn_forward(x, h0, Wx, Wh):
    N, T, D = x.shape
    h = np.zeros((N, T, h0.shape[1]))
    prev = h0
    for t in range(T):
        prev = np.tanh(x[:, t] @ Wx + prev @ Wh)
        h[:, t] = prev
    return h, (x, h0, Wx, Wh, h)

def rnn_backward(dh, cache):
    x, h0, Wx, Wh, h = cache
    dx, dWx, dWh, dprev = (np.zeros_like(v) for v in (x, Wx, Wh, h0))
    for t in reversed(range(x.shape[1])):
        da = (dh[:, t] + dprev) * (1 - h[:, t] ** 2)
        dx[:, t] = da @ Wx.T
        dWx += x[:, t].T @ da
        dWh += (h[:, t - 1] if t else h0).T @ da
        dprev = da @ Wh.T
    return dx, dprev, dWx, dWh
"""

ATTENTION = """
import numpy as np

def forward(x, q, k):
    s = q @ k.T / np.sqrt(q.shape[1])
    return x + np.tanh(s) @ x, (x, q, k, s)

def backward(dout, cache):
    x, q, k, s = cache
    ds = dout @ x.T * (1 - np.tanh(s) ** 2)
    dq = ds @ k / np.sqrt(q.shape[1])
    dk = ds.T @ q / np.sqrt(q.shape[1])
    return dout + np.tanh(s).T @ dout, dq, dk
"""

LOGISTIC = """
import numpy as np

def loss(X, y, w, b):
    p = 1 / (1 + np.exp(-(X @ w + b)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

def gradients(X, y, w, b):
    e = 1 / (1 + np.exp(-(X @ w + b))) - y
    return X.T @ e / X.shape[1], e.sum() / X.shape[1]
"""


def text(source: str, **options: object) -> str:
    """Return what is printed, in one line."""
    return " ".join(str(inside(source, **options)).split())  # type: ignore[arg-type]


def text_of_file(folder: Path, source: str) -> str:
    """Return what is printed of a file whose forward writes into arrays, in one line."""
    file = folder / "target.py"
    file.write_text(source)
    return " ".join(str(file_inside(file, 6)).split())


def test_a_local_variable_is_found_without_a_name_for_the_mistake() -> None:
    found = inside(LAYER.replace(SLOPE, "np.cos(z)")).parts[0]
    assert found.first_wrong == "dz" and not found.mistakes
    ((name, how),) = found.described
    assert name == "dz"
    assert how.startswith("as the gradient of z, no known mistake fits; its direction differs")
    assert how.endswith("dx, dW and db would be right if dz were")


def test_a_variable_that_is_wrong_and_not_used_is_not_blamed() -> None:
    source = LAYER.replace("dz.sum(0)", "np.cos(db)").replace(
        "    return dz", "    db = dz.sum(0)\n    da = da + 1\n    dz2 = dz + 1\n    return dz"
    )
    found = inside(source).parts[0]
    assert found.first_wrong == "db"
    assert dict(found.described)["db"].endswith("a variable that db is computed from")


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_function_of_a_framework_is_wrong_in_one_sense_only(framework: str) -> None:
    pytest.importorskip(framework)
    found = text(SQUARE[framework])
    assert "first wrong, going back from the loss: dx; wrong: dx" in found
    assert "ways of calling it give the same wrong gradient" in found
    assert "smallest that fails: x = [[-2]], g = [[1]]" in found
    assert "; right" not in found and "right in" not in found


def test_the_verdict_is_on_the_first_line_and_the_reading_below_it() -> None:
    read = "read as: the gradient of forward"
    assert text(LAYER).startswith(f"backward: RIGHT in 6 of 6 problems (dx, dW, db) {read}")
    wrong = text(LAYER.replace("dz.sum(0)", "2 * dz.sum(0)"))
    assert wrong.startswith(f"backward: WRONG in 6 of 6 problems {read}")


def test_a_gradient_that_is_not_returned_is_allowed() -> None:
    found = inside(LAYER.replace("dz @ W.T, x.T @ dz", "x.T @ dz"))
    assert "your backward returns no gradient of x (allowed)" in str(found)
    assert found.exit_code == 0 and "not checked" not in str(found)


def test_the_gradient_of_the_first_state_is_known_by_its_numbers(tmp_path: Path) -> None:
    found = text_of_file(tmp_path, RNN)
    assert "remark: dprev was taken for the gradient of h0" in found
    assert "RIGHT in 6 of 6 problems (dx, dWx, dWh, dprev)" in found
    assert "no gradient of h0" not in found and "not the gradient" not in found


def test_a_sum_over_steps_that_is_overwritten_is_said_so(tmp_path: Path) -> None:
    found = text_of_file(tmp_path, RNN.replace("dWh +=", "dWh ="))
    assert "only the term of the first step is left: was = written instead of +=?" in found


def test_a_division_by_another_size_is_named() -> None:
    found = text(LOGISTIC)
    assert "as after a division by X.shape[1] instead of X.shape[0]" in found
    assert "loss_value" not in found


def test_a_root_is_not_explained_as_a_mean() -> None:
    found = text(ATTENTION.replace("ds.T @ q / np.sqrt(q.shape[1])", "ds.T @ q"))
    assert "is a 1/√d, as in attention, missing or used twice?" in found
    assert "mean" not in found and "path_skips_activation" not in found


def test_the_axis_that_is_reversed_is_in_the_formula() -> None:
    found = text(LAYER.replace("x.T @ dz", "(x.T @ dz)[:, ::-1]"))
    assert "dW is in reversed order along axis 1" in found
    assert "yours: dW[:, ::-1]" in found


def test_the_formulas_of_a_gate_have_its_derivative() -> None:
    found = text(SILU.replace(" * (1 - s)", ""))
    assert (
        "yours: δx = δoutput · (σ(x) + x σ(x)) right: δx = δoutput · (σ(x) + x σ(x) (1 − σ(x)))"
        in found
    )
    assert "In the product rule, g was used where its derivative g′ is needed" in found
    assert "A right backward with this mistake put in gives your numbers" in found


def test_like_is_compared_or_the_remark_says_why_not() -> None:
    assert "its forward was not compared with gelu" in text(NORM, like="gelu")
    assert "not compared with" not in text(NORM)


def test_a_missing_path_has_no_activation_in_its_sentence() -> None:
    found = text(NORM.replace(" - through_rstd", ""))
    assert "The gradient through rstd is missing: nothing is passed on from rstd to var" in found
    assert "activation:" not in found


def test_a_slope_that_is_the_square_of_the_right_one() -> None:
    found = text(LAYER.replace(SLOPE, "np.where(z > 0, 1.0, 0.01)"))
    assert "The slope 0.01 is used where the forward has 0.1, or" in found
    assert "yours: δz = δa · (∂a/∂z)² right: δz = δa · ∂a/∂z" in found


def test_one_array_has_one_name_and_a_factor_is_said_once() -> None:
    found = text(CROSS_ENTROPY)
    wrong = "first wrong, going back from the loss: dlogits; wrong: dlogits 1. mean_left_out, in "
    assert f"{wrong}dlogits " in found  # not d: a reader cannot know what that is
    assert " dlogits[" in found and " d[" not in found
    assert "yours: δp = ∂ℓ/∂p right: δp = ∂ℓ/∂p / N" in found
    assert "remark" not in found
    assert "judged by the loss that it calls loss, certified" in found


def test_a_layer_without_a_loss_has_no_loss_in_its_sentence() -> None:
    found = text(LAYER.replace("dz.sum(0)", "dz.mean(0)"))
    assert "averages over the batch where it should sum; of a mean loss," in found


def test_a_file_without_a_gradient_is_answered_with_what_was_seen(tmp_path: Path) -> None:
    file = tmp_path / "model.py"
    file.write_text("def softmax(x):\n    return x\n\nclass Layer:\n    def forward(self, x):\n"
                    "        return x\n")  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "reference", "check", str(file)],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "no gradient was found among softmax, Layer.forward. A function that" in ran.stdout


@pytest.mark.parametrize("name", ["dz", "error", "q"])
@pytest.mark.parametrize("slope", ["np.cos(z)", "np.where(z > 0, 1.0, 0.01)"])
def test_a_local_variable_is_found_under_any_name(name: str, slope: str) -> None:
    found = inside(LAYER.replace(SLOPE, slope).replace("dz", name)).parts[0]
    assert found.first_wrong == name
    assert bool(found.mistakes) == slope.startswith("np.where")


@pytest.mark.parametrize("name", ["dz", "step"])
@pytest.mark.parametrize("line", ["0 * {}", "({})[::-1]"])
def test_a_local_variable_is_named_where_a_known_mistake_explains_what_follows(
    name: str, line: str
) -> None:
    right = f"da * {SLOPE}"
    source = LAYER.replace(right, line.format(right)).replace("dz @ W.T, ", "")
    found = inside(source.replace("dz", name)).parts[0]
    assert found.mistakes and found.first_wrong == name


def test_a_returned_gradient_is_called_by_what_it_is_the_gradient_of() -> None:
    source = LAYER.replace("return dz @ W.T, x.T @ dz,", "p = dz @ W.T\n    return p, x.T @ dz,")
    found = text(source.replace("p = dz", "p = 2 * dz"))
    assert "wrong: dx; right: dW, db" in found and " dx[" in found
    narrow = source.replace("return p, x.T @ dz", "return p, (x.T @ dz).astype(np.float32)")
    assert "dtype: dW is float32, its input float64" in text(narrow)
