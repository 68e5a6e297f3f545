"""RMS norm in JAX: with r = 1/√(mean x² + ε), dx = r g − x r³ mean(g x), g = dy w."""

import jax
import jax.numpy as jnp

shapes = {"x": "N D", "weight": "D"}


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def reference(x, weight):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight


@jax.custom_vjp
def rms_norm(x, weight):
    return reference(wide(x), wide(weight)).astype(x.dtype)


def rms_norm_fwd(x, weight):
    return rms_norm(x, weight), (x, weight)


def rms_norm_bwd(saved, dy):
    x, weight = saved
    z, d = wide(x), wide(dy)
    r = jax.lax.rsqrt((z * z).mean(-1, keepdims=True) + 1e-6)
    g = d * wide(weight)
    dx = r * g - z * r**3 * (g * z).mean(-1, keepdims=True)
    dweight = (d * z * r).sum(0)
    return dx.astype(x.dtype), dweight.astype(weight.dtype)


rms_norm.defvjp(rms_norm_fwd, rms_norm_bwd)
