"""Softmax over the last axis in JAX Pallas, a row for each program: dx = y (dy − Σ dy y).

`interpret=True` runs it on the CPU; without it the same kernels are compiled for a GPU or a TPU.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

shapes = {"x": "N D"}


def wide(x):
    """Return numbers in the dtype that the kernel computes in."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def reference(x):
    return jax.nn.softmax(x, -1)


def normalised_row(x_row, out):
    x = wide(x_row[...])
    e = jnp.exp(x - x.max(-1, keepdims=True))
    out[...] = (e / e.sum(-1, keepdims=True)).astype(out.dtype)


def projected_row(y_row, cotangent, out):
    p, d = wide(y_row[...]), wide(cotangent[...])
    out[...] = (p * (d - (d * p).sum(-1, keepdims=True))).astype(out.dtype)


@partial(jax.jit, static_argnums=0)
def by_rows(kernel, *arrays):
    """Run a kernel on each row of arrays of one shape."""
    n, d = arrays[0].shape
    row = pl.BlockSpec((1, d), lambda i: (i, 0))
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((n, d), arrays[0].dtype),
        grid=(n,),
        in_specs=[row] * len(arrays),
        out_specs=row,
        interpret=True,
    )(*arrays)


@jax.custom_vjp
def softmax(x):
    return by_rows(normalised_row, x)


def softmax_fwd(x):
    y = softmax(x)
    return y, y


def softmax_bwd(y, dy):
    return (by_rows(projected_row, y, dy),)


softmax.defvjp(softmax_fwd, softmax_bwd)
