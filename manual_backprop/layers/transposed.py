"""The transposed convolution. Shapes: x (N, C, H, W), weight (C, C'/groups, K_h, K_w)."""

import numpy as np

from manual_backprop.arithmetic import Function, RandomSource, Tensor
from manual_backprop.layers.convolution import Conv2d, Pair
from manual_backprop.layers.linear import bilinear
from manual_backprop.operation import ByName, FloatArray, Rows, Sample, layer


@layer(
    structure="contraction",
    takes="image",
    trainable=("weight", "bias"),
    torch="torch.nn.functional.conv_transpose2d",
    jax="jax.lax.conv_general_dilated",
)
class ConvTranspose2d:
    """y_no(sh+du-p)(sw+dv-p) += Σ_c x_nchw w_couv, and then + b_o.

    Each x writes its kernel into y where a convolution of y would have read for it, so the layer
    is the transpose of Conv2d with the same weight: ⟨conv(z), x⟩ = ⟨z, y⟩ for every z. Its own
    slopes are therefore those of Conv2d with x and y exchanged,

        ∂L/∂x_nchw = Σ_o Σ_u Σ_v dy_no(sh+du-p)(sw+dv-p) w_couv     a convolution of dy
        ∂L/∂w_couv = Σ_n Σ_h Σ_w dy_no(sh+du-p)(sw+dv-p) x_nchw
        ∂L/∂b_o = Σ_n Σ_h Σ_w dy_nohw

    y has s(H - 1) + d(K - 1) + 1 - 2p rows, and `output_padding` more that only the kernel's
    last rows or none reach. Dumoulin and Visin, 2016.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        output_padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> FloatArray:
        """Return y, shape (N, C', H', W') with H' = s(H - 1) + d(K_h - 1) + 1 - 2p + extra."""
        size = _size(x, weight, stride, padding, output_padding, dilation)
        image = np.zeros((len(x), weight.shape[1] * groups, *size), x.dtype)
        # The cotangent of a convolution's image is the transposed convolution of its dy.
        pulled = Conv2d.backward(
            image, x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
        y: FloatArray = pulled["x"]
        return y if bias is None else y + bias[:, None, None]

    @staticmethod
    def backward(
        x: FloatArray,
        dy: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        output_padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the weight and, where there is one, the bias."""
        options: ByName = {
            "stride": stride, "padding": padding, "dilation": dilation, "groups": groups
        }  # fmt: skip
        h, w = x.shape[2:]
        found = {
            "x": Conv2d.forward(dy, weight, **options)[:, :, :h, :w],
            "weight": Conv2d.backward(dy, x, weight, **options)["weight"],
        }
        return found if bias is None else {**found, "bias": dy.sum(axis=(0, 2, 3))}

    tangent, second = bilinear(forward, backward)

    definition = Conv2d.definition

    @staticmethod
    def rows(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: Pair,
        padding: Pair,
        output_padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Rows:
        """Return a row for each number of y: the numbers of x that write there, their weights."""
        n, channels, height, width = x.shape
        each_in, each_out = channels // groups, weight.shape[1]
        k_h, k_w = weight.shape[2:]
        h_out, w_out = _size(x, weight, stride, padding, output_padding, dilation)
        shape = (n, each_out * groups, h_out, w_out, each_in, k_h, k_w)
        i_n, o, h, w, c, u, v = np.indices(shape).reshape(7, -1, each_in * k_h * k_w)
        group, output = np.divmod(o, each_out)
        channel = group * each_in + c
        row, row_rest = np.divmod(h + padding[0] - dilation[0] * u, stride[0])
        column, column_rest = np.divmod(w + padding[1] - dilation[1] * v, stride[1])
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        met = inside & (row_rest == 0) & (column_rest == 0)
        place = ((i_n * channels + channel) * height + row) * width + column
        inputs = {
            "x": np.where(met, place, -1),
            "weight": ((channel * each_out + output) * k_h + u) * k_w + v,
        }
        if bias is not None:
            inputs["bias"] = o[:, :1]
        return Rows(inputs, np.arange(len(o))[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a small transposed convolution with stride, padding, dilation and groups."""
        if shape is None:
            shape = (1 + draw.below(2), 1 + draw.below(4), 1 + draw.below(3), 1 + draw.below(3))
        groups = draw.choice([g for g in (1, 2, 3, 4) if shape[1] % g == 0])
        kernel = (2 + draw.below(2), 1 + draw.below(3))
        stride = (1 + draw.below(2), 1 + draw.below(2))
        options = {
            "stride": stride,
            "padding": (draw.below(2) if shape[2] > 1 else 0, 0),
            "output_padding": (draw.below(stride[0]), draw.below(stride[1])),
            "dilation": (1 + draw.below(2), 1),
            "groups": groups,
        }
        each = 1 + draw.below(2)
        shapes = {"x": shape, "weight": (shape[1], each, *kernel)}
        if not draw.chance(1, 8):
            shapes["bias"] = (each * groups,)
        return Sample(shapes, options=options)

    @staticmethod
    def with_torch(
        f: Function,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Pair,
        padding: Pair,
        output_padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Call torch's function, which takes the groups before the dilation."""
        return f(x, weight, bias, stride, padding, output_padding, groups, dilation)

    @staticmethod
    def with_jax(
        f: Function,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Pair,
        padding: Pair,
        output_padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Call JAX's convolution of x spread by the stride with the kernel turned around."""
        channels, each, k_h, k_w = weight.shape
        split = weight.reshape(groups, channels // groups, each, k_h, k_w)
        turned = split.swapaxes(1, 2).reshape(groups * each, channels // groups, k_h, k_w)
        ends = [
            (d * (k - 1) - p, d * (k - 1) - p + extra)
            for d, k, p, extra in zip(dilation, (k_h, k_w), padding, output_padding, strict=True)
        ]
        y = f(
            x, turned[:, :, ::-1, ::-1], (1, 1), ends, lhs_dilation=stride, rhs_dilation=dilation,
            feature_group_count=groups,
        )  # fmt: skip
        return y if bias is None else y + bias[:, None, None]


def _size(
    x: FloatArray, weight: FloatArray, stride: Pair, padding: Pair, extra: Pair, dilation: Pair
) -> Pair:
    """Return the height and the width of y."""
    h, w = (
        stride[k] * (x.shape[2 + k] - 1)
        + dilation[k] * (weight.shape[2 + k] - 1)
        + 1
        - 2 * padding[k]
        + extra[k]
        for k in range(2)
    )
    return h, w
