"""jax.custom_vjp functions and plain pairs on jax arrays: right, and wrong by one edit."""

from pathlib import Path

import pytest
from kindtools import checked, only
from targetsources import JAX

from reference.checks.judging import Failure

HEAD = "import jax\nimport jax.numpy as jnp\n"

FIXED_ARGUMENT = (
    "from functools import partial\n"
    + HEAD
    + """
@partial(jax.custom_vjp, nondiff_argnums=(1,))
def celu(x, alpha=1.3):
    return jnp.maximum(x, 0) + jnp.minimum(0, alpha * jnp.expm1(x / alpha))

def celu_fwd(x, alpha):
    return celu(x, alpha), x

def celu_bwd(alpha, x, g):
    return (jnp.where(x > 0, g, g * jnp.exp(x / alpha)),)

celu.defvjp(celu_fwd, celu_bwd)
"""
)

TWO_ARRAYS = (
    HEAD
    + """
@jax.custom_vjp
def log_add_exp(a, b):
    m = jnp.maximum(a, b)
    return m + jnp.log(jnp.exp(a - m) + jnp.exp(b - m))

def fwd(a, b):
    out = log_add_exp(a, b)
    return out, (a, b, out)

def bwd(saved, g):
    a, b, out = saved
    return g * jnp.exp(a - out), g * jnp.exp(b - out)

log_add_exp.defvjp(fwd, bwd)
"""
)

LINEAR = (
    HEAD
    + """
@jax.custom_vjp
def linear(x, w):
    return x @ w

def fwd(x, w):
    return x @ w, (x, w)

def bwd(kept, g):
    x, w = kept
    return g @ w.T, x.T @ g

linear.defvjp(fwd, bwd)
"""
)

TARGETS_FIRST = (
    HEAD
    + """
@jax.custom_vjp
def mse(y_true, y_pred):
    return jnp.mean((y_true - y_pred) ** 2)

def mse_fwd(y_true, y_pred):
    return mse(y_true, y_pred), (y_true, y_pred)

def mse_bwd(kept, g):
    t, y = kept
    d = 2 * (y - t) / y.size * g
    return -d, d

mse.defvjp(mse_fwd, mse_bwd)
"""
)

PLAIN_PAIR = (
    HEAD
    + """
def dense_forward(x, w, b):
    return jnp.dot(x, w) + b, (x, w)

def dense_backward(dout, cache):
    x, w = cache
    db = jnp.zeros(w.shape[1]).at[:].add(dout.sum(axis=0))
    return dout @ w.T, x.T @ dout, db
"""
)

FORMS = {
    "by entry": (JAX, "(s + x * s * (1 - s))", "s", {"x"}, "gate_second_term_left_out"),
    "an argument without gradient": (FIXED_ARGUMENT, "g * jnp.exp", "2 * g * jnp.exp", {"x"}, ""),
    "two arrays": (TWO_ARRAYS, "g * jnp.exp(b - out)", "-g * jnp.exp(b - out)", {"b"}, "-1 times"),
    "no bias": (LINEAR, "x.T @ g", "2 * x.T @ g", {"w"}, "twice"),
    "targets first": (TARGETS_FIRST, "-d, d", "-d, 99 * d", {"y_pred"}, "99 times"),
    "a plain pair": (PLAIN_PAIR, "dout.sum(axis=0)", "dout.mean(axis=0)", {"b"}, "bias_mean"),
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


def test_what_it_is_judged_by_is_said_and_precision_is_as_before(tmp_path: Path) -> None:
    import jax

    before = jax.config.jax_enable_x64
    found = only(tmp_path, LINEAR)
    assert found.kind == "jax"
    assert found.subject.judged_by() == "JAX's gradient of its own operations, float64"  # type: ignore[union-attr]
    assert jax.config.jax_enable_x64 == before


def test_a_framework_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reference.checks.kinds import _frames

    def missing(self: object) -> None:
        raise ImportError("No module named 'jax'")

    monkeypatch.setattr(_frames._Jax, "__init__", missing)
    (found,) = checked(tmp_path, LINEAR)
    assert isinstance(found.subject, Failure)
    assert found.subject.reason.startswith("it needs jax, which is not installed")
