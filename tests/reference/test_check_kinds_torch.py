"""torch.autograd.Function, torch modules, plain code on tensors: right, and wrong by one edit."""

from pathlib import Path

import numpy as np
import pytest
from kindtools import checked, only
from targetsources import TORCH, TORCH_LINEAR

from reference.checks.code import load, units_of
from reference.checks.comparing import row
from reference.checks.judging import Failure
from reference.checks.kinds import wants_tensors
from reference.checks.kinds._rows import float_truth, settle

HEAD = "import torch\nfrom torch import nn\nfrom torch.autograd import Function\n"

BIAS_OR_NONE = (
    HEAD
    + """
class LinearFunction(Function):
    @staticmethod
    def forward(ctx, input, weight, bias=None):
        ctx.save_for_backward(input, weight, bias)
        output = input.mm(weight.t())
        if bias is not None:
            output += bias.unsqueeze(0).expand_as(output)
        return output

    @staticmethod
    def backward(ctx, grad_output):
        input, weight, bias = ctx.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_input = grad_output.mm(weight)
        if ctx.needs_input_grad[1]:
            grad_weight = grad_output.t().mm(input)
        if bias is not None and ctx.needs_input_grad[2]:
            grad_bias = grad_output.sum(0)
        return grad_input, grad_weight, grad_bias
"""
)

APART = (
    HEAD
    + """
class ScaledTanh(Function):
    @staticmethod
    def forward(x, scale):
        return scale * torch.tanh(x / scale)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, scale = inputs
        ctx.scale = scale
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad_output):
        y, = ctx.saved_tensors
        return grad_output * (1 - (y / ctx.scale) ** 2), None
"""
)

SEVERAL_OUTPUTS = (
    HEAD
    + """
class SinCos(Function):
    @staticmethod
    def forward(ctx, x):
        s, c = torch.sin(x), torch.cos(x)
        ctx.save_for_backward(s, c)
        return s, c

    @staticmethod
    def backward(ctx, ds, dc):
        s, c = ctx.saved_tensors
        return ds * c - dc * s
"""
)

NOT_DIFFERENTIABLE = (
    HEAD
    + """
class SortedRows(Function):
    @staticmethod
    def forward(ctx, x):
        values, order = x.sort(dim=-1)
        ctx.mark_non_differentiable(order)
        ctx.save_for_backward(order)
        ctx.size = x.shape
        return values, order

    @staticmethod
    def backward(ctx, grad, _):
        order, = ctx.saved_tensors
        out = torch.zeros(ctx.size)
        return out.scatter(-1, order, grad)
"""
)

LOSES_AUTOGRAD = (
    HEAD
    + """
import numpy as np
class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(np.asarray(x.detach().numpy() ** 3))

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return 3 * x ** 2 * g
"""
)

TARGETS_FIRST = (
    HEAD
    + """
class MSELoss(Function):
    @staticmethod
    def forward(ctx, y_true, y_pred):
        ctx.save_for_backward(y_true, y_pred)
        return ((y_true - y_pred) ** 2).mean()

    @staticmethod
    def backward(ctx, g):
        t, y = ctx.saved_tensors
        d = 2 * (y - t) / y.numel() * g
        return -d, d
"""
)

MODULE = (
    HEAD
    + """
class Linear(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias

    @torch.no_grad()
    def backward(self, dout):
        self.weight.grad = dout.T @ self.x
        self.bias.grad = dout.sum(0)
        return dout @ self.weight
"""
)

STATIC = (
    HEAD
    + """
class Linear(object):
    @staticmethod
    def forward(x, w, b):
        out = x.reshape(x.shape[0], -1).mm(w) + b
        cache = (x, w, b)
        return out, cache

    @staticmethod
    def backward(dout, cache):
        x, w, b = cache
        dx = dout.mm(w.t()).view(x.shape)
        dw = x.reshape(x.shape[0], -1).t().mm(dout)
        db = dout.sum(dim=0)
        return dx, dw, db
"""
)

LAYER_NORM = (
    HEAD
    + """
def layernorm_forward(x, w, b):
    B, T, C = x.size()
    mean = x.sum(-1, keepdim=True) / C
    xshift = x - mean
    rstd = ((xshift ** 2).sum(-1, keepdim=True) / C + 1e-5) ** -0.5
    return xshift * rstd * w + b, (x, w, mean, rstd)

def layernorm_backward(dout, cache):
    x, w, mean, rstd = cache
    norm = (x - mean) * rstd
    dnorm = dout * w
    dx = dnorm - dnorm.mean(-1, keepdim=True) - norm * (dnorm * norm).mean(-1, keepdim=True)
    return dx * rstd, (dout * norm).sum((0, 1)), dout.sum((0, 1))
"""
)

HUNG = (
    HEAD
    + """
def lin(x, w, b):
    return x @ w + b

def lin_grad(inp, out, w, b):
    inp.g = out.g @ w.t()
    w.g = inp.t() @ out.g
    b.g = out.g.sum(0)
"""
)

CLASS_WITH_TENSORS = (
    HEAD
    + """
class Dense:
    def __init__(self, n_in, n_out):
        self.W = torch.randn(n_in, n_out)
        self.b = torch.zeros(n_out)

    def forward(self, x):
        self.x = x
        return x.mm(self.W) + self.b

    def backward(self, dout):
        self.dW = self.x.t().mm(dout)
        self.db = dout.sum(0)
        return dout.mm(self.W.t())
"""
)

STEPS_OF_A_MODULE = (
    HEAD
    + """
class Neural_Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.W1 = torch.randn(2, 3)
        self.W2 = torch.randn(3, 1)

    def forward(self, X):
        self.z2 = self.sigmoid(torch.matmul(X, self.W1))
        return self.sigmoid(torch.matmul(self.z2, self.W2))

    def sigmoid(self, s):
        return 1 / (1 + torch.exp(-s))

    def backward(self, X, y, o):
        o_delta = (y - o) * o * (1 - o)
        z2_delta = torch.matmul(o_delta, torch.t(self.W2)) * self.z2 * (1 - self.z2)
        self.W1 += torch.matmul(torch.t(X), z2_delta)
        self.W2 += torch.matmul(torch.t(self.z2), o_delta)
"""
)

UNWRITTEN_LOSS = (
    HEAD
    + """
class Net:
    def __init__(self, n_in, n_hidden, n_out):
        self.w1, self.b1 = torch.randn(n_in, n_hidden), torch.zeros(n_hidden)
        self.w2, self.b2 = torch.randn(n_hidden, n_out), torch.zeros(n_out)

    def forward(self, x):
        self.h = torch.relu(x @ self.w1 + self.b1)
        self.p = torch.softmax(self.h @ self.w2 + self.b2, dim=1)
        return self.p

    def backward(self, x, y):
        dz = (self.p - y) / x.shape[0]
        self.dw2, self.db2 = self.h.T @ dz, dz.sum(0)
        dh = dz @ self.w2.T * (self.h > 0)
        self.dw1, self.db1 = x.T @ dh, dh.sum(0)
"""
)

FORMS = {
    "function": (TORCH, "(1 - y * y)", "(1 - y)", {"x"}, "tanh_square_left_out"),
    "linear function": (TORCH_LINEAR, "dout.sum(0)", "dout.mean(0)", {"bias"}, "bias_mean"),
    "bias or None": (
        BIAS_OR_NONE,
        "grad_output.sum(0)",
        "2 * grad_output.sum(0)",
        {"bias"},
        "twice",
    ),
    "weight": (BIAS_OR_NONE, "t().mm(input)", "t().mm(-input)", {"weight"}, "sign"),
    "context set up apart": (APART, "/ ctx.scale) ** 2", ") ** 2", {"x"}, ""),
    "several outputs": (SEVERAL_OUTPUTS, "- dc * s", "+ dc * s", {"x"}, ""),
    "an output without gradient": (
        NOT_DIFFERENTIABLE,
        "order, grad",
        "order, -grad",
        {"x"},
        "-1 times",
    ),
    "a forward that leaves autograd": (LOSES_AUTOGRAD, "3 * x", "2 * x", {"x"}, "2/3 times"),
    "targets first": (TARGETS_FIRST, "-d, d", "-d, 2 * d", {"y_pred"}, "2 times"),
    "module": (MODULE, "dout.sum(0)", "dout.mean(0)", {"self.bias"}, "bias_mean"),
    "static methods": (STATIC, "dout.sum(dim=0)", "dout.mean(dim=0)", {"b"}, "bias_mean"),
    "steps of a module": (
        STEPS_OF_A_MODULE,
        "* self.z2 * (1 - self.z2)",
        "* (1 - self.z2)",
        {"self.W1"},
        "",
    ),
    "a loss that is not written": (
        UNWRITTEN_LOSS,
        "dh.sum(0)",
        "2 * dh.sum(0)",
        {"self.b1"},
        "2 times",
    ),
    "three axes": (LAYER_NORM, "dx * rstd", "dx", {"x"}, ""),
    "hung on tensors": (HUNG, "out.g.sum(0)", "out.g.mean(0)", {"b"}, "bias_mean"),
    "a class with tensors": (CLASS_WITH_TENSORS, "self.x.t()", "-self.x.t()", {"self.W"}, "sign"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_right_and_wrong(tmp_path: Path, form: str) -> None:
    source, right, wrong, leaves, text = FORMS[form]
    found = only(tmp_path, source)
    assert found.right, found
    assert found.text == ""
    assert right in source
    found = only(tmp_path, source.replace(right, wrong))
    assert not found.right
    assert found.wrong_leaves == leaves
    assert text in found.text, found.text


def test_what_it_is_judged_by_is_said(tmp_path: Path) -> None:
    found = only(tmp_path, TORCH)
    assert found.kind == "torch"
    assert found.subject.judged_by() == "PyTorch autograd through its own operations, float64"  # type: ignore[union-attr]
    found = only(tmp_path, LOSES_AUTOGRAD)
    assert found.subject.judged_by() == "differences of its own forward, float64"  # type: ignore[union-attr]


def test_a_gradient_that_did_not_come_back_is_missing(tmp_path: Path) -> None:
    found = only(tmp_path, TORCH_LINEAR.replace("dout.t().mm(x), dout.sum(0)", "None, dout.sum(0)"))
    assert found.right
    assert {p for c in found.cases for p in c.assessment.missing} == {("weight",)}


def test_a_number_that_has_no_gradient_is_drawn_as_a_number(tmp_path: Path) -> None:
    found = only(tmp_path, APART)
    assert found.subject.inputs(0, 0)["scale"] == 0.7  # type: ignore[union-attr]
    assert not any(c.assessment.missing for c in found.cases)


def test_an_estimate_through_a_flat_forward_is_not_checked(tmp_path: Path) -> None:
    source = HEAD + (
        "class Binarise(Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        return torch.sign(x)\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return g\n"
    )
    (found,) = checked(tmp_path, source)
    assert isinstance(found.subject, Failure)
    assert "straight-through" in found.subject.reason


def test_a_gradient_that_is_changed_on_purpose_is_not_checked(tmp_path: Path) -> None:
    source = HEAD + (
        "class Reverse(Function):\n    @staticmethod\n    def forward(ctx, x, alpha):\n"
        "        ctx.alpha = alpha\n        return x.view_as(x)\n"
        "    @staticmethod\n    def backward(ctx, g):\n        return -ctx.alpha * g, None\n"
    )
    (found,) = checked(tmp_path, source)
    assert isinstance(found.subject, Failure)
    assert "hands its input on as it is" in found.subject.reason
    assert only(tmp_path, source.replace("-ctx.alpha * g", "g")).right


def test_the_example_says_what_it_is_there_to_show(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "check" / "torch_function.py"
    found = only(tmp_path, example.read_text(), problems=12)
    assert found.text == "gate_second_term_left_out"


def test_weights_are_not_square(tmp_path: Path) -> None:
    """A square weight hides a transpose: other layouts are tried first."""
    shape = only(tmp_path, BIAS_OR_NONE).subject.inputs(0, 0)["weight"].shape  # type: ignore[union-attr]
    assert shape[0] != shape[1]


def test_a_backward_that_raises_is_said(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, TORCH.replace("(y,) = ctx.saved", "(y, z) = ctx.saved"))
    assert isinstance(found.subject, Failure)
    assert found.subject.reason == "its backward raised"
    assert "not enough values to unpack" in found.subject.errors[0]


def test_code_that_calls_a_framework_is_known_by_its_calls(tmp_path: Path) -> None:
    path = tmp_path / "calls.py"
    path.write_text(
        "import torch\nimport numpy as np\n"
        "def relu(x):\n    return torch.relu(x)\ndef relu_backward(d, x):\n    return d * (x > 0)\n"
        "def tanh(x):\n    return np.tanh(x)\ndef tanh_backward(d, x):\n    return d\n"
    )
    target = load(str(path))
    wanted = {u.name: wants_tensors(u, target) for u in units_of(target)}
    assert wanted == {"relu_backward": "torch", "tanh_backward": None}


def test_the_loss_that_is_not_written_is_named(tmp_path: Path) -> None:
    judged = only(tmp_path, UNWRITTEN_LOSS).subject.judged_by()  # type: ignore[union-attr]
    assert judged.startswith("cross-entropy, −Σ y log a; PyTorch autograd")


def test_a_gradient_of_zeros_has_no_voice_in_the_factor() -> None:
    """Where all units are dead the other gradients are 0, and ½ is the factor of the only one."""
    truths = {"w": np.zeros(3), "v": np.zeros(2), "b": np.array([1.0, -2.0])}
    rows = [row((n,), (n,), 0.5 * t, float_truth(t)) for n, t in truths.items()]
    assert settle(rows, np.zeros((2, 2))) == 0.5
    assert all(r.right for r in rows)


def test_changed_inputs_are_a_fault(tmp_path: Path) -> None:
    found = only(tmp_path, STATIC.replace("db = dout", "x *= 2\n        db = dout"))
    assert ("mutated", "the backward changes x in place") in found.cases[0].faults


def test_the_process_keeps_its_settings(tmp_path: Path) -> None:
    import torch

    before = torch.get_default_dtype(), torch.random.get_rng_state()
    only(tmp_path, TORCH)
    assert torch.get_default_dtype() is before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
