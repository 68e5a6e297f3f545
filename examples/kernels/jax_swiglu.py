"""SwiGLU in JAX: y = silu(a) b; silu′ = σ (1 + a (1 − σ))."""

import jax
import jax.numpy as jnp

shapes = {"a": "N D", "b": "N D"}


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def reference(a, b):
    return a * jax.nn.sigmoid(a) * b


@jax.custom_vjp
def swiglu(a, b):
    return reference(wide(a), wide(b)).astype(a.dtype)


def swiglu_fwd(a, b):
    return swiglu(a, b), (a, b)


def swiglu_bwd(saved, dy):
    a, b = saved
    x, d = wide(a), wide(dy)
    s = jax.nn.sigmoid(x)
    da = d * wide(b) * s * (1 + x * (1 - s))
    db = d * x * s
    return da.astype(a.dtype), db.astype(b.dtype)


swiglu.defvjp(swiglu_fwd, swiglu_bwd)
