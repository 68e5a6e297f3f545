# exit: 1
# mistake: softplus is divided by beta, so beta cancels in the slope; here it stands as a factor
# expect: beta|β|factor|constant|twice|too large
import jax
import jax.numpy as jnp

BETA = 2.0


@jax.custom_vjp
def softplus(x):
    return jnp.log1p(jnp.exp(BETA * x)) / BETA


def softplus_fwd(x):
    return softplus(x), jax.nn.sigmoid(BETA * x)


def softplus_bwd(sig, ct):
    return (ct * BETA * sig,)


softplus.defvjp(softplus_fwd, softplus_bwd)
