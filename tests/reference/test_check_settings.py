"""Settings under other values, and code around the frameworks that was accused or missed."""

from pathlib import Path

import pytest
from targetsources import file_inside

from reference.checks.results import Result

ATTENTION = """
import numpy as np

def attention_forward(q, k, v, causal=False):
    s = q @ k.T
    if causal:
        s = np.where(np.tril(np.ones(s.shape)) > 0, s, -1e9)
    p = np.exp(s - s.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True)
    return p @ v, (q, k, v, p, causal)

def attention_backward(dout, cache):
    q, k, v, p, causal = cache
    dp = dout @ v.T
    ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    if causal:
        ds = np.tril(ds)
    return ds @ k, ds.T @ q, p.T @ dout
"""

FUNCTION = "import torch\n\n\nclass {}(torch.autograd.Function):\n    @staticmethod\n"

MASKED = (
    FUNCTION.format("Masked")
    + """
    def forward(ctx, x, upper=False):
        y = torch.triu(x) if upper else torch.tril(x)
        ctx.save_for_backward(y)
        ctx.upper = upper
        return y**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return 2 * y * g, None
"""
)

CROSS_ENTROPY = (
    FUNCTION.format("CrossEntropy")
    + """
    def forward(ctx, x, weight, target):
        p = torch.softmax(x @ weight.t(), -1)
        loss = -p.gather(1, target[:, None]).log().mean()
        d = (p - torch.nn.functional.one_hot(target, p.shape[1])) / len(x)
        ctx.save_for_backward(d @ weight, d.t() @ x)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        dx, dw = ctx.saved_tensors
        return dx * g, dw * g, None
"""
)

POLAR = (
    FUNCTION.format("Polar")
    + """
    def forward(ctx, r, theta):
        ctx.save_for_backward(r, theta)
        return r * torch.cos(theta), r * torch.sin(theta)

    @staticmethod
    def backward(ctx, gx, gy):
        r, theta = ctx.saved_tensors
        dr = gx * torch.cos(theta) + gy * torch.sin(theta)
        return dr, r * (gy * torch.cos(theta) - gx * torch.sin(theta))
"""
)

ROTARY = (
    FUNCTION.format("Rotary")
    + """
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    @staticmethod
    def backward(ctx, g):
        cos, sin = ctx.saved_tensors
        a, b = g.chunk(2, dim=-1)
        return torch.cat((a * cos + b * sin, b * cos - a * sin), -1), None, None
"""
)

STEP_SIZE = (
    FUNCTION.format("FakeQuantize")
    + """
    def forward(ctx, x, scale):
        ctx.save_for_backward(x, scale)
        return torch.round(x / scale) * scale

    @staticmethod
    def backward(ctx, g):
        x, scale = ctx.saved_tensors
        return g, (g * (torch.round(x / scale) - x / scale)).sum().reshape(scale.shape)
"""
)

FRACTION = (
    FUNCTION.format("Fraction")
    + """
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x - torch.floor(x)) ** 2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * (x - torch.floor(x)) * g
"""
)

MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self, n_in=4, hidden=3):
        super().__init__()
        self.fc = torch.nn.Linear(n_in, hidden)

    @torch.no_grad()
    def forward(self, x):
        self.x = x
        self.h = torch.tanh(self.fc(x))
        return self.h

    @torch.no_grad()
    def backward(self, dout):
        dz = dout * (1 - self.h**2)
        self.fc.weight.grad = dz.T @ self.x
        self.fc.bias.grad = dz.sum(0)
        return dz @ self.fc.weight
"""

SCRIPT = """
import numpy as np
import torch

rng = np.random.default_rng(0)
x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
W = rng.normal(size=(3, 2))
out = np.tanh(x @ W)
loss = ((out - y) ** 2).sum()
dout = 2 * (out - y)
dW = x.T @ (dout * (1 - out**2))

tW = torch.tensor(W, requires_grad=True)
tloss = ((torch.tanh(torch.tensor(x) @ tW) - torch.tensor(y)) ** 2).sum()
tloss.backward()
off = np.abs(dW - tW.grad.numpy()).max()
print(off)
"""

APPLIED = (
    FUNCTION.format("Applied")
    + """
    def forward(ctx, func, x):
        ctx.func = func
        ctx.save_for_backward(x)
        with torch.no_grad():
            return func(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = ctx.func(x)
        return None, torch.autograd.grad(y, x, g)[0]
"""
)


def answer(folder: Path, source: str, old: str = "", new: str = "") -> Result:
    """Return the answer for a source, with a part of it replaced."""
    assert old in source
    ending = "_wrong" if old else ""  # Python keeps sources by module name
    path = folder / f"{folder.name}{ending}.py"
    path.write_text(source.replace(old, new) if old else source, encoding="utf-8")
    return file_inside(path, problems=4)


RIGHT_AND_WRONG = [
    pytest.param(ATTENTION, "np.tril(ds)", "2 * ds", id="numpy-option"),
    pytest.param(MASKED, "2 * y", "2 * torch.tril(y)", id="torch-option"),
    pytest.param(CROSS_ENTROPY, "dx * g, dw * g", "dx, dw", id="one-class-hides-the-cotangent"),
    pytest.param(POLAR, "cos(theta) - gx", "cos(theta) + gx", id="a-number-that-is-an-array"),
    pytest.param(ROTARY, "b * cos - a", "b * cos + a", id="constants-without-a-gradient"),
    pytest.param(FRACTION, "2 * (x", "(x", id="a-floor-with-a-slope"),
    pytest.param(MODULE, "(1 - self.h**2)", "(1 - self.h)", id="module-under-no-grad"),
    pytest.param(SCRIPT, "dout = 2 *", "dout =", id="script-compared-with-torch"),
    pytest.param(APPLIED, "x, g)[0]", "x, g)[0] * 2", id="a-function-that-is-handed-over"),
]


@pytest.mark.parametrize(("source", "old", "new"), RIGHT_AND_WRONG)
def test_right_code_is_right_and_its_mistake_is_found(
    tmp_path: Path, source: str, old: str, new: str
) -> None:
    right = answer(tmp_path, source)
    assert right.exit_code == 0, right
    wrong = answer(tmp_path, source, old, new)
    assert [p.verdict for p in wrong.parts] == ["wrong"], wrong


def test_the_value_of_a_setting_that_is_wrong_is_named(tmp_path: Path) -> None:
    found = answer(tmp_path, ATTENTION, "np.tril(ds)", "2 * ds")
    assert "with causal=True; right with causal=False" in str(found)


def test_a_setting_that_turns_the_training_off_is_left_alone(tmp_path: Path) -> None:
    source = ATTENTION.replace("causal", "training").replace("training=False", "training=True")
    found = answer(tmp_path, source, "np.tril(ds)", "ds")
    assert "with training" not in str(found)


def test_an_input_that_is_rounded_away_is_not_checked(tmp_path: Path) -> None:
    found = answer(tmp_path, STEP_SIZE)
    assert [p.verdict for p in found.parts] == ["unchecked"]
    assert "with respect to x is 0 nearly everywhere" in found.parts[0].why
