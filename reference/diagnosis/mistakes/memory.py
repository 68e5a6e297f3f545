"""Mistakes of memory and dtype: stale, overwritten, accumulated, rounded, clipped."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import (
    ActivationLine,
    DenseLine,
    LossLine,
    WrongArray,
    mistake,
)

_WEIGHT, _BIAS, _BELOW, _ACTIVATION, _LOSS = (
    "∂L/∂W = xᵀ δz", "∂L/∂b = Σₙ δzₙ", "δx = δz Wᵀ", "δz = δa · f′(z)", "δy = w ∂L/∂y / divisor",
)  # fmt: skip


def _double(c: DenseLine) -> bool:
    return c.dz.dtype == np.float64


@mistake("weight", "memory", wrong="∂L/∂W += xᵀ δz, twice", right=_WEIGHT)
def weight_accumulated_twice(c: DenseLine) -> WrongArray:
    """The weight's gradient is added up twice: it was not set to zero before, or runs twice."""
    return 2 * c.right["weight"]


@mistake("bias", "memory", wrong="∂L/∂b += Σₙ δzₙ, twice", right=_BIAS)
def bias_accumulated_twice(c: DenseLine) -> WrongArray:
    """The bias's gradient is added up twice: it was not set to zero before, or runs twice."""
    return 2 * c.right["bias"]


@mistake("below", "memory", wrong="δx += δz Wᵀ, twice", right=_BELOW)
def below_accumulated_twice(c: DenseLine) -> WrongArray:
    """The cotangent of the layer below is added up twice."""
    return 2 * c.right["x"]


@mistake("below", "memory", wrong="δx = δz (W − η ∂L/∂W)ᵀ", right=_BELOW)
def below_with_updated_weight(c: DenseLine) -> WrongArray:
    """The weight is updated before the cotangent passes through it: the old one is needed."""
    return c.dz @ (c.weight - 0.01 * c.right["weight"]).T


@mistake("weight", "memory", wrong="∂L/∂W = xᵀ δz + λ W", right=_WEIGHT)
def weight_decay_added(c: DenseLine) -> WrongArray:
    """Weight decay is in the gradient but not in the loss."""
    return c.right["weight"] + 0.01 * c.weight


@mistake("weight", "memory", wrong="∂L/∂W = x̃ᵀ δz with x̃ = x overwritten by max(x, 0)",
         right=_WEIGHT)  # fmt: skip
def weight_input_overwritten(c: DenseLine) -> WrongArray:
    """The layer's input was overwritten in place before the backward read it."""
    return np.maximum(c.x, 0).T @ c.dz


@mistake("activation", "memory", wrong="δz = δa · f′(a), z overwritten by a", right=_ACTIVATION)
def activation_overwrote_input(c: ActivationLine) -> WrongArray:
    """The derivative is taken at the activation: z was overwritten, or the wrong one stored."""
    return c.backward(c.a, c.forward(c.a), c.da)


@mistake("weight", "memory", wrong="∂L/∂W = clip(xᵀ δz, −0.1, 0.1)", right=_WEIGHT)
def weight_clipped(c: DenseLine) -> WrongArray:
    """The gradient is clipped: that belongs to the optimiser, after the check."""
    return np.clip(c.right["weight"], -0.1, 0.1)


@mistake("below", "memory", wrong="δx = clip(δz Wᵀ, −0.1, 0.1)", right=_BELOW)
def below_clipped(c: DenseLine) -> WrongArray:
    """The cotangent is clipped on its way to the layer below."""
    return np.clip(c.right["x"], -0.1, 0.1)


@mistake("weight", "dtype", wrong="∂L/∂W = float32(xᵀ δz)", right=_WEIGHT, when=_double)
def weight_in_single_precision(c: DenseLine) -> WrongArray:
    """The weight's gradient passes through float32: half of the digits are gone."""
    return c.right["weight"].astype(np.float32)


@mistake("bias", "dtype", wrong="∂L/∂b = float32(Σₙ δzₙ)", right=_BIAS, when=_double)
def bias_in_single_precision(c: DenseLine) -> WrongArray:
    """The bias's gradient passes through float32: half of the digits are gone."""
    return c.right["bias"].astype(np.float32)


@mistake("below", "dtype", wrong="δx = float32(δz Wᵀ)", right=_BELOW, when=_double)
def below_in_single_precision(c: DenseLine) -> WrongArray:
    """The cotangent of the layer below passes through float32: half of the digits are gone."""
    return c.right["x"].astype(np.float32)


@mistake("weight", "dtype", wrong="∂L/∂W = float16(xᵀ δz)", right=_WEIGHT)
def weight_in_half_precision(c: DenseLine) -> WrongArray:
    """The weight's gradient passes through float16."""
    return c.right["weight"].astype(np.float16)


@mistake("weight", "dtype", wrong="∂L/∂W = int(xᵀ δz)", right=_WEIGHT)
def weight_in_integers(c: DenseLine) -> WrongArray:
    """The weight's gradient is written into an integer array: everything after the point is cut."""
    return np.trunc(c.right["weight"])


@mistake("bias", "dtype", wrong="∂L/∂b = int(Σₙ δzₙ)", right=_BIAS)
def bias_in_integers(c: DenseLine) -> WrongArray:
    """The bias's gradient is written into an integer array: everything after the point is cut."""
    return np.trunc(c.right["bias"])


@mistake("activation", "dtype", wrong="δz = float32(δa · f′(z))", right=_ACTIVATION,
         when=lambda c: c.da.dtype == np.float64)  # fmt: skip
def activation_in_single_precision(c: ActivationLine) -> WrongArray:
    """The cotangent passes through float32 in the activation: half of the digits are gone."""
    return c.right.astype(np.float32)


@mistake("activation", "dtype", wrong="δz = δa · int(f′(z))", right=_ACTIVATION,
         when=lambda c: c.elementwise and len(np.unique(c.slope[c.slope != 0])) > 1
         and bool(np.trunc(c.slope).any()))  # fmt: skip
def activation_slope_in_integers(c: ActivationLine) -> WrongArray:
    """The slope is held in an integer array, as a mask: fractions of it are cut to 0."""
    return c.da * np.trunc(c.slope)


@mistake("loss", "dtype", wrong="δy = float32(∂L/∂y)", right=_LOSS,
         when=lambda c: c.y.dtype == np.float64)  # fmt: skip
def loss_in_single_precision(c: LossLine) -> WrongArray:
    """The loss's gradient passes through float32: half of the digits are gone."""
    return c.right.astype(np.float32)
