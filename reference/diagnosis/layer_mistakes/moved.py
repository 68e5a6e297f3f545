"""Mistakes of tables, of numbers that are moved, of sums over axes; last, those of any layer."""

from typing import Any

import numpy as np

from manual_backprop.layers import LAYERS
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

_TABLE, _LOGSUMEXP = ("embedding",), ("logsumexp",)


def _counts(c: LayerLine) -> Any:
    return np.bincount(c["index"].ravel(), minlength=len(c["weight"]))[:, None]


def _repeated(c: LayerLine) -> Any:
    """Return δy, repeated along the axes over which x was summed."""
    return LAYERS["sum"].pull_back("stable", c.arrays, c.y, c.dy, c.options)["x"]


@layer_mistake(_TABLE, ("weight",), "∂L/∂W[index] = δy in place of +=")
def embedding_repeats_overwritten(c: LayerLine) -> Any:
    """An index that is met twice gets two cotangents: `=` keeps the last one only."""
    found = np.zeros_like(c["weight"])
    found[c["index"].ravel()] = c.dy.reshape(-1, c.dy.shape[-1])
    padding = c.options["padding_idx"]
    if padding is not None:
        found[padding] = 0
    return found


@layer_mistake(_TABLE, ("weight",), "∂L/∂W_i = mean of δy where the index is i")
def embedding_repeats_averaged(c: LayerLine) -> Any:
    """The cotangents of an index that is repeated add up; a mean was taken."""
    return c.own / np.maximum(_counts(c), 1)


@layer_mistake(
    _TABLE, ("weight",), "∂L/∂W of the padding row ≠ 0",
    lambda c: c.options["padding_idx"] is not None,
)  # fmt: skip
def embedding_padding_row_learns(c: LayerLine) -> Any:
    """The padding row has no part in the output: its gradient is 0."""
    return c.pulled(padding_idx=None)["weight"]


@layer_mistake(_TABLE, ("weight",), "∂L/∂W divided by the number of indices")
def embedding_mean_over_indices(c: LayerLine) -> Any:
    """The cotangents add up; they were divided by how many indices there are."""
    return c.own / c["index"].size


@layer_mistake(("mean",), ("x",), "δx = δy")
def mean_count_left_out(c: LayerLine) -> Any:
    """A mean of K numbers has the slope 1/K: it is left out."""
    return c.own * (c["x"].size // c.dy.size)


@layer_mistake(("mean",), ("x",), "δx = δy/size of x")
def mean_count_of_all(c: LayerLine) -> Any:
    """The cotangent is divided by the size of the whole array, not by that of the axes."""
    return c.own / c.dy.size


@layer_mistake(("sum",), ("x",), "δx = δy/K")
def sum_averaged(c: LayerLine) -> Any:
    """Each term of a sum gets the whole cotangent, not a share of it."""
    return c.own * (c.dy.size / c["x"].size)


@layer_mistake(_LOGSUMEXP, ("x",), "δx = δy", lambda c: c.dy.size < c["x"].size)
def logsumexp_handed_on_as_a_sum(c: LayerLine) -> Any:
    """Each number gets its share of the cotangent, its softmax, not the whole."""
    return _repeated(c)


@layer_mistake(_LOGSUMEXP, ("x",), "δx = δy eˣ")
def logsumexp_not_divided(c: LayerLine) -> Any:
    """The slope of the logarithm, 1/Σ eˣ, is left out."""
    return _repeated(c) * np.exp(c["x"])


@layer_mistake(_LOGSUMEXP, ("x",), "δx = δy/Σ eˣ")
def logsumexp_slope_of_exp_left_out(c: LayerLine) -> Any:
    """The slope of the exponential, eˣ, is left out."""
    return c.own * np.exp(-c["x"])


@layer_mistake(_LOGSUMEXP, ("x",), "δx = δy [x = max x]")
def logsumexp_as_maximum(c: LayerLine) -> Any:
    """The whole cotangent goes to the largest number, as of a maximum."""
    largest = c["x"].max(axis=c.options["axis"], keepdims=True) == c["x"]
    return _repeated(c) * largest


@layer_mistake(_LOGSUMEXP, ("x",), "δx = δy softmax(x) over all of x", lambda c: c.dy.size > 1)
def logsumexp_softmax_over_all(c: LayerLine) -> Any:
    """The softmax is that of the summed axes, not of the whole array."""
    e = np.exp(c["x"] - c["x"].max())
    return _repeated(c) * (e / e.sum())


@layer_mistake(("concatenate",), ("other",), "δother = the first part of δy")
def concatenate_part_of_the_first(c: LayerLine) -> Any:
    """`other` stands after x: its cotangent begins where that of x ends."""
    axis, length = c.options["axis"], c["other"].shape[c.options["axis"]]
    if c.dy.shape[axis] < length:
        return c.own
    return np.take(c.dy, range(length), axis=axis)


@layer_mistake(("slice",), ("x",), "δx[:n] = δy")
def slice_put_at_the_beginning(c: LayerLine) -> Any:
    """The cotangent belongs where the slice was taken, not at the beginning."""
    found = np.zeros_like(c["x"])
    found[tuple(slice(0, n) for n in c.dy.shape)] = c.dy
    return found


@layer_mistake(("transpose",), ("x",), "δx = reshape(δy)")
def transpose_reshaped(c: LayerLine) -> Any:
    """A transpose was undone by a reshape, which keeps the order of the numbers."""
    return c.dy.reshape(c["x"].shape)


@layer_mistake(
    ("transpose",), ("x",), "δx by the same order of axes",
    lambda c: c.dy.transpose(c.options["axes"]).shape == c["x"].shape,
)  # fmt: skip
def transpose_order_not_inverted(c: LayerLine) -> Any:
    """The axes go back by the inverse order; for two axes it is the same one."""
    return c.dy.transpose(c.options["axes"])


# -- any layer ------------------------------------------------------------------------------------


@layer_mistake((), (), "δ = −δ")
def cotangent_sign(c: LayerLine) -> Any:
    """The cotangent has the wrong sign."""
    return -c.own


@layer_mistake((), (), "δ = 2 δ")
def cotangent_twice(c: LayerLine) -> Any:
    """The cotangent is added twice."""
    return 2 * c.own


@layer_mistake((), (), "δ = 0")
def cotangent_left_out(c: LayerLine) -> Any:
    """The cotangent is never written: it is still the zeros it was made with."""
    return np.zeros_like(c.own)
