"""Mistakes of convolutions and pooling, whose windows overlap, and of padding."""

import numpy as np

from manual_backprop.layers import LAYERS
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

_CONV = ("conv1d", "conv2d")
_CONVS = (*_CONV, "conv_transpose2d")
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")


def _flipped(weight: FloatArray) -> FloatArray:
    return np.flip(weight, axis=tuple(range(2, weight.ndim)))


def _batch(c: LayerLine) -> bool:
    return len(c["x"]) > 1


def _averaged(c: LayerLine) -> FloatArray:
    average = LAYERS["avg_pool2d"].pull_back("stable", c.arrays, None, c.dy, c.options)
    return np.asarray(average["x"])


def _kernel(c: LayerLine) -> int:
    return int(np.prod(c.options["kernel"]))


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
LayerRule(_CONVS, ("x",))("conv_kernel_flipped", "δx with the kernel reversed",
    "The kernel is reversed once too often, or not at all, on the way back to x.",
    lambda c: c.pulled(weight=_flipped(c["weight"]))["x"])
LayerRule(_CONVS, ("weight",))("conv_weight_flipped", "∂L/∂w reversed",
    "The weight's gradient is that of the reversed kernel.",
    lambda c: _flipped(c.own))

convs_weight = LayerRule(_CONVS, ("weight", "bias"))
convs_weight("conv_parameter_mean", "a mean over the batch in place of Σ",
    "Every sample uses the same kernel and bias: their gradients add up, a mean was taken.",
    lambda c: c.own / len(c["x"]), when=_batch)

convs_bias = LayerRule(_CONVS, ("bias",))
convs_bias("conv_bias_mean_over_positions", "∂L/∂b = mean of δy over positions",
    "The bias is added at every position: the sum belongs here, not the mean.",
    lambda c: c.own * (c.dy.shape[0] * c.dy.shape[1] / c.dy.size))
convs_bias("conv_bias_of_one_position", "∂L/∂b = Σ_n δy at one position",
    "The sum runs over the batch alone: the other positions are left out.",
    lambda c: c.dy.reshape(*c.dy.shape[:2], -1)[..., 0].sum(axis=0))
convs_weight("conv_parameter_of_the_last_sample", "∂L/∂w of the last sample",
    "`=` where `+=` accumulates: only the last sample's gradient is left.",
    lambda c: c.pulled(dy=c.dy[-1:], x=c["x"][-1:])[c.argument], when=_batch)


def _conv_padding_not_cut_off(c: LayerLine) -> FloatArray:
    padding = np.atleast_1d(c.options["padding"]).tolist()
    none = tuple(0 for _ in padding) if len(padding) > 1 else 0
    padded = np.pad(c["x"], [(0, 0), (0, 0), *((p, p) for p in padding)])
    whole = c.pulled(x=padded, padding=none)["x"]
    return whole[tuple(slice(0, n) for n in c["x"].shape)]


LayerRule(_CONV, ("x",))("conv_padding_not_cut_off", "δx = the padded gradient from its corner",
    "The gradient of the padded array is cut at its corner, not where the image begins.",
    _conv_padding_not_cut_off,
    when=lambda c: bool(np.any(c.options["padding"])))


def _window_last_row_missing(c: LayerLine) -> FloatArray:
    dy = c.dy.copy()
    dy[:, :, -1] = 0
    return c.pulled(dy=dy)[c.argument]


LayerRule((*_CONVS, *_POOLS), ("x", "weight"))(
    "window_last_row_missing", "the last row of windows left out",
    "A loop over the windows stops one too early: the last row of them gives nothing.",
    _window_last_row_missing)


def _window_overwritten(c: LayerLine) -> FloatArray:
    found = np.zeros_like(c["x"])
    for place in np.ndindex(c.dy.shape[2:]):
        dy = np.zeros_like(c.dy)
        dy[(slice(None), slice(None), *place)] = c.dy[(slice(None), slice(None), *place)]
        part = c.pulled(dy=dy)["x"]
        found = np.where(part != 0, part, found)
    return found


LayerRule((*_CONVS, *_POOLS), ("x",))("window_overwritten", "δx[window] = … in place of +=",
    "Windows overlap and their cotangents add up: `=` keeps the last one only.",
    _window_overwritten)
max_pool2d_x = LayerRule(("max_pool2d",), ("x",))
max_pool2d_x("max_pool_gives_to_the_whole_window", "δx = δy over the whole window",
    "The cotangent of a maximum belongs to the number that won, not to its whole window.",
    lambda c: _averaged(c) * _kernel(c))
max_pool2d_x("max_pool_as_average", "δx = δy/K over the whole window",
    "The gradient is that of average pooling.",
    _averaged)
max_pool2d_x("max_pool_times_its_value", "δx = y δy at the number that won",
    "The slope of the number that won is 1, not the number itself.",
    lambda c: c.pulled(dy=c.dy * c.y)["x"])
max_pool2d_x("max_pool_divided", "δx = δy/K at the number that won",
    "The number that won gets the whole cotangent, not a share of it.",
    lambda c: c.own / _kernel(c))

avg_pool2d_x = LayerRule(("avg_pool2d",), ("x",))
avg_pool2d_x("average_pool_share_left_out", "δx = Σ δy",
    "An average over K numbers has the slope 1/K: it is left out.",
    lambda c: c.own * _kernel(c))
avg_pool2d_x("average_pool_share_twice", "δx = Σ δy/K²",
    "1/K divides once too often.",
    lambda c: c.own / _kernel(c))
LayerRule(("pad",), ("x",))("pad_not_shifted", "δx = δy from its corner",
    "The image begins after the border: the gradient is cut at the corner of the padded array.",
    lambda c: c.dy[:, :, : c["x"].shape[2], : c["x"].shape[3]],
    when=lambda c: bool(c.options["top"] or c.options["left"]))
