"""Mistakes of memory and dtype: stale, overwritten, accumulated, rounded, clipped."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import ACTIVATION, BELOW, BIAS, LOSS, WEIGHT, DenseLine


def _double(c: DenseLine) -> bool:
    return c.dz.dtype == np.float64


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
weight, bias, below = (rule.of(family="memory") for rule in (WEIGHT, BIAS, BELOW))
weight_dtype, bias_dtype, below_dtype = (rule.of(family="dtype") for rule in (WEIGHT, BIAS, BELOW))
activation_dtype = ACTIVATION.of(family="dtype")

weight("weight_accumulated_twice", "∂L/∂W += xᵀ δz, twice",
    "The weight's gradient is added up twice: it was not set to zero before, or runs twice.",
    lambda c: 2 * c.right["weight"])
bias("bias_accumulated_twice", "∂L/∂b += Σₙ δzₙ, twice",
    "The bias's gradient is added up twice: it was not set to zero before, or runs twice.",
    lambda c: 2 * c.right["bias"])
below("below_accumulated_twice", "δx += δz Wᵀ, twice",
    "The cotangent of the layer below is added up twice.",
    lambda c: 2 * c.right["x"])
below("below_with_updated_weight", "δx = δz (W − η ∂L/∂W)ᵀ",
    "The weight is updated before the cotangent passes through it: the old one is needed.",
    lambda c: c.dz @ (c.weight - 0.01 * c.right["weight"]).T)
weight("weight_decay_added", "∂L/∂W = xᵀ δz + λ W",
    "Weight decay is in the gradient but not in the loss.",
    lambda c: c.right["weight"] + 0.01 * c.weight)
weight("weight_input_overwritten", "∂L/∂W = x̃ᵀ δz with x̃ = x overwritten by max(x, 0)",
    "The layer's input was overwritten in place before the backward read it.",
    lambda c: np.maximum(c.x, 0).T @ c.dz)
ACTIVATION.of(family="memory")("activation_overwrote_input", "δz = δa · f′(a), z overwritten by a",
    "The derivative is taken at the activation: z was overwritten, or the wrong one stored.",
    lambda c: c.backward(c.a, c.forward(c.a), c.da))
weight("weight_clipped", "∂L/∂W = clip(xᵀ δz, −0.1, 0.1)",
    "The gradient is clipped: that belongs to the optimiser, after the check.",
    lambda c: np.clip(c.right["weight"], -0.1, 0.1))
below("below_clipped", "δx = clip(δz Wᵀ, −0.1, 0.1)",
    "The cotangent is clipped on its way to the layer below.",
    lambda c: np.clip(c.right["x"], -0.1, 0.1))
weight_dtype("weight_in_single_precision", "∂L/∂W = float32(xᵀ δz)",
    "The weight's gradient passes through float32: half of the digits are gone.",
    lambda c: c.right["weight"].astype(np.float32), when=_double)
bias_dtype("bias_in_single_precision", "∂L/∂b = float32(Σₙ δzₙ)",
    "The bias's gradient passes through float32: half of the digits are gone.",
    lambda c: c.right["bias"].astype(np.float32), when=_double)
below_dtype("below_in_single_precision", "δx = float32(δz Wᵀ)",
    "The cotangent of the layer below passes through float32: half of the digits are gone.",
    lambda c: c.right["x"].astype(np.float32), when=_double)
weight_dtype("weight_in_half_precision", "∂L/∂W = float16(xᵀ δz)",
    "The weight's gradient passes through float16.",
    lambda c: c.right["weight"].astype(np.float16))
weight_dtype("weight_in_integers", "∂L/∂W = int(xᵀ δz)",
    "The weight's gradient is written into an integer array: everything after the point is cut.",
    lambda c: np.trunc(c.right["weight"]))
bias_dtype("bias_in_integers", "∂L/∂b = int(Σₙ δzₙ)",
    "The bias's gradient is written into an integer array: everything after the point is cut.",
    lambda c: np.trunc(c.right["bias"]))
activation_dtype("activation_in_single_precision", "δz = float32(δa · f′(z))",
    "The cotangent passes through float32 in the activation: half of the digits are gone.",
    lambda c: c.right.astype(np.float32),
    when=lambda c: c.da.dtype == np.float64)
activation_dtype("activation_slope_in_integers", "δz = δa · int(f′(z))",
    "The slope is held in an integer array, as a mask: fractions of it are cut to 0.",
    lambda c: c.da * np.trunc(c.slope),
    when=lambda c: c.elementwise and len(np.unique(c.slope[c.slope != 0])) > 1
    and bool(np.trunc(c.slope).any()))
LOSS.of(family="dtype")("loss_in_single_precision", "δy = float32(∂L/∂y)",
    "The loss's gradient passes through float32: half of the digits are gone.",
    lambda c: c.right.astype(np.float32),
    when=lambda c: c.y.dtype == np.float64)
