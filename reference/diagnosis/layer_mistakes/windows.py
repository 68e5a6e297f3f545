"""Mistakes of convolutions and pooling, whose windows overlap, and of padding."""

from typing import Any

import numpy as np

from manual_backprop.layers import LAYERS
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

_CONV = ("conv1d", "conv2d")
_CONVS = (*_CONV, "conv_transpose2d")
_POOLS = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")
_FIXED = ("max_pool2d", "avg_pool2d")


def _flipped(weight: Any) -> Any:
    return np.flip(weight, axis=tuple(range(2, weight.ndim)))


def _batch(c: LayerLine) -> bool:
    return len(c["x"]) > 1


def _kernel(c: LayerLine) -> int:
    return int(np.prod(c.options["kernel"]))


@layer_mistake(_CONVS, ("x",), "δx with the kernel turned round")
def conv_kernel_flipped(c: LayerLine) -> Any:
    """The kernel is turned round once too often, or not at all, on the way back to x."""
    return c.pulled(weight=_flipped(c["weight"]))["x"]


@layer_mistake(_CONVS, ("weight",), "∂L/∂w turned round")
def conv_weight_flipped(c: LayerLine) -> Any:
    """The weight's gradient is that of the kernel turned round."""
    return _flipped(c.own)


@layer_mistake(_CONVS, ("weight", "bias"), "a mean over the batch in place of Σ", _batch)
def conv_parameter_mean(c: LayerLine) -> Any:
    """Every sample uses the same kernel and bias: their gradients add up, a mean was taken."""
    return c.own / len(c["x"])


@layer_mistake(_CONVS, ("bias",), "∂L/∂b = mean of δy over positions")
def conv_bias_mean_over_positions(c: LayerLine) -> Any:
    """The bias is added at every position: the sum belongs here, not the mean."""
    return c.own * (c.dy.shape[0] * c.dy.shape[1] / c.dy.size)


@layer_mistake(_CONVS, ("bias",), "∂L/∂b = Σ_n δy at one position")
def conv_bias_of_one_position(c: LayerLine) -> Any:
    """The sum runs over the batch alone: the other positions are left out."""
    return c.dy.reshape(*c.dy.shape[:2], -1)[..., 0].sum(axis=0)


@layer_mistake(_CONVS, ("weight", "bias"), "∂L/∂w of the last sample", _batch)
def conv_parameter_of_the_last_sample(c: LayerLine) -> Any:
    """`=` where `+=` accumulates: only the last sample's gradient is left."""
    return c.pulled(dy=c.dy[-1:], x=c["x"][-1:])[c.argument]


@layer_mistake(
    _CONV, ("x",), "δx = the padded gradient from its corner",
    lambda c: bool(np.any(c.options["padding"])),
)  # fmt: skip
def conv_padding_not_cut_off(c: LayerLine) -> Any:
    """The gradient of the padded array is cut at its corner, not where the image begins."""
    padding = np.atleast_1d(c.options["padding"]).tolist()
    none = tuple(0 for _ in padding) if len(padding) > 1 else 0
    padded = np.pad(c["x"], [(0, 0), (0, 0), *((p, p) for p in padding)])
    whole = c.pulled(x=padded, padding=none)["x"]
    return whole[tuple(slice(0, n) for n in c["x"].shape)]


@layer_mistake((*_CONVS, *_POOLS), ("x", "weight"), "the last row of windows left out")
def window_last_row_missing(c: LayerLine) -> Any:
    """A loop over the windows stops one too early: the last row of them gives nothing."""
    dy = c.dy.copy()
    dy[:, :, -1] = 0
    return c.pulled(dy=dy)[c.argument]


@layer_mistake((*_CONVS, *_POOLS), ("x",), "δx[window] = … in place of +=")
def window_overwritten(c: LayerLine) -> Any:
    """Windows overlap and their cotangents add up: `=` keeps the last one only."""
    found = np.zeros_like(c["x"])
    for place in np.ndindex(c.dy.shape[2:]):
        dy = np.zeros_like(c.dy)
        dy[(slice(None), slice(None), *place)] = c.dy[(slice(None), slice(None), *place)]
        part = c.pulled(dy=dy)["x"]
        found = np.where(part != 0, part, found)
    return found


@layer_mistake(("max_pool2d",), ("x",), "δx = δy over the whole window")
def max_pool_gives_to_the_whole_window(c: LayerLine) -> Any:
    """The cotangent of a maximum belongs to the number that won, not to its whole window."""
    average = LAYERS["avg_pool2d"]
    return average.pull_back("stable", c.arrays, None, c.dy, c.options)["x"] * _kernel(c)


@layer_mistake(("max_pool2d",), ("x",), "δx = δy/K over the whole window")
def max_pool_as_average(c: LayerLine) -> Any:
    """The gradient is that of average pooling."""
    return LAYERS["avg_pool2d"].pull_back("stable", c.arrays, None, c.dy, c.options)["x"]


@layer_mistake(("max_pool2d",), ("x",), "δx = y δy at the number that won")
def max_pool_times_its_value(c: LayerLine) -> Any:
    """The slope of the number that won is 1, not the number itself."""
    return c.pulled(dy=c.dy * c.y)["x"]


@layer_mistake(("max_pool2d",), ("x",), "δx = δy/K at the number that won")
def max_pool_divided(c: LayerLine) -> Any:
    """The number that won gets the whole cotangent, not a share of it."""
    return c.own / _kernel(c)


@layer_mistake(("avg_pool2d",), ("x",), "δx = Σ δy")
def average_pool_share_left_out(c: LayerLine) -> Any:
    """An average over K numbers has the slope 1/K: it is left out."""
    return c.own * _kernel(c)


@layer_mistake(("avg_pool2d",), ("x",), "δx = Σ δy/K²")
def average_pool_share_twice(c: LayerLine) -> Any:
    """1/K divides once too often."""
    return c.own / _kernel(c)


@layer_mistake(
    ("pad",),
    ("x",),
    "δx = δy from its corner",
    lambda c: bool(c.options["top"] or c.options["left"]),
)
def pad_not_shifted(c: LayerLine) -> Any:
    """The image begins after the border: the gradient is cut at the corner of the padded array."""
    return c.dy[:, :, : c["x"].shape[2], : c["x"].shape[3]]
