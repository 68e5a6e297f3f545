# exit: 0
# expect: right: a jax.custom_vjp with nondiff_argnums, and one of two arguments
from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def celu(x, alpha=1.3):
    return jnp.maximum(x, 0) + jnp.minimum(0, alpha * jnp.expm1(x / alpha))


def celu_fwd(x, alpha):
    return celu(x, alpha), x


def celu_bwd(alpha, x, g):
    return (jnp.where(x > 0, g, g * jnp.exp(x / alpha)),)


celu.defvjp(celu_fwd, celu_bwd)


@jax.custom_vjp
def log_add_exp(a, b):
    m = jnp.maximum(a, b)
    return m + jnp.log(jnp.exp(a - m) + jnp.exp(b - m))


def log_add_exp_fwd(a, b):
    out = log_add_exp(a, b)
    return out, (a, b, out)


def log_add_exp_bwd(saved, g):
    a, b, out = saved
    return g * jnp.exp(a - out), g * jnp.exp(b - out)


log_add_exp.defvjp(log_add_exp_fwd, log_add_exp_bwd)
