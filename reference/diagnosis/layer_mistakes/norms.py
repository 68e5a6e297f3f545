"""Mistakes of normalisations: dx = (g - mean(g) - x̂ mean(g x̂))/σ with g = γ dy; dγ = Σ dy x̂."""

import numpy as np

from manual_backprop.layers import LAYERS
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, LayerRule

NORMS = ("layer_norm", "batch_norm", "group_norm", "instance_norm")
SCALED = (*NORMS, "rms_norm")
WITH_GAMMA = (*SCALED, "batch_norm_evaluation")


class _Norm:
    """The rows whose statistics are taken together, as arrays (rows, numbers): g, x, x̂ and σ."""

    def __init__(self, line: LayerLine) -> None:
        self.line, x = line, line["x"]
        self.g, self.x = self._rows(line.dy * _spread(line, line["weight"])), self._rows(x)
        centred = self.x - (0 if line.operation.name == "rms_norm" else _mean(self.x))
        self.deviation = np.sqrt(_mean(centred * centred) + line.options["eps"])
        self.normalised = centred / self.deviation
        self.count = self.x.shape[1]

    def _rows(self, a: FloatArray) -> FloatArray:
        match self.line.operation.name:
            case "layer_norm" | "rms_norm":
                return a.reshape(-1, a.shape[-1])
            case "batch_norm":
                return np.swapaxes(a, 0, 1).reshape(a.shape[1], -1)
            case "group_norm":
                return a.reshape(len(a) * self.line.options["groups"], -1)
            case _:
                return a.reshape(len(a) * a.shape[1], -1)

    @property
    def along(self) -> FloatArray:
        """The part of the cotangent along x̂ that comes through the deviation."""
        return np.asarray(self.normalised * _mean(self.g * self.normalised) / self.deviation)

    def back(self, rows: FloatArray) -> FloatArray:
        """Return rows in the shape of x."""
        x = self.line["x"]
        if self.line.operation.name == "batch_norm":
            return np.swapaxes(rows.reshape(x.shape[1], len(x), *x.shape[2:]), 0, 1)
        return rows.reshape(x.shape)

    def of_gamma(self, of_x: FloatArray) -> FloatArray:
        """Return Σ dy · something over the rows of γ; `of_x` is in rows."""
        return _over(self.line, self.line.dy * self.back(of_x))


def _last(line: LayerLine) -> bool:
    return line.operation.name in ("layer_norm", "rms_norm")


def _spread(line: LayerLine, parameter: FloatArray) -> FloatArray:
    """Return γ or its like in a shape that meets x."""
    return parameter if _last(line) else parameter.reshape(-1, *[1] * (line["x"].ndim - 2))


def _over(line: LayerLine, of_x: FloatArray) -> FloatArray:
    """Return what has the shape of x, summed to the shape of γ."""
    feature = of_x.ndim - 1 if _last(line) else 1
    return np.asarray(of_x.sum(axis=tuple(k for k in range(of_x.ndim) if k != feature)))


def _mean(a: FloatArray) -> FloatArray:
    return np.asarray(a.mean(axis=1, keepdims=True))


# -- the cotangent of x ---------------------------------------------------------------------------

# A mistake is: its name and the wrong formula; the sentence that explains it; the code.
# fmt: off
scaled_x = LayerRule(SCALED, ("x",))
scaled_x("norm_statistics_as_constants", "δx = g/σ",
    "The mean and the deviation depend on x too: their part of the gradient is left out.",
    lambda c: (n := _Norm(c)).back(n.g / n.deviation))

norms_x = LayerRule(NORMS, ("x",))
norms_x("norm_mean_as_constant", "δx = (g − x̂ mean(g x̂))/σ",
    "The mean is taken for a constant: what it subtracts from every cotangent is left out.",
    lambda c: (n := _Norm(c)).back((n.g - n.normalised * _mean(n.g * n.normalised)) / n.deviation))
norms_x("norm_deviation_as_constant", "δx = (g − mean(g))/σ",
    "The deviation is taken for a constant: the part along x̂ is left out.",
    lambda c: (n := _Norm(c)).back((n.g - _mean(n.g)) / n.deviation))
scaled_x("norm_gamma_left_out", "δx from δy in place of g = γ δy",
    "γ multiplies the normalised value: the cotangent that goes on has to be multiplied too.",
    lambda c: c.pulled(weight=np.ones_like(c["weight"]))["x"])
scaled_x("norm_divided_by_the_variance", "δx = (g − …)/σ²",
    "Divided by the variance, where the deviation, its root, belongs.",
    lambda c: c.own / (n := _Norm(c)).back(np.broadcast_to(n.deviation, n.x.shape)))


def _norm_sums_for_means(c: LayerLine) -> FloatArray:
    n = _Norm(c)
    plain = n.g / n.deviation
    return n.back(plain + n.count * (_Norm._rows(n, c.own) - plain))


scaled_x("norm_sums_for_means", "δx with Σ in place of the means",
    "The sums over the row are not divided by how many numbers it has.",
    _norm_sums_for_means)
scaled_x("norm_sign_of_the_deviation", "δx = (g − … + x̂ mean(g x̂))/σ",
    "The part that comes through the deviation has the wrong sign.",
    lambda c: c.own + (n := _Norm(c)).back(2 * n.along))
scaled_x("norm_square_without_two", "δx = (g − … − ½ x̂ mean(g x̂))/σ",
    "The derivative of the square in the variance is 2 x: the 2 is left out.",
    lambda c: c.own + (n := _Norm(c)).back(0.5 * n.along))
scaled_x("norm_x_for_normalised", "δx = (g − … − x mean(g x̂))/σ",
    "The input is used instead of its normalised value.",
    lambda c: c.own + (n := _Norm(c)).back(
        (n.normalised - n.x) * _mean(n.g * n.normalised) / n.deviation))
norms_x("norm_unbiased_in_backward", "δx with M − 1 in the mean of g x̂",
    "The variance divides by M, its gradient by M − 1: both are to be the same.",
    lambda c: c.own - (n := _Norm(c)).back(n.along / (n.count - 1)),
    when=lambda c: _Norm(c).count > 2)
scaled_x("norm_epsilon_left_out", "δx with σ = √v",
    "ε is added in the forward and forgotten in the backward.",
    lambda c: c.pulled(eps=0.0)["x"])
LayerRule(("rms_norm",), ("x",))("rms_norm_centred", "δx = (g − mean(g) − x̂ mean(g x̂))/ρ",
    "The formula is LayerNorm's: RMSNorm subtracts no mean, so its gradient does not either.",
    lambda c: c.own - (n := _Norm(c)).back(np.broadcast_to(_mean(n.g) / n.deviation, n.x.shape)))

# -- γ and β --------------------------------------------------------------------------------------

scaled_weight = LayerRule(SCALED, ("weight",))
scaled_weight("gamma_from_input", "∂L/∂γ = Σ δy x",
    "γ multiplies the normalised value, not the input.",
    lambda c: _over(c, c.dy * c["x"]))

norms_weight = LayerRule(NORMS, ("weight",))
norms_weight("gamma_from_centred_input", "∂L/∂γ = Σ δy (x − μ)",
    "The input is centred here but not divided by its deviation.",
    lambda c: (n := _Norm(c)).of_gamma(n.normalised * n.deviation))
scaled_weight("gamma_gets_betas_gradient", "∂L/∂γ = Σ δy",
    "The sum is the gradient of β: that of γ has the normalised value in it.",
    lambda c: _over(c, c.dy))
LayerRule(WITH_GAMMA, ("weight",))("gamma_from_output", "∂L/∂γ = Σ δy y",
    "The output, which γ and β are in already, is used instead of the normalised value.",
    lambda c: _over(c, c.dy * c.y))
norms_weight("gamma_times_gamma", "∂L/∂γ = Σ γ δy x̂",
    "The derivative of γ x̂ by γ is x̂ alone.",
    lambda c: c.own * c["weight"])
LayerRule(WITH_GAMMA, ("weight", "bias"))(
    "norm_parameter_mean", "a mean over the rows in place of Σ",
    "Every row uses the same γ and β, so their gradients add up; a mean was taken.",
    lambda c: c.own * (c[c.argument].size / c.dy.size))

norms_bias = LayerRule((*NORMS, "batch_norm_evaluation"), ("bias",))
norms_bias("beta_times_gamma", "∂L/∂β = Σ γ δy",
    "β is added after γ has multiplied: γ is not in its gradient.",
    lambda c: c.own * c["weight"])
norms_bias("beta_gets_gammas_gradient", "∂L/∂β = Σ δy x̂",
    "The sum is the gradient of γ: that of β is the sum of δy.",
    lambda c: c.right["weight"])

# -- batch normalisation in evaluation, weight normalisation --------------------------------------


def _evaluation_differentiates_the_batch(c: LayerLine) -> FloatArray:
    kept = {name: c[name] for name in ("x", "weight", "bias")}
    record = LAYERS["batch_norm"]
    y = record.apply("stable", kept, c.options)
    return np.asarray(record.pull_back("stable", kept, y, c.dy, c.options)["x"])


evaluation_x = LayerRule(("batch_norm_evaluation",), ("x",))
evaluation_x("evaluation_differentiates_the_batch", "δx = (g − mean(g) − x̂ mean(g x̂))/σ",
    "In evaluation the statistics are given numbers: nothing goes back through them.",
    _evaluation_differentiates_the_batch)
evaluation_x("evaluation_divided_by_the_variance", "δx = g/(v + ε)",
    "Divided by the variance, where its root belongs.",
    lambda c: c.own / np.sqrt(_spread(c, c["variance"]) + c.options["eps"]))
LayerRule(("batch_norm_evaluation",), ("mean",))("evaluation_mean_sign", "∂L/∂μ = Σ g/σ",
    "The mean is subtracted, so its gradient has a minus.",
    lambda c: -c.own)
LayerRule(("batch_norm_evaluation",), ("variance",))(
    "evaluation_root_without_half", "∂L/∂v = −Σ g x̂/σ²",
    "The derivative of the root is 1/(2 √v): the 2 is left out.",
    lambda c: 2 * c.own)

weight_norm_v = LayerRule(("weight_norm",), ("v",))
weight_norm_v("weight_norm_length_as_constant", "∂L/∂v = g δw/‖v‖",
    "The length depends on v too: the part along v is to be taken off.",
    lambda c: c["g"] * c.dy / np.linalg.norm(c["v"], axis=1, keepdims=True))
weight_norm_v("weight_norm_without_g", "∂L/∂v = (δw − u Σ δw u)/‖v‖",
    "G multiplies the direction: its factor is left out.",
    lambda c: c.pulled(g=np.ones_like(c["g"]))["v"])
weight_norm_v("weight_norm_not_divided", "∂L/∂v = g (δw − u Σ δw u)",
    "The direction is v divided by its length, and so is its gradient.",
    lambda c: c.own * np.linalg.norm(c["v"], axis=1, keepdims=True))
LayerRule(("weight_norm",), ("g",))("weight_norm_g_from_v", "∂L/∂g = Σ δw v",
    "G multiplies the direction v/‖v‖, not v itself.",
    lambda c: (c.dy * c["v"]).sum(axis=1, keepdims=True))
