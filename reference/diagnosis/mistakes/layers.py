"""Mistakes of a dense layer: ∂L/∂W = xᵀ δz, ∂L/∂b = Σₙ δz, δx = δz Wᵀ."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import DenseLine, WrongArray, mistake

_WEIGHT, _BIAS, _BELOW = "∂L/∂W = xᵀ δz", "∂L/∂b = Σₙ δzₙ", "δx = δz Wᵀ"


def _inside(line: DenseLine) -> bool:
    return line.da is not None and bool(line.da.shape == line.dz.shape)


def _square(line: DenseLine) -> bool:
    return bool(line.square and line.weight.shape[0] > 1)


def _wide(line: DenseLine) -> bool:
    return bool(line.weight.shape[1] > 1)


# -- the weight ---------------------------------------------------------------------------------


@mistake("weight", "layers", wrong="∂L/∂W = xᵀ δa", right=_WEIGHT, when=_inside)
def weight_skips_activation(c: DenseLine) -> WrongArray:
    """The weight's gradient takes the cotangent of the activation, before its derivative."""
    assert c.da is not None
    return c.x.T @ c.da


@mistake(
    "weight", "layers", wrong="∂L/∂W = zᵀ₍₋₁₎ δz", right=_WEIGHT,
    when=lambda c: c.x_before is not None,
)  # fmt: skip
def weight_from_pre_activation(c: DenseLine) -> WrongArray:
    """The weight was fed the activation of the layer below, not its pre-activation."""
    assert c.x_before is not None
    return c.x_before.T @ c.dz


@mistake("weight", "layers", wrong="∂L/∂W = δzᵀ x", right=_WEIGHT, when=_square)
def weight_transposed(c: DenseLine) -> WrongArray:
    """The product is the wrong way round; only in a square layer does the transpose fit."""
    return c.dz.T @ c.x


@mistake(
    "weight", "layers", wrong="∂L/∂W = reshape(δzᵀ x)", right=_WEIGHT,
    when=lambda c: not c.square and min(c.weight.shape) > 1,
)  # fmt: skip
def weight_reshaped(c: DenseLine) -> WrongArray:
    """A transposed product was reshaped to fit: reshape keeps the order of numbers, .T does not."""
    return (c.dz.T @ c.x).reshape(c.weight.shape)


@mistake("weight", "layers", wrong="∂L/∂W = −xᵀ δz", right=_WEIGHT)
def weight_sign(c: DenseLine) -> WrongArray:
    """The weight's gradient has the wrong sign: the minus belongs to the update."""
    return -(c.x.T @ c.dz)


@mistake("weight", "layers", wrong="∂L/∂W = [x > 0]ᵀ δz", right=_WEIGHT)
def weight_from_mask(c: DenseLine) -> WrongArray:
    """The mask of the layer below is used instead of its value."""
    return (c.x > 0).astype(c.x.dtype).T @ c.dz


@mistake("weight", "layers", wrong="∂L/∂W = xᵀ δz · W", right=_WEIGHT)
def weight_times_weight(c: DenseLine) -> WrongArray:
    """The derivative of x W by W is x alone: the weight does not appear in its own gradient."""
    return (c.x.T @ c.dz) * c.weight


@mistake("weight", "layers", wrong="∂L/∂W = xᵀ δz, last column left out", right=_WEIGHT, when=_wide)
def weight_last_unit_missing(c: DenseLine) -> WrongArray:
    """A loop over the units stops one too early: the last column is never filled."""
    found = c.x.T @ c.dz
    return np.concatenate([found[:, :-1], np.zeros_like(found[:, -1:])], axis=1)


@mistake(
    "weight", "layers", wrong="∂L/∂W = xᵀ δz, first row left out", right=_WEIGHT,
    when=lambda c: c.weight.shape[0] > 1,
)  # fmt: skip
def weight_first_input_missing(c: DenseLine) -> WrongArray:
    """A loop over the inputs starts at 1: the first row is never filled."""
    found = c.x.T @ c.dz
    return np.concatenate([np.zeros_like(found[:1]), found[1:]], axis=0)


@mistake("weight", "layers", wrong="∂L/∂W = 0", right=_WEIGHT)
def weight_left_out(c: DenseLine) -> WrongArray:
    """The weight's gradient is never written: it is still the zeros it was made with."""
    return np.zeros_like(c.weight)


@mistake("weight", "layers", wrong="∂L/∂W = xᵀ δz / D_out", right=_WEIGHT, when=_wide)
def weight_mean_over_units(c: DenseLine) -> WrongArray:
    """The weight's gradient is divided by the number of units, which nothing asks for."""
    return c.right["weight"] / c.weight.shape[1]


# -- the bias -----------------------------------------------------------------------------------


@mistake("bias", "layers", wrong="∂L/∂b = Σₙ δaₙ", right=_BIAS, when=_inside)
def bias_skips_activation(c: DenseLine) -> WrongArray:
    """The bias stands before the activation: its gradient needs the derivative too."""
    assert c.da is not None
    return c.da.sum(axis=0)


@mistake("bias", "layers", wrong="∂L/∂b = Σₙ Σⱼ δzₙⱼ", right=_BIAS, when=_wide)
def bias_summed_over_everything(c: DenseLine) -> WrongArray:
    """A sum without an axis adds up the units too: every bias gets the same number."""
    return np.asarray(c.dz.sum())


@mistake(
    "bias", "layers", wrong="∂L/∂b = Σⱼ δzₙⱼ", right=_BIAS,
    when=lambda c: c.dz.shape[0] == c.dz.shape[1] > 1,
)  # fmt: skip
def bias_summed_over_units(c: DenseLine) -> WrongArray:
    """The sum runs over the units, not the samples; it fits only where N = D_out."""
    return c.dz.sum(axis=1)


@mistake("bias", "layers", wrong="∂L/∂b = −Σₙ δzₙ", right=_BIAS)
def bias_sign(c: DenseLine) -> WrongArray:
    """The bias's gradient has the wrong sign."""
    return -c.dz.sum(axis=0)


@mistake("bias", "layers", wrong="∂L/∂b = b · Σₙ δzₙ", right=_BIAS)
def bias_times_bias(c: DenseLine) -> WrongArray:
    """The derivative of z by b is 1: the bias does not appear in its own gradient."""
    assert c.bias is not None
    return c.bias * c.dz.sum(axis=0)


@mistake("bias", "layers", wrong="∂L/∂b = Σᵢ ∂L/∂Wᵢ", right=_BIAS)
def bias_from_weight(c: DenseLine) -> WrongArray:
    """The bias sums δz over the samples, not the weight's gradient over the inputs."""
    return (c.x.T @ c.dz).sum(axis=0)


@mistake("bias", "layers", wrong="∂L/∂b = 0", right=_BIAS)
def bias_left_out(c: DenseLine) -> WrongArray:
    """The bias's gradient is never written: it is still the zeros it was made with."""
    assert c.bias is not None
    return np.zeros_like(c.bias)


# -- what goes on to the layer below ------------------------------------------------------------


@mistake("below", "layers", wrong="δx = δz W", right=_BELOW, when=_square)
def below_weight_not_transposed(c: DenseLine) -> WrongArray:
    """The weight is not transposed on the way back; only in a square layer does that fit."""
    return c.dz @ c.weight


@mistake(
    "below", "layers", wrong="δx = δz reshape(W)", right=_BELOW,
    when=lambda c: not c.square and min(c.weight.shape) > 1,
)  # fmt: skip
def below_weight_reshaped(c: DenseLine) -> WrongArray:
    """The weight was reshaped to fit where it should be transposed."""
    return c.dz @ c.weight.reshape(c.weight.shape[::-1])


@mistake("below", "layers", wrong="δx = δa Wᵀ", right=_BELOW, when=_inside)
def below_skips_activation(c: DenseLine) -> WrongArray:
    """What goes on to the layer below leaves out this layer's activation derivative."""
    assert c.da is not None
    return c.da @ c.weight.T


@mistake("below", "layers", wrong="δx = −δz Wᵀ", right=_BELOW)
def below_sign(c: DenseLine) -> WrongArray:
    """The cotangent changes sign on its way to the layer below."""
    return -(c.dz @ c.weight.T)


@mistake("below", "layers", wrong="δxₙᵢ = Σⱼ δzₙⱼ", right=_BELOW)
def below_without_weight(c: DenseLine) -> WrongArray:
    """The weight is missing on the way back: every input gets the plain sum over the units."""
    return c.dz.sum(axis=1, keepdims=True)


@mistake("below", "layers", wrong="δx = (δz Wᵀ) · x", right=_BELOW)
def below_times_input(c: DenseLine) -> WrongArray:
    """The derivative of x W by x is W alone: the input does not appear in its own cotangent."""
    return (c.dz @ c.weight.T) * c.x


@mistake("below", "layers", wrong="δx = δz Wᵀ / D_out", right=_BELOW, when=_wide)
def below_mean_over_units(c: DenseLine) -> WrongArray:
    """The units below add up what every unit above sends back; a mean was taken."""
    return c.right["x"] / c.weight.shape[1]


@mistake("below", "layers", wrong="δx = 0", right=_BELOW)
def below_left_out(c: DenseLine) -> WrongArray:
    """Nothing goes on to the layer below: its cotangent is left at zero."""
    return np.zeros_like(c.x)


@mistake("below", "layers", wrong="δx = δz₍:₋₁₎ Wᵀ₍:₋₁₎", right=_BELOW, when=_wide)
def below_last_unit_missing(c: DenseLine) -> WrongArray:
    """A loop over the units stops one too early: the last unit sends nothing back."""
    return c.dz[:, :-1] @ c.weight[:, :-1].T


@mistake("below", "layers", wrong="δx = δz₍last₎ Wᵀ₍last₎", right=_BELOW, when=_wide)
def below_overwritten(c: DenseLine) -> WrongArray:
    """`=` where `+=` accumulates: only the last unit's share of the cotangent is left."""
    return c.dz[:, -1:] @ c.weight[:, -1:].T


@mistake("below", "layers", wrong="δx = δz |W|ᵀ", right=_BELOW)
def below_absolute_weight(c: DenseLine) -> WrongArray:
    """The sign of the weights is lost on the way back."""
    return c.dz @ np.maximum(c.weight, -c.weight).T
