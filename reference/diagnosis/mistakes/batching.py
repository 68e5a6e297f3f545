"""Mistakes about the batch: means taken twice or not at all, samples lost, rows mixed up."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import (
    BELOW,
    BIAS,
    LOSS,
    WEIGHT,
    DenseLine,
    LossLine,
    WrongArray,
)


def _several(c: DenseLine | LossLine) -> bool:
    return c.batch > 1


# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
weight = WEIGHT.of(family="batching", when=_several)
bias = BIAS.of(family="batching", when=_several)
below = BELOW.of(family="batching", when=_several)

weight("weight_mean_taken_again", "∂L/∂W = xᵀ δz / N",
    "The weight averages over the batch where it should sum; of a mean loss, δz has the 1/N.",
    lambda c: c.right["weight"] / c.batch)
weight("weight_mean_undone", "∂L/∂W = N xᵀ δz",
    "The weight's gradient is multiplied by the batch size: the mean is lost there.",
    lambda c: c.right["weight"] * c.batch)
weight("weight_last_sample_only", "∂L/∂W = xₙ δzₙ, n last",
    "`=` where `+=` accumulates: only the last sample's share of the weight's gradient is left.",
    lambda c: c.x[-1:].T @ c.dz[-1:])
weight("weight_first_sample_only", "∂L/∂W = x₁ δz₁",
    "Only the first sample reaches the weight's gradient.",
    lambda c: c.x[:1].T @ c.dz[:1])
weight("weight_mean_input", "∂L/∂W = mean(x)ᵀ Σₙ δzₙ",
    "The batch is averaged before the product; a product of means is not the mean of products.",
    lambda c: np.outer(c.x.mean(axis=0), c.dz.sum(axis=0)))
weight("weight_sums_multiplied", "∂L/∂W = (Σₙ xₙ)ᵀ Σₙ δzₙ",
    "The batch is summed before the product; a product of sums is not the sum of products.",
    lambda c: np.outer(c.x.sum(axis=0), c.dz.sum(axis=0)))
weight("weight_input_of_previous_sample", "∂L/∂W = Σₙ xₙ₋₁ᵀ δzₙ",
    "The stored inputs are off by one sample against the cotangents.",
    lambda c: np.roll(c.x, 1, axis=0).T @ c.dz)
weight("weight_input_reversed", "∂L/∂W = Σₙ x₍N₋ₙ₎ᵀ δzₙ",
    "The stored inputs are walked in the other order than the cotangents.",
    lambda c: c.x[::-1].T @ c.dz)
bias("bias_mean_over_batch", "∂L/∂b = (1/N) Σₙ δzₙ",
    "The bias averages over the batch where it should sum; of a mean loss, δz has the 1/N.",
    lambda c: c.dz.mean(axis=0))
bias("bias_mean_undone", "∂L/∂b = N Σₙ δzₙ",
    "The bias's gradient is multiplied by the batch size: the mean is lost there.",
    lambda c: c.dz.sum(axis=0) * c.batch)
bias("bias_last_sample_only", "∂L/∂b = δzₙ, n last",
    "`=` where `+=` accumulates: only the last sample's share of the bias's gradient is left.",
    lambda c: c.dz[-1])
bias("bias_first_sample_only", "∂L/∂b = δz₁",
    "Only the first sample reaches the bias's gradient: the sum over the batch is missing.",
    lambda c: c.dz[0])
below("below_mean_taken_again", "δx = δz Wᵀ / N",
    "The mean over the batch is taken again on the way to the layer below.",
    lambda c: c.right["x"] / c.batch)
below("below_summed_over_batch", "δx = (Σₙ δzₙ) Wᵀ",
    "Samples do not mix on the way back: only parameters sum over the batch.",
    lambda c: c.dz.sum(axis=0, keepdims=True) @ c.weight.T)
below("below_averaged_over_batch", "δx = mean(δz) Wᵀ",
    "The batch is averaged before it goes on to the layer below; every sample has its own.",
    lambda c: c.dz.mean(axis=0, keepdims=True) @ c.weight.T)

# -- the reduction of the loss ------------------------------------------------------------------


loss = LOSS.of(family="batching")
loss("mean_left_out", "δy = w ∂L/∂y",
    "The loss is a mean, the gradient a sum: the division is left out.",
    lambda c: c.right * c.divisor,
    when=lambda c: c.divisor != 1)
loss("mean_taken_twice", "δy = w ∂L/∂y / divisor²",
    "The mean is taken twice: the division is there already.",
    lambda c: c.right / c.divisor,
    when=lambda c: c.divisor != 1)

of_mean = loss.of(right="δy = w ∂L/∂y / (N C)")
of_mean("mean_over_batch_only", "δy = w ∂L/∂y / N",
    "The loss is a mean over samples and outputs, the gradient divides by the samples only.",
    lambda c: c.right * c.classes,
    when=lambda c: c.reduction == "mean" and c.divisor == c.batch * c.classes and c.classes > 1)
of_mean("mean_over_outputs_only", "δy = w ∂L/∂y / C",
    "The loss is a mean over samples and outputs, the gradient divides by the outputs only.",
    lambda c: c.right * c.batch,
    when=lambda c: c.reduction == "mean" and c.divisor == c.batch * c.classes and c.batch > 1)
loss.of(right="δy = w ∂L/∂y / N")("mean_over_outputs_too", "δy = w ∂L/∂y / (N C)",
    "The loss is a mean over the samples, the gradient divides by the outputs too.",
    lambda c: c.right / c.classes,
    when=lambda c: c.divisor == c.batch and c.classes > 1)

of_sum = loss.of(right="δy = w ∂L/∂y")
of_sum("mean_where_sum", "δy = w ∂L/∂y / N",
    "The loss is a sum over the samples, the gradient a mean.",
    lambda c: c.right / c.batch,
    when=lambda c: c.reduction in ("sum", "none") and c.batch > 1)
of_sum("mean_of_everything_where_sum", "δy = w ∂L/∂y / (N C)",
    "The loss is a sum, the gradient a mean over samples and outputs.",
    lambda c: c.right / (c.batch * c.classes),
    when=lambda c: c.reduction in ("sum", "none") and c.classes > 1)
loss.of(right="δy = w ∂L/∂y / Σ class weights")("mean_counts_ignored", "δy = w ∂L/∂y / N",
    "The gradient divides by all samples; the loss by the class weights of those that count.",
    lambda c: c.right * (c.divisor / c.batch),
    when=lambda c: c.reduction == "mean" and c.labels
    and c.divisor not in (1, c.batch, c.batch * c.classes))
loss("sample_weights_left_out", "δy = ∂L/∂y / divisor",
    "The sample weights multiply the loss but are left out of the gradient.",
    lambda c: c.gradient(np.full_like(c.dL, 1 / c.divisor)),
    when=lambda c: c.weights is not None and c.divisor != 0)


def _sample_weights_twice(c: LossLine) -> WrongArray:
    assert c.weights is not None
    return c.right * c.weights[:, None]


loss("sample_weights_twice", "δy = w² ∂L/∂y / divisor",
    "The sample weights are applied twice.",
    _sample_weights_twice,
    when=lambda c: c.weights is not None)


def _mean_divides_by_weights(c: LossLine) -> WrongArray:
    assert c.weights is not None
    return c.right * (c.divisor / c.weights.sum())


loss("mean_divides_by_weights", "δy = w ∂L/∂y / Σ w",
    "The loss divides by a count, the gradient by the sum of the sample weights.",
    _mean_divides_by_weights,
    when=lambda c: c.weights is not None and c.divisor != 1)
loss("only_last_sample_counts", "δyₙ = 0 but for the last n",
    "The loss of every sample counts; only the last one sends a cotangent back.",
    lambda c: np.concatenate([np.zeros_like(c.right[:-1]), c.right[-1:]]), when=_several)
loss("targets_of_previous_sample", "δyₙ = w ∂L(yₙ, tₙ₋₁)/∂y / divisor",
    "The targets are off by one sample: x was shuffled and t was not, or the reverse.",
    lambda c: c.gradient(targets=np.roll(c.targets, 1, axis=0)), when=_several)
