"""Mistakes of a dense layer: ∂L/∂W = xᵀ δz, ∂L/∂b = Σₙ δz, δx = δz Wᵀ."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import BELOW, BIAS, WEIGHT, DenseLine, WrongArray


def _inside(line: DenseLine) -> bool:
    return line.da is not None and bool(line.da.shape == line.dz.shape)


def _square(line: DenseLine) -> bool:
    return bool(line.square and line.weight.shape[0] > 1)


def _wide(line: DenseLine) -> bool:
    return bool(line.weight.shape[1] > 1)


# -- the weight ---------------------------------------------------------------------------------


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
def _weight_skips_activation(c: DenseLine) -> WrongArray:
    assert c.da is not None
    return c.x.T @ c.da


WEIGHT("weight_skips_activation", "∂L/∂W = xᵀ δa",
    "The weight's gradient takes the cotangent of the activation, before its derivative.",
    _weight_skips_activation, when=_inside)


def _weight_from_pre_activation(c: DenseLine) -> WrongArray:
    assert c.x_before is not None
    return c.x_before.T @ c.dz


WEIGHT("weight_from_pre_activation", "∂L/∂W = zᵀ₍₋₁₎ δz",
    "The weight was fed the activation of the layer below, not its pre-activation.",
    _weight_from_pre_activation,
    when=lambda c: c.x_before is not None)
WEIGHT("weight_transposed", "∂L/∂W = δzᵀ x",
    "The product is the wrong way round; only in a square layer does the transpose fit.",
    lambda c: c.dz.T @ c.x, when=_square)
WEIGHT("weight_reshaped", "∂L/∂W = reshape(δzᵀ x)",
    "A transposed product was reshaped to fit: reshape keeps the order of numbers, .T does not.",
    lambda c: (c.dz.T @ c.x).reshape(c.weight.shape),
    when=lambda c: not c.square and min(c.weight.shape) > 1)
WEIGHT("weight_sign", "∂L/∂W = −xᵀ δz",
    "The weight's gradient has the wrong sign: the minus belongs to the update.",
    lambda c: -(c.x.T @ c.dz))
WEIGHT("weight_from_mask", "∂L/∂W = [x > 0]ᵀ δz",
    "The mask of the layer below is used instead of its value.",
    lambda c: (c.x > 0).astype(c.x.dtype).T @ c.dz)
WEIGHT("weight_times_weight", "∂L/∂W = xᵀ δz · W",
    "The derivative of x W by W is x alone: the weight does not appear in its own gradient.",
    lambda c: (c.x.T @ c.dz) * c.weight)
WEIGHT("weight_last_unit_missing", "∂L/∂W = xᵀ δz, last column left out",
    "A loop over the units stops one too early: the last column is never filled.",
    lambda c: np.concatenate(
        [(found := c.x.T @ c.dz)[:, :-1], np.zeros_like(found[:, -1:])], axis=1), when=_wide)
WEIGHT("weight_first_input_missing", "∂L/∂W = xᵀ δz, first row left out",
    "A loop over the inputs starts at 1: the first row is never filled.",
    lambda c: np.concatenate([np.zeros_like((found := c.x.T @ c.dz)[:1]), found[1:]], axis=0),
    when=lambda c: c.weight.shape[0] > 1)
WEIGHT("weight_left_out", "∂L/∂W = 0",
    "The weight's gradient is never written: it is still the zeros it was made with.",
    lambda c: np.zeros_like(c.weight))
WEIGHT("weight_mean_over_units", "∂L/∂W = xᵀ δz / D_out",
    "The weight's gradient is divided by the number of units, which nothing asks for.",
    lambda c: c.right["weight"] / c.weight.shape[1], when=_wide)

# -- the bias -----------------------------------------------------------------------------------


def _bias_skips_activation(c: DenseLine) -> WrongArray:
    assert c.da is not None
    return c.da.sum(axis=0)


BIAS("bias_skips_activation", "∂L/∂b = Σₙ δaₙ",
    "The bias stands before the activation: its gradient needs the derivative too.",
    _bias_skips_activation, when=_inside)
BIAS("bias_summed_over_everything", "∂L/∂b = Σₙ Σⱼ δzₙⱼ",
    "A sum without an axis adds up the units too: every bias gets the same number.",
    lambda c: np.asarray(c.dz.sum()), when=_wide)
BIAS("bias_summed_over_units", "∂L/∂b = Σⱼ δzₙⱼ",
    "The sum runs over the units, not the samples; it fits only where N = D_out.",
    lambda c: c.dz.sum(axis=1),
    when=lambda c: c.dz.shape[0] == c.dz.shape[1] > 1)
BIAS("bias_sign", "∂L/∂b = −Σₙ δzₙ",
    "The bias's gradient has the wrong sign.",
    lambda c: -c.dz.sum(axis=0))


def _bias_times_bias(c: DenseLine) -> WrongArray:
    assert c.bias is not None
    return c.bias * c.dz.sum(axis=0)


BIAS("bias_times_bias", "∂L/∂b = b · Σₙ δzₙ",
    "The derivative of z by b is 1: the bias does not appear in its own gradient.",
    _bias_times_bias)
BIAS("bias_from_weight", "∂L/∂b = Σᵢ ∂L/∂Wᵢ",
    "The bias sums δz over the samples, not the weight's gradient over the inputs.",
    lambda c: (c.x.T @ c.dz).sum(axis=0))
BIAS("bias_left_out", "∂L/∂b = 0",
    "The bias's gradient is never written: it is still the zeros it was made with.",
    lambda c: np.zeros_like(c.right["bias"]))

# -- what goes on to the layer below ------------------------------------------------------------

BELOW("below_weight_not_transposed", "δx = δz W",
    "The weight is not transposed on the way back; only in a square layer does that fit.",
    lambda c: c.dz @ c.weight, when=_square)
BELOW("below_weight_reshaped", "δx = δz reshape(W)",
    "The weight was reshaped to fit where it should be transposed.",
    lambda c: c.dz @ c.weight.reshape(c.weight.shape[::-1]),
    when=lambda c: not c.square and min(c.weight.shape) > 1)


def _below_skips_activation(c: DenseLine) -> WrongArray:
    assert c.da is not None
    return c.da @ c.weight.T


BELOW("below_skips_activation", "δx = δa Wᵀ",
    "What goes on to the layer below leaves out this layer's activation derivative.",
    _below_skips_activation, when=_inside)
BELOW("below_sign", "δx = −δz Wᵀ",
    "The cotangent changes sign on its way to the layer below.",
    lambda c: -(c.dz @ c.weight.T))
BELOW("below_without_weight", "δxₙᵢ = Σⱼ δzₙⱼ",
    "The weight is missing on the way back: every input gets the plain sum over the units.",
    lambda c: c.dz.sum(axis=1, keepdims=True))
BELOW("below_times_input", "δx = (δz Wᵀ) · x",
    "The derivative of x W by x is W alone: the input does not appear in its own cotangent.",
    lambda c: (c.dz @ c.weight.T) * c.x)
BELOW("below_mean_over_units", "δx = δz Wᵀ / D_out",
    "The units below add up what every unit above sends back; a mean was taken.",
    lambda c: c.right["x"] / c.weight.shape[1], when=_wide)
BELOW("below_left_out", "δx = 0",
    "Nothing goes on to the layer below: its cotangent is left at zero.",
    lambda c: np.zeros_like(c.x))
BELOW("below_last_unit_missing", "δx = δz₍:₋₁₎ Wᵀ₍:₋₁₎",
    "A loop over the units stops one too early: the last unit sends nothing back.",
    lambda c: c.dz[:, :-1] @ c.weight[:, :-1].T, when=_wide)
BELOW("below_overwritten", "δx = δz₍last₎ Wᵀ₍last₎",
    "`=` where `+=` accumulates: only the last unit's share of the cotangent is left.",
    lambda c: c.dz[:, -1:] @ c.weight[:, -1:].T, when=_wide)
BELOW("below_absolute_weight", "δx = δz |W|ᵀ",
    "The sign of the weights is lost on the way back.",
    lambda c: c.dz @ np.maximum(c.weight, -c.weight).T)
