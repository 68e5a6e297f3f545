"""Mistakes of normalisations: dx = (g - mean(g) - x̂ mean(g x̂))/σ with g = γ dy; dγ = Σ dy x̂."""

from typing import Any

import numpy as np

from manual_backprop.layers import LAYERS
from manual_backprop.operation import FloatArray
from reference.diagnosis.layer_mistakes.catalogue import LayerLine, layer_mistake

NORMS = ("layer_norm", "batch_norm", "group_norm", "instance_norm")
SCALED = (*NORMS, "rms_norm")
WITH_GAMMA = (*SCALED, "batch_norm_evaluation")


class _Norm:
    """The rows whose statistics are taken together, as arrays (rows, numbers): g, x, x̂ and σ."""

    def __init__(self, line: LayerLine, eps: float | None = None) -> None:
        self.line, x = line, line["x"]
        eps = line.options["eps"] if eps is None else eps
        g = line.dy * _spread(line, line["weight"])
        self.g, self.dy, self.x = (self._rows(a) for a in (g, line.dy, x))
        centred = self.x - (0 if line.operation.name == "rms_norm" else _mean(self.x))
        self.deviation = np.sqrt(_mean(centred * centred) + eps)
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


def _mean(a: FloatArray) -> Any:
    return a.mean(axis=1, keepdims=True)


# -- the cotangent of x ---------------------------------------------------------------------------


@layer_mistake(SCALED, ("x",), "δx = g/σ")
def norm_statistics_as_constants(c: LayerLine) -> Any:
    """The mean and the deviation depend on x too: their part of the gradient is left out."""
    n = _Norm(c)
    return n.back(n.g / n.deviation)


@layer_mistake(NORMS, ("x",), "δx = (g − x̂ mean(g x̂))/σ")
def norm_mean_as_constant(c: LayerLine) -> Any:
    """The mean is taken for a constant: what it subtracts from every cotangent is left out."""
    n = _Norm(c)
    return n.back((n.g - n.normalised * _mean(n.g * n.normalised)) / n.deviation)


@layer_mistake(NORMS, ("x",), "δx = (g − mean(g))/σ")
def norm_deviation_as_constant(c: LayerLine) -> Any:
    """The deviation is taken for a constant: the part along x̂ is left out."""
    n = _Norm(c)
    return n.back((n.g - _mean(n.g)) / n.deviation)


@layer_mistake(SCALED, ("x",), "δx from δy in place of g = γ δy")
def norm_gamma_left_out(c: LayerLine) -> Any:
    """γ multiplies the normalised value: the cotangent that goes on has to be multiplied too."""
    return c.pulled(weight=np.ones_like(c["weight"]))["x"]


@layer_mistake(SCALED, ("x",), "δx = (g − …)/σ²")
def norm_divided_by_the_variance(c: LayerLine) -> Any:
    """Divided by the variance, where the deviation, its root, belongs."""
    n = _Norm(c)
    return c.own / n.back(np.broadcast_to(n.deviation, n.x.shape))


@layer_mistake(SCALED, ("x",), "δx with Σ in place of the means")
def norm_sums_for_means(c: LayerLine) -> Any:
    """The sums over the row are not divided by how many numbers it has."""
    n = _Norm(c)
    plain = n.g / n.deviation
    return n.back(plain + n.count * (_Norm._rows(n, c.own) - plain))


@layer_mistake(SCALED, ("x",), "δx = (g − … + x̂ mean(g x̂))/σ")
def norm_sign_of_the_deviation(c: LayerLine) -> Any:
    """The part that comes through the deviation has the wrong sign."""
    n = _Norm(c)
    return c.own + n.back(2 * n.normalised * _mean(n.g * n.normalised) / n.deviation)


@layer_mistake(SCALED, ("x",), "δx = (g − … − ½ x̂ mean(g x̂))/σ")
def norm_square_without_two(c: LayerLine) -> Any:
    """The derivative of the square in the variance is 2 x: the 2 is left out."""
    n = _Norm(c)
    return c.own + n.back(0.5 * n.normalised * _mean(n.g * n.normalised) / n.deviation)


@layer_mistake(SCALED, ("x",), "δx = (g − … − x mean(g x̂))/σ")
def norm_x_for_normalised(c: LayerLine) -> Any:
    """The input is used instead of its normalised value."""
    n = _Norm(c)
    return c.own + n.back((n.normalised - n.x) * _mean(n.g * n.normalised) / n.deviation)


@layer_mistake(NORMS, ("x",), "δx with M − 1 in the mean of g x̂", lambda c: _Norm(c).count > 2)
def norm_unbiased_in_backward(c: LayerLine) -> Any:
    """The variance divides by M, its gradient by M − 1: both are to be the same."""
    n = _Norm(c)
    more = n.normalised * _mean(n.g * n.normalised) / (n.count - 1)
    return c.own - n.back(more / n.deviation)


@layer_mistake(SCALED, ("x",), "δx with σ = √v")
def norm_epsilon_left_out(c: LayerLine) -> Any:
    """ε is added in the forward and forgotten in the backward."""
    return c.pulled(eps=0.0)["x"]


@layer_mistake(("rms_norm",), ("x",), "δx = (g − mean(g) − x̂ mean(g x̂))/ρ")
def rms_norm_centred(c: LayerLine) -> Any:
    """The formula is LayerNorm's: RMSNorm subtracts no mean, so its gradient does not either."""
    n = _Norm(c)
    return c.own - n.back(np.broadcast_to(_mean(n.g) / n.deviation, n.x.shape))


# -- γ and β --------------------------------------------------------------------------------------


@layer_mistake(SCALED, ("weight",), "∂L/∂γ = Σ δy x")
def gamma_from_input(c: LayerLine) -> Any:
    """γ multiplies the normalised value, not the input."""
    return _over(c, c.dy * c["x"])


@layer_mistake(NORMS, ("weight",), "∂L/∂γ = Σ δy (x − μ)")
def gamma_from_centred_input(c: LayerLine) -> Any:
    """The input is centred here but not divided by its deviation."""
    n = _Norm(c)
    return n.of_gamma(n.normalised * n.deviation)


@layer_mistake(SCALED, ("weight",), "∂L/∂γ = Σ δy")
def gamma_gets_betas_gradient(c: LayerLine) -> Any:
    """The sum is the gradient of β: that of γ has the normalised value in it."""
    return _over(c, c.dy)


@layer_mistake(WITH_GAMMA, ("weight",), "∂L/∂γ = Σ δy y")
def gamma_from_output(c: LayerLine) -> Any:
    """The output, which γ and β are in already, is used instead of the normalised value."""
    return _over(c, c.dy * c.y)


@layer_mistake(NORMS, ("weight",), "∂L/∂γ = Σ γ δy x̂")
def gamma_times_gamma(c: LayerLine) -> Any:
    """The derivative of γ x̂ by γ is x̂ alone."""
    return c.own * c["weight"]


@layer_mistake(WITH_GAMMA, ("weight", "bias"), "a mean over the rows in place of Σ")
def norm_parameter_mean(c: LayerLine) -> Any:
    """Every row uses the same γ and β, so their gradients add up; a mean was taken."""
    return c.own * (c[c.argument].size / c.dy.size)


@layer_mistake((*NORMS, "batch_norm_evaluation"), ("bias",), "∂L/∂β = Σ γ δy")
def beta_times_gamma(c: LayerLine) -> Any:
    """β is added after γ has multiplied: γ is not in its gradient."""
    return c.own * c["weight"]


@layer_mistake((*NORMS, "batch_norm_evaluation"), ("bias",), "∂L/∂β = Σ δy x̂")
def beta_gets_gammas_gradient(c: LayerLine) -> Any:
    """The sum is the gradient of γ: that of β is the sum of δy."""
    return c.right["weight"]


# -- batch normalisation in evaluation, weight normalisation --------------------------------------


@layer_mistake(("batch_norm_evaluation",), ("x",), "δx = (g − mean(g) − x̂ mean(g x̂))/σ")
def evaluation_differentiates_the_batch(c: LayerLine) -> Any:
    """In evaluation the statistics are given numbers: nothing goes back through them."""
    kept = {name: c[name] for name in ("x", "weight", "bias")}
    record = LAYERS["batch_norm"]
    y = record.apply("stable", kept, c.options)
    return record.pull_back("stable", kept, y, c.dy, c.options)["x"]


@layer_mistake(("batch_norm_evaluation",), ("x",), "δx = g/(v + ε)")
def evaluation_divided_by_the_variance(c: LayerLine) -> Any:
    """Divided by the variance, where its root belongs."""
    return c.own / np.sqrt(_spread(c, c["variance"]) + c.options["eps"])


@layer_mistake(("batch_norm_evaluation",), ("mean",), "∂L/∂μ = Σ g/σ")
def evaluation_mean_sign(c: LayerLine) -> Any:
    """The mean is subtracted, so its gradient has a minus."""
    return -c.own


@layer_mistake(("batch_norm_evaluation",), ("variance",), "∂L/∂v = −Σ g x̂/σ²")
def evaluation_root_without_half(c: LayerLine) -> Any:
    """The derivative of the root is 1/(2 √v): the 2 is left out."""
    return 2 * c.own


@layer_mistake(("weight_norm",), ("v",), "∂L/∂v = g δw/‖v‖")
def weight_norm_length_as_constant(c: LayerLine) -> Any:
    """The length depends on v too: the part along v is to be taken off."""
    return c["g"] * c.dy / np.linalg.norm(c["v"], axis=1, keepdims=True)


@layer_mistake(("weight_norm",), ("v",), "∂L/∂v = (δw − u Σ δw u)/‖v‖")
def weight_norm_without_g(c: LayerLine) -> Any:
    """G multiplies the direction: its factor is left out."""
    return c.pulled(g=np.ones_like(c["g"]))["v"]


@layer_mistake(("weight_norm",), ("v",), "∂L/∂v = g (δw − u Σ δw u)")
def weight_norm_not_divided(c: LayerLine) -> Any:
    """The direction is v divided by its length, and so is its gradient."""
    return c.own * np.linalg.norm(c["v"], axis=1, keepdims=True)


@layer_mistake(("weight_norm",), ("g",), "∂L/∂g = Σ δw v")
def weight_norm_g_from_v(c: LayerLine) -> Any:
    """G multiplies the direction v/‖v‖, not v itself."""
    return (c.dy * c["v"]).sum(axis=1, keepdims=True)
