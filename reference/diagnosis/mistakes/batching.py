"""Mistakes about the batch: means taken twice or not at all, samples lost, rows mixed up."""

import numpy as np

from reference.diagnosis.mistakes.catalogue import DenseLine, LossLine, WrongArray, mistake

_WEIGHT, _BIAS, _BELOW = "∂L/∂W = xᵀ δz", "∂L/∂b = Σₙ δzₙ", "δx = δz Wᵀ"
_LOSS = "δy = w ∂L/∂y / divisor"


def _several(c: DenseLine | LossLine) -> bool:
    return c.batch > 1


@mistake("weight", "batching", wrong="∂L/∂W = xᵀ δz / N", right=_WEIGHT, when=_several)
def weight_mean_taken_again(c: DenseLine) -> WrongArray:
    """The mean over the batch is taken again in the weight: δz already holds the loss's 1/N."""
    return c.right["weight"] / c.batch


@mistake("weight", "batching", wrong="∂L/∂W = N xᵀ δz", right=_WEIGHT, when=_several)
def weight_mean_undone(c: DenseLine) -> WrongArray:
    """The weight's gradient is multiplied by the batch size: the mean is lost there."""
    return c.right["weight"] * c.batch


@mistake("weight", "batching", wrong="∂L/∂W = xₙ δzₙ, n last", right=_WEIGHT, when=_several)
def weight_last_sample_only(c: DenseLine) -> WrongArray:
    """`=` where `+=` accumulates: only the last sample's share of the weight's gradient is left."""
    return c.x[-1:].T @ c.dz[-1:]


@mistake("weight", "batching", wrong="∂L/∂W = x₁ δz₁", right=_WEIGHT, when=_several)
def weight_first_sample_only(c: DenseLine) -> WrongArray:
    """Only the first sample reaches the weight's gradient."""
    return c.x[:1].T @ c.dz[:1]


@mistake("weight", "batching", wrong="∂L/∂W = mean(x)ᵀ Σₙ δzₙ", right=_WEIGHT, when=_several)
def weight_mean_input(c: DenseLine) -> WrongArray:
    """The batch is averaged before the product; a product of means is not the mean of products."""
    return np.outer(c.x.mean(axis=0), c.dz.sum(axis=0))


@mistake("weight", "batching", wrong="∂L/∂W = (Σₙ xₙ)ᵀ Σₙ δzₙ", right=_WEIGHT, when=_several)
def weight_sums_multiplied(c: DenseLine) -> WrongArray:
    """The batch is summed before the product; a product of sums is not the sum of products."""
    return np.outer(c.x.sum(axis=0), c.dz.sum(axis=0))


@mistake("weight", "batching", wrong="∂L/∂W = Σₙ xₙ₋₁ᵀ δzₙ", right=_WEIGHT, when=_several)
def weight_input_of_previous_sample(c: DenseLine) -> WrongArray:
    """The stored inputs are off by one sample against the cotangents."""
    return np.roll(c.x, 1, axis=0).T @ c.dz


@mistake("weight", "batching", wrong="∂L/∂W = Σₙ x₍N₋ₙ₎ᵀ δzₙ", right=_WEIGHT, when=_several)
def weight_input_reversed(c: DenseLine) -> WrongArray:
    """The stored inputs are walked in the other order than the cotangents."""
    return c.x[::-1].T @ c.dz


@mistake("bias", "batching", wrong="∂L/∂b = (1/N) Σₙ δzₙ", right=_BIAS, when=_several)
def bias_mean_over_batch(c: DenseLine) -> WrongArray:
    """The bias averages over the batch where it should sum: δz already holds the loss's 1/N."""
    return c.dz.mean(axis=0)


@mistake("bias", "batching", wrong="∂L/∂b = N Σₙ δzₙ", right=_BIAS, when=_several)
def bias_mean_undone(c: DenseLine) -> WrongArray:
    """The bias's gradient is multiplied by the batch size: the mean is lost there."""
    return c.dz.sum(axis=0) * c.batch


@mistake("bias", "batching", wrong="∂L/∂b = δzₙ, n last", right=_BIAS, when=_several)
def bias_last_sample_only(c: DenseLine) -> WrongArray:
    """`=` where `+=` accumulates: only the last sample's share of the bias's gradient is left."""
    return c.dz[-1]


@mistake("bias", "batching", wrong="∂L/∂b = δz₁", right=_BIAS, when=_several)
def bias_first_sample_only(c: DenseLine) -> WrongArray:
    """Only the first sample reaches the bias's gradient: the sum over the batch is missing."""
    return c.dz[0]


@mistake("below", "batching", wrong="δx = δz Wᵀ / N", right=_BELOW, when=_several)
def below_mean_taken_again(c: DenseLine) -> WrongArray:
    """The mean over the batch is taken again on the way to the layer below."""
    return c.right["x"] / c.batch


@mistake("below", "batching", wrong="δx = (Σₙ δzₙ) Wᵀ", right=_BELOW, when=_several)
def below_summed_over_batch(c: DenseLine) -> WrongArray:
    """Samples do not mix on the way back: only parameters sum over the batch."""
    return c.dz.sum(axis=0, keepdims=True) @ c.weight.T


@mistake("below", "batching", wrong="δx = mean(δz) Wᵀ", right=_BELOW, when=_several)
def below_averaged_over_batch(c: DenseLine) -> WrongArray:
    """The batch is averaged before it goes on to the layer below; every sample has its own."""
    return c.dz.mean(axis=0, keepdims=True) @ c.weight.T


# -- the reduction of the loss ------------------------------------------------------------------


@mistake("loss", "batching", wrong="δy = w ∂L/∂y", right=_LOSS, when=lambda c: c.divisor != 1)
def mean_left_out(c: LossLine) -> WrongArray:
    """The loss is a mean, the gradient a sum: the division is left out."""
    return c.right * c.divisor


@mistake("loss", "batching", wrong="δy = w ∂L/∂y / divisor²", right=_LOSS,
         when=lambda c: c.divisor != 1)  # fmt: skip
def mean_taken_twice(c: LossLine) -> WrongArray:
    """The mean is taken twice: the division is there already."""
    return c.right / c.divisor


@mistake(
    "loss", "batching", wrong="δy = w ∂L/∂y / N", right="δy = w ∂L/∂y / (N C)",
    when=lambda c: c.reduction == "mean" and c.divisor == c.batch * c.classes and c.classes > 1,
)  # fmt: skip
def mean_over_batch_only(c: LossLine) -> WrongArray:
    """The loss is a mean over samples and outputs, the gradient divides by the samples only."""
    return c.right * c.classes


@mistake(
    "loss", "batching", wrong="δy = w ∂L/∂y / C", right="δy = w ∂L/∂y / (N C)",
    when=lambda c: c.reduction == "mean" and c.divisor == c.batch * c.classes and c.batch > 1,
)  # fmt: skip
def mean_over_outputs_only(c: LossLine) -> WrongArray:
    """The loss is a mean over samples and outputs, the gradient divides by the outputs only."""
    return c.right * c.batch


@mistake(
    "loss", "batching", wrong="δy = w ∂L/∂y / (N C)", right="δy = w ∂L/∂y / N",
    when=lambda c: c.divisor == c.batch and c.classes > 1,
)  # fmt: skip
def mean_over_outputs_too(c: LossLine) -> WrongArray:
    """The loss is a mean over the samples, the gradient divides by the outputs too."""
    return c.right / c.classes


@mistake("loss", "batching", wrong="δy = w ∂L/∂y / N", right="δy = w ∂L/∂y",
         when=lambda c: c.reduction in ("sum", "none") and c.batch > 1)  # fmt: skip
def mean_where_sum(c: LossLine) -> WrongArray:
    """The loss is a sum over the samples, the gradient a mean."""
    return c.right / c.batch


@mistake("loss", "batching", wrong="δy = w ∂L/∂y / (N C)", right="δy = w ∂L/∂y",
         when=lambda c: c.reduction in ("sum", "none") and c.classes > 1)  # fmt: skip
def mean_of_everything_where_sum(c: LossLine) -> WrongArray:
    """The loss is a sum, the gradient a mean over samples and outputs."""
    return c.right / (c.batch * c.classes)


@mistake(
    "loss", "batching", wrong="δy = w ∂L/∂y / N", right="δy = w ∂L/∂y / Σ class weights",
    when=lambda c: c.reduction == "mean" and c.labels
    and c.divisor not in (1, c.batch, c.batch * c.classes),
)  # fmt: skip
def mean_counts_ignored(c: LossLine) -> WrongArray:
    """The gradient divides by all samples; the loss by the class weights of those that count."""
    return c.right * (c.divisor / c.batch)


@mistake("loss", "batching", wrong="δy = ∂L/∂y / divisor", right=_LOSS,
         when=lambda c: c.weights is not None and c.divisor != 0)  # fmt: skip
def sample_weights_left_out(c: LossLine) -> WrongArray:
    """The sample weights multiply the loss but are left out of the gradient."""
    return c.gradient(np.full_like(c.dL, 1 / c.divisor))


@mistake("loss", "batching", wrong="δy = w² ∂L/∂y / divisor", right=_LOSS,
         when=lambda c: c.weights is not None)  # fmt: skip
def sample_weights_twice(c: LossLine) -> WrongArray:
    """The sample weights are applied twice."""
    assert c.weights is not None
    return c.right * c.weights[:, None]


@mistake("loss", "batching", wrong="δy = w ∂L/∂y / Σ w", right=_LOSS,
         when=lambda c: c.weights is not None and c.divisor != 1)  # fmt: skip
def mean_divides_by_weights(c: LossLine) -> WrongArray:
    """The loss divides by a count, the gradient by the sum of the sample weights."""
    assert c.weights is not None
    return c.right * (c.divisor / c.weights.sum())


@mistake("loss", "batching", wrong="δyₙ = 0 but for the last n", right=_LOSS, when=_several)
def only_last_sample_counts(c: LossLine) -> WrongArray:
    """The loss of every sample counts; only the last one sends a cotangent back."""
    return np.concatenate([np.zeros_like(c.right[:-1]), c.right[-1:]])


@mistake("loss", "batching", wrong="δyₙ = w ∂L(yₙ, tₙ₋₁)/∂y / divisor", right=_LOSS, when=_several)
def targets_of_previous_sample(c: LossLine) -> WrongArray:
    """The targets are off by one sample: x was shuffled and t was not, or the reverse."""
    return c.gradient(targets=np.roll(c.targets, 1, axis=0))
