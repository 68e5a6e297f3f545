"""Mistakes of tables, of numbers that are moved, of sums over axes; last, those of any layer."""

import numpy as np
import numpy.typing as npt

from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

_TABLE = ("embedding",)


def _counts(c: LayerLine) -> npt.NDArray[np.intp]:
    return np.bincount(c["index"].ravel(), minlength=len(c["weight"]))[:, None]


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
def _embedding_repeats_overwritten(c: LayerLine) -> FloatArray:
    found = np.zeros_like(c["weight"])
    found[c["index"].ravel()] = c.dy.reshape(-1, c.dy.shape[-1])
    padding = c.options["padding_idx"]
    if padding is not None:
        found[padding] = 0
    return found


table_weight = LayerRule(_TABLE, ("weight",))
table_weight("embedding_repeats_overwritten", "∂L/∂W[index] = δy in place of +=",
    "An index that is met twice gets two cotangents: `=` keeps the last one only.",
    _embedding_repeats_overwritten)
table_weight("embedding_repeats_averaged", "∂L/∂W_i = mean of δy where the index is i",
    "The cotangents of an index that is repeated add up; a mean was taken.",
    lambda c: c.own / np.maximum(_counts(c), 1))
table_weight("embedding_padding_row_learns", "∂L/∂W of the padding row ≠ 0",
    "The padding row has no part in the output: its gradient is 0.",
    lambda c: c.pulled(padding_idx=None)["weight"],
    when=lambda c: c.options["padding_idx"] is not None)
table_weight("embedding_mean_over_indices", "∂L/∂W divided by the number of indices",
    "The cotangents add up; they were divided by how many indices there are.",
    lambda c: c.own / c["index"].size)

mean_x = LayerRule(("mean",), ("x",))
mean_x("mean_count_left_out", "δx = δy",
    "A mean of K numbers has the slope 1/K: it is left out.",
    lambda c: c.own * (c["x"].size // c.dy.size))
mean_x("mean_count_of_all", "δx = δy/size of x",
    "The cotangent is divided by the size of the whole array, not by that of the axes.",
    lambda c: c.own / c.dy.size)
LayerRule(("sum",), ("x",))("sum_averaged", "δx = δy/K",
    "Each term of a sum gets the whole cotangent, not a share of it.",
    lambda c: c.own * (c.dy.size / c["x"].size))


def _concatenate_part_of_the_first(c: LayerLine) -> FloatArray:
    axis, length = c.options["axis"], c["other"].shape[c.options["axis"]]
    if c.dy.shape[axis] < length:
        return c.own
    return np.take(c.dy, range(length), axis=axis)


LayerRule(("concatenate",), ("other",))(
    "concatenate_part_of_the_first", "δother = the first part of δy",
    "`other` stands after x: its cotangent begins where that of x ends.",
    _concatenate_part_of_the_first)


def _slice_put_at_the_beginning(c: LayerLine) -> FloatArray:
    found = np.zeros_like(c["x"])
    found[tuple(slice(0, n) for n in c.dy.shape)] = c.dy
    return found


LayerRule(("slice",), ("x",))("slice_put_at_the_beginning", "δx[:n] = δy",
    "The cotangent belongs where the slice was taken, not at the beginning.",
    _slice_put_at_the_beginning)

transpose_x = LayerRule(("transpose",), ("x",))
transpose_x("transpose_reshaped", "δx = reshape(δy)",
    "A transpose was undone by a reshape, which keeps the order of the numbers.",
    lambda c: c.dy.reshape(c["x"].shape))
transpose_x("transpose_order_not_inverted", "δx by the same order of axes",
    "The axes go back by the inverse order; for two axes it is the same one.",
    lambda c: c.dy.transpose(c.options["axes"]),
    when=lambda c: c.dy.transpose(c.options["axes"]).shape == c["x"].shape)

# -- any layer ------------------------------------------------------------------------------------

any_layer = LayerRule((), ())
any_layer("cotangent_sign", "δ = −δ",
    "The cotangent has the wrong sign.",
    lambda c: -c.own)
any_layer("cotangent_twice", "δ = 2 δ",
    "The cotangent is added twice.",
    lambda c: 2 * c.own)
any_layer("cotangent_left_out", "δ = 0",
    "The cotangent is never written: it is still the zeros it was made with.",
    lambda c: np.zeros_like(c.own))
