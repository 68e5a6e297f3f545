"""Ways of writing that check reads, and what it says of what was not there to be checked."""

from typing import Any

import numpy as np
import pytest
from targetsources import HALF, RELU, inside

from manual_backprop.losses import LOSSES
from manual_backprop.spec import InvalidInput
from reference.checks.result import Part
from reference.checks.targets.process import InProcess
from reference.diagnosis.describe import Pair, describe

DENSE = (
    "import numpy as np\n"
    "def affine_forward(x, w, b):\n    return x @ w + b, (x, w, b)\n"
    "def affine_backward(dout, cache):\n    x, w, b = cache\n    return "
)


@pytest.mark.parametrize(
    ("returned", "remarks"),
    [
        ("dout @ w.T, x.T @ dout, dout.sum(axis=0)", []),
        ("dout @ w.T", ["no gradient of dw, db came back"]),
        ("None", []),
        ("None, x.T @ dout, dout.sum(axis=0)", ["no gradient of x came back"]),
        (
            "{'dx': dout @ w.T, 'dTheta': x.T @ dout, 'db': dout.sum(axis=0)}",
            ["'dTheta' is no name of this layer", "no gradient of dw came back"],
        ),
        (
            "dout @ w.T, x.T @ dout, dout.sum(axis=0, keepdims=True)",
            ["db came back as a row, (1, D), and was compared as (D,)"],
        ),
    ],
)
def test_what_a_dense_backward_leaves_out_is_said(returned: str, remarks: list[str]) -> None:
    (part,) = inside(DENSE + returned + "\n").parts
    assert part.ok == (returned != "None")
    said = [part.own_names(r) for r in (*part.remarks, *(f.text for f in part.faults))]
    said = [] if returned == "None" else said
    assert len(said) == len(remarks)
    assert all(any(s.startswith(r) for s in said) for r in remarks), said


def test_a_bias_of_another_shape_is_wrong_still() -> None:
    (part,) = inside(DENSE + "dout @ w.T, x.T @ dout, dout.sum(axis=0)[:, None]\n").parts
    assert part.wrong and any(f.kind == "shape" for f in part.faults)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", ["pair", "class", "torch"])
def test_a_square_layer_keeps_the_layout_that_the_others_show(form: str, turned: bool) -> None:
    """Of a square weight nothing tells how it is kept; every tenth problem is square."""
    out, dx, dw = ("x @ w.T", "d @ w", "d.T @ x") if turned else ("x @ w", "d @ w.T", "x.T @ d")
    source = {
        "pair": (
            f"def linear_forward(x, w, b):\n    return {out} + b, (x, w)\n"
            f"def linear_backward(d, cache):\n    x, w = cache\n    return {dx}, {dw}, d.sum(0)\n"
        ),
        "class": (
            "import numpy as np\nclass Linear:\n    def __init__(self, n, m):\n"
            f"        self.W = np.zeros({('(m, n)' if turned else '(n, m)')})\n"
            "        self.b = np.zeros(m)\n    def forward(self, x):\n"
            "        self.x, w = x, self.W\n"
            f"        return {out} + self.b\n    def backward(self, d):\n"
            f"        x, w = self.x, self.W\n        self.dW = {dw}\n        self.db = d.sum(0)\n"
            f"        return {dx}\n"
        ),
        "torch": (
            "import torch\nclass Linear(torch.autograd.Function):\n    @staticmethod\n"
            f"    def forward(ctx, x, w, b):\n        ctx.save_for_backward(x, w)\n"
            f"        return {out} + b\n    @staticmethod\n    def backward(ctx, d):\n"
            f"        x, w = ctx.saved_tensors\n        return {dx}, {dw}, d.sum(0)\n"
        ),
    }[form]
    result = inside(source, problems=12)
    assert result.ok, str(result)
    assert ("it keeps W as (D_out, D_in)" in result.parts[0].remarks) == turned


def test_a_list_of_rows_is_an_array_and_ragged_ones_are_the_targets_error() -> None:
    source = (
        "import numpy as np\ndef relu_forward(x):\n    return np.maximum(x, 0), x\n"
        "def relu_backward(dout, cache):\n    rows = (dout * (cache > 0)).tolist()\n    return "
    )
    assert inside(source + "rows\n").ok
    (part,) = inside(source + "[rows[0], rows[0][:1]]\n").parts
    assert [f.kind for f in part.faults] == ["raised"]
    (part,) = inside(source + "'rows'\n").parts
    assert "dx is 'rows': expected an array of numbers" in part.own_names(part.faults[0].text)


def test_a_backward_whose_cache_may_be_left_out_is_given_it() -> None:
    source = (
        "import numpy as np\ndef relu_forward(x):\n    return np.maximum(x, 0), x\n"
        "def relu_backward(dout, cache=None):\n    return dout * (cache > 0)\n"
    )
    assert inside(source).ok
    assert not inside(source.replace("(cache > 0)", "cache")).ok


def test_a_loss_of_another_name_is_pointed_out() -> None:
    source = (
        "import numpy as np\ndef cross_entropy(p, y):\n"
        "    return -np.mean(np.sum(y * np.log(p), axis=1))\n"
        "def cross_entropy_grad(p, y):\n    return -y / p / len(p)\n"
    )
    (part,) = inside(source).parts
    (hint,) = [r for r in part.remarks if r.startswith("its value is that of ")]
    assert inside(source, like=hint.split()[5].rstrip(":")).ok


@pytest.mark.parametrize(
    ("accepts", "said"),
    [
        ("'x'", "accepts = 'x': expected a dict"),
        ("[1, 2]", "accepts = [1, 2]: expected a dict"),
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
        ("{'losses': {'mse': 1}}", "accepts: losses = {'mse': 1}: expected a list"),
    ],
)
def test_an_accepts_that_means_nothing_is_refused(accepts: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        inside(RELU + f"accepts = {accepts}\n")
    assert str(caught.value).startswith(said)


GENERAL = (
    "import numpy as np\nshapes = {'x': 'N D'}\n"
    "def forward(xp, step, x):\n    return FORWARD\n"
    "def backward(inputs, steps):\n    x = inputs['x']\n    return GRADIENTS\n"
)


def general(forward: str, gradients: str, problems: int = 6) -> Part:
    source = GENERAL.replace("FORWARD", forward).replace("GRADIENTS", gradients)
    (part,) = inside(source, problems).parts
    return part


def test_nothing_is_right_that_nothing_was_held_to() -> None:
    assert general("(x * x).sum()", "{'x': 2 * x}").ok
    part = general("xp.sqrt(x * x - 100).sum()", "{'x': 7 * x}")  # nan in every framework
    assert not part.ok and part.right == 0 and not part.wrong
    assert part.remarks == (
        "problems where the frameworks' gradient is nan or inf were not judged",
    )
    part = general("(x * x).sum()", "{}")
    assert not part.ok
    assert part.remarks == ("problems where no number came back were not judged",)
    assert [f.text for f in part.faults] == ["no gradient of x came back, so it was not checked"]
    part = general("(x * x).sum()", "{'x': x * np.nan}")
    assert part.wrong == 6


def test_a_general_backward_is_judged_by_the_inputs_it_was_given() -> None:
    part = general("(x * x).sum()", "inputs.update(x=np.multiply(x, 3, out=x)) or {'x': 2 * x}")
    assert part.wrong == 6 and any(f.kind == "mutated" for f in part.faults)


@pytest.mark.parametrize("shape", ["N 0", "N -1", "N 2.5"])
def test_a_shape_without_numbers_is_refused(shape: str) -> None:
    source = GENERAL.replace("FORWARD", "(x * x).sum()").replace("GRADIENTS", "{'x': 2 * x}")
    (part,) = inside(source.replace("N D", shape)).parts
    assert not part.ok and "expected letters and numbers > 0" in part.faults[0].text


def test_faults_are_counted_by_problems() -> None:
    (part,) = inside(DENSE + "dout, dout, dout\n", problems=4).parts
    assert {f.kind: f.count for f in part.faults if f.kind == "shape"} == {"shape": 4}


def test_a_mistake_that_fits_few_problems_is_not_named_where_words_fit_all() -> None:
    (part,) = inside(HALF.replace("(y - t) / y.size", "2 * (y - t) / y.size"), problems=40).parts
    assert part.diagnosis is not None
    assert not part.diagnosis.named
    assert [text for _, text in part.diagnosis.described] == ["it is 2 times the right one"]


def test_what_is_one_times_the_right_one_is_told_by_its_digits() -> None:
    right = np.linspace(1, 2, 6).reshape(2, 3)
    rounded = right.astype(np.float32).astype(np.float64)
    text = describe([Pair(rounded, right)] * 4)
    assert text.startswith("it is right to 7 digits only"), text


# -- one snippet a way of writing: right as it stands, wrong with one edit --------------------

WAYS = {
    "a bias that may be left out, in torch": (
        "import torch\nclass LinearFunction(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, input, weight, bias=None):\n"
        "        ctx.save_for_backward(input, weight)\n"
        "        return input.mm(weight.t()) + bias\n    @staticmethod\n"
        "    def backward(ctx, g):\n        x, w = ctx.saved_tensors\n"
        "        return g.mm(w), g.t().mm(x), g.sum(0)\n",
        ("g.sum(0)", "7 * g.sum(0)"),
    ),
    "a context set up elsewhere, in torch": (
        "import torch\nclass Linear(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(x, w, b):\n        return x @ w.T + b\n    @staticmethod\n"
        "    def setup_context(ctx, inputs, output):\n"
        "        ctx.save_for_backward(*inputs[:2])\n    @staticmethod\n"
        "    def backward(ctx, g):\n        x, w = ctx.saved_tensors\n"
        "        return g @ w, g.T @ x, g.sum(0)\n",
        ("g.sum(0)", "7 * g.sum(0)"),
    ),
    "targets first, in torch": (
        "import torch\nclass MSELoss(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, y_true, y_pred):\n        ctx.save_for_backward(y_true, y_pred)\n"
        "        return ((y_true - y_pred) ** 2).mean()\n    @staticmethod\n"
        "    def backward(ctx, g):\n        t, y = ctx.saved_tensors\n"
        "        d = 2 * (y - t) / y.numel() * g\n        return -d, d\n",
        ("return -d, d", "return -d, 99 * d"),
    ),
    "targets first, in jax": (
        "import jax, jax.numpy as jnp\n@jax.custom_vjp\ndef mse(y_true, y_pred):\n"
        "    return jnp.mean((y_true - y_pred) ** 2)\n"
        "def mse_fwd(y_true, y_pred):\n    return mse(y_true, y_pred), (y_true, y_pred)\n"
        "def mse_bwd(kept, g):\n    t, y = kept\n    d = 2 * (y - t) / y.size * g\n"
        "    return -d, d\nmse.defvjp(mse_fwd, mse_bwd)\n",
        ("return -d, d", "return -d, 99 * d"),
    ),
    "no bias, in jax": (
        "import jax\n@jax.custom_vjp\ndef linear(x, w):\n    return x @ w\n"
        "def fwd(x, w):\n    return x @ w, (x, w)\n"
        "def bwd(kept, g):\n    x, w = kept\n    return g @ w.T, x.T @ g\n"
        "linear.defvjp(fwd, bwd)\n",
        ("x.T @ g", "2 * x.T @ g"),
    ),
    "no bias, in a class": (
        "class Linear:\n    def __init__(self, W):\n        self.W = W\n"
        "    def forward(self, x):\n        self.x = x\n        return x @ self.W\n"
        "    def backward(self, d):\n        self.dW = self.x.T @ d\n        return d @ self.W.T\n",
        ("self.x.T @ d", "2 * self.x.T @ d"),
    ),
    "an autoencoder's loss": (
        "import numpy as np\ndef mse(recon, x):\n    return np.mean((recon - x) ** 2)\n"
        "def mse_grad(recon, x):\n    return 2 * (recon - x) / x.size\n",
        ("2 * (recon - x)", "2 * (x - recon)"),
    ),
    "a weight made at the first input": (
        "import numpy as np\nclass Dense:\n    def __init__(self, units):\n"
        "        self.units, self.kernel, self.bias = units, None, None\n"
        "    def __call__(self, x):\n        if self.kernel is None:\n"
        "            self.kernel = np.ones((x.shape[1], self.units))\n"
        "            self.bias = np.zeros(self.units)\n        self.x = x\n"
        "        return x @ self.kernel + self.bias\n    def backward(self, g):\n"
        "        self.grad_kernel, self.grad_bias = self.x.T @ g, g.sum(0)\n"
        "        return g @ self.kernel.T\n",
        ("g.sum(0)", "g.mean(0)"),
    ),
    "columns, W as (D_in, D_out), arguments for a cache": (
        "def linear_forward(A_prev, W, b):\n    return W.T @ A_prev + b\n"
        "def linear_backward(dZ, A_prev, W, b):\n"
        "    return W @ dZ, A_prev @ dZ.T, dZ.sum(axis=1, keepdims=True)\n",
        ("keepdims=True", "keepdims=False"),  # (D,) for a b of (D, 1): b -= db would be (D, D)
    ),
    "arguments for a cache, one with a name that tells nothing": (
        "def linear_forward(x, theta, b):\n    return x @ theta + b\n"
        "def linear_backward(dout, x, theta, b):\n"
        "    return dout @ theta.T, x.T @ dout, dout.sum(axis=0)\n",
        ("dout @ theta.T", "-dout @ theta.T"),
    ),
    "a slope with a place for the output": (
        "import numpy as np\ndef sigmoid(x):\n    return 1 / (1 + np.exp(-x))\n"
        "def sigmoid_prime(x, out=None):\n    s = sigmoid(x)\n    return s * (1 - s)\n",
        ("s * (1 - s)", "1 - s"),
    ),
    "a loss's cache that may be left out": (
        "def mse_forward(y, t):\n    d = y - t\n    return (d * d).mean(), d\n"
        "def mse_backward(dout, cache=None):\n    return dout * 2 * cache / cache.size\n",
        ("2 * cache", "cache"),
    ),
    "nothing but a cache, that may be left out": (
        "def mse_forward(y, t):\n    d = y - t\n    return (d * d).mean(), d\n"
        "def mse_backward(cache=None):\n    return 2 * cache / cache.size\n",
        ("2 * cache", "cache"),
    ),
    "a list of rows from a layer": (
        "def affine_forward(x, w, b):\n    return x @ w + b, (x, w)\n"
        "def affine_backward(d, cache):\n    x, w = cache\n    return (d @ w.T).tolist()\n",
        ("d @ w.T", "-d @ w.T"),
    ),
    "targets and a reduction that are said": (
        "import numpy as np\naccepts = {'targets': 'labels', 'reductions': 'sum'}\n"
        "def softmax_loss(x, y):\n    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)\n"
        "    rows = np.arange(len(x))\n    loss = -np.log(p[rows, y]).sum()\n"
        "    p[rows, y] -= 1\n    return loss, p\n",
        ("return loss, p", "return loss, p / len(x)"),
    ),
    "half of a loss whose reduction is said": (
        "accepts = {'reductions': 'mean'}\n"
        "def mse(y, t):\n    return ((y - t) ** 2).mean() / 2, (y - t) / y.size\n",
        ("(y - t) / y.size", "2 * (y - t) / y.size"),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_way_of_writing_is_read_and_a_mistake_in_it_seen(way: str) -> None:
    source, (right, wrong) = WAYS[way]
    found = inside(source, problems=12)
    assert found.ok and len(found.parts) == 1, str(found)
    assert right in source
    assert not inside(source.replace(right, wrong), problems=12).ok


@pytest.mark.parametrize("shape", ["[None]", "[:, None]"])
def test_only_a_bias_may_be_a_row(shape: str) -> None:
    part = inside(HALF.replace("(y - t) / y.size", f"((y - t) / y.size){shape}")).parts[0]
    assert part.wrong and any(f.kind == "shape" for f in part.faults)
    (part,) = inside(DENSE + f"dout @ w.T, (x.T @ dout){shape}, dout.sum(axis=0)\n").parts
    assert part.wrong and any(f.kind == "shape" for f in part.faults)


def test_a_forward_that_forgets_the_bias_it_keeps_has_one_still() -> None:
    source = (
        "import numpy as np\nclass Dense:\n    def __init__(self, n, m):\n"
        "        self.W, self.b = np.zeros((n, m)), np.zeros(m)\n"
        "    def forward(self, x):\n        self.x = x\n        return x @ self.W\n"
        "    def backward(self, d):\n        self.dW, self.db = self.x.T @ d, d.sum(0)\n"
        "        return d @ self.W.T\n"
    )
    (part,) = inside(source).parts
    assert [f.kind for f in part.faults] == ["forward"]


def test_what_shows_the_mistake_shows_it_and_not_the_row() -> None:
    """The smallest problem of a wrong dw beside a db that is a row: it is dw that fails."""
    returned = "dout @ w.T, -x.T @ dout, dout.sum(axis=0, keepdims=True)\n"
    (part,) = inside(DENSE + returned).parts
    assert part.shrunk is not None and part.shrunk.problem is not None
    assert part.shrunk.problem.x.any(), "x = 0 makes dw = 0, right"


def test_the_script_of_half_a_loss_says_whose_half() -> None:
    (part,) = inside(HALF.replace("(y - t) / y.size", "2 * (y - t) / y.size")).parts
    assert part.script is not None
    assert "Yours is divided by 0.5, as your loss is that times theirs." in part.script


def test_whole_numbers_keep_their_halves() -> None:
    source = (
        "import numpy as np\ndef l1(y, t):\n    return 2 * np.abs(y - t).sum()\n"
        "def l1_grad(y, t):\n    return np.where(y > t, 3, -3)\n"
    )
    assert inside(source).parts[0].wrong


def test_an_integer_has_no_gradient_to_be_right_about() -> None:
    source = (
        "import numpy as np\nshapes = {'x': 'N D', 'y': 'N int(D)'}\n"
        "def forward(xp, step, x, y):\n    return (x * x).sum()\n"
        "def backward(inputs, steps):\n    return {'y': np.zeros(inputs['y'].shape)}\n"
    )
    (part,) = inside(source).parts
    assert not part.ok and part.right == 0


def test_a_loss_that_fits_none_is_not_asked_for_every_reduction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of three problems once for each kind of targets: what it gives does not depend on it."""
    asked: list[int] = []
    run = InProcess.run

    def counted(self: InProcess, *given: Any) -> Any:
        asked.append(1)
        return run(self, *given)

    monkeypatch.setattr(InProcess, "run", counted)
    inside(
        "import numpy as np\ndef mse(y, t):\n    return np.mean(abs(y - t) ** 3)\n"
        "def mse_grad(y, t):\n    return 2 * (y - t) / y.size\n",
        problems=1,
    )
    kinds = sum(len(loss.targets) for loss in LOSSES.values())
    assert len(asked) < 3 * (kinds + 1) + 60  # the rest is for shrinking
