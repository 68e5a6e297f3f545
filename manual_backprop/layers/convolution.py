"""Sums over windows of an image. Shapes: x (N, C, H, W), weight (C', C/groups, K_h, K_w)."""

from collections.abc import Iterator

import numpy as np

from manual_backprop.arithmetic import Backend, Function, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import bilinear
from manual_backprop.operation import COMPOSED, ByName, FloatArray, Rows, Sample, layer

Pair = tuple[int, int]


@layer(
    structure="contraction",
    takes="image",
    trainable=("weight", "bias"),
    torch="torch.nn.functional.conv2d",
    jax="jax.lax.conv_general_dilated",
)
class Conv2d:
    """y_nohw = b_o + Σ_c Σ_u Σ_v x_nc(sh+du-p)(sw+dv-p) w_ocuv.

    s is the stride, d the dilation, p the padding; where an index leaves the image, x is 0. With
    groups, the channels c are those of the group that o belongs to. Every y is a sum of products
    x · w, and x_nchw meets w_ocuv in just those y whose window has it at (u, v), so for each (u, v)

        ∂L/∂w_ocuv = Σ_n Σ_h Σ_w dy_nohw x_nc(sh+du-p)(sw+dv-p)     `(C', C/groups, K_h, K_w)`
        ∂L/∂x_nc(sh+du-p)(sw+dv-p) += Σ_o dy_nohw w_ocuv            `(N, C, H, W)`
        ∂L/∂b_o = Σ_n Σ_h Σ_w dy_nohw                               `(C',)`

    The second is a sum over windows that overlap. LeCun et al., 1989.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> FloatArray:
        """Return y, shape (N, C', H', W') with H' = ⌊(H + 2p - d(K_h - 1) - 1)/s⌋ + 1."""
        padded = _padded(x, padding)
        out = _size(padded.shape, weight.shape, stride, dilation)
        y = np.zeros((len(x), len(weight), *out), x.dtype)
        for channels, outputs in _groups(weight, groups):
            for u, v, window in _windows(padded[:, channels], weight.shape, out, stride, dilation):
                y[:, outputs] += np.einsum("nchw,oc->nohw", window, weight[outputs, :, u, v])
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
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the weight and, where there is one, the bias."""
        padded = _padded(x, padding)
        dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
        out = dy.shape[2:]
        for channels, outputs in _groups(weight, groups):
            # A view of the padded array's cotangent: adding to a window adds to what it shows.
            places = _windows(dpadded[:, channels], weight.shape, out, stride, dilation)
            windows = _windows(padded[:, channels], weight.shape, out, stride, dilation)
            for (u, v, window), (_, _, place) in zip(windows, places, strict=True):
                dweight[outputs, :, u, v] = np.einsum("nchw,nohw->oc", window, dy[:, outputs])
                place += np.einsum("nohw,oc->nchw", dy[:, outputs], weight[outputs, :, u, v])
        (top, left), (h, w) = padding, x.shape[2:]
        found = {"x": dpadded[:, :, top : top + h, left : left + w], "weight": dweight}
        return found if bias is None else {**found, "bias": dy.sum(axis=(0, 2, 3))}

    tangent, second = bilinear(forward, backward)

    @staticmethod
    def definition(
        m: Math[N], x: list[N], weight: list[N], bias: list[N] | None = None, **_: object
    ) -> list[N | float]:
        """Return one number of y from the window that it sees, flattened as the weight is."""
        products = [a * b for a, b in zip(x, weight, strict=True)]
        return [sum(products[1:], products[0]) + (bias[0] if bias else 0)]

    @staticmethod
    def rows(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Rows:
        """Return a row for each number of y: its window of x, the weight of its channel."""
        n, channels, height, width = x.shape
        outputs, each, k_h, k_w = weight.shape
        size = (height + 2 * padding[0], width + 2 * padding[1])
        h_out, w_out = _size((n, channels, *size), weight.shape, stride, dilation)
        at = np.indices((n, outputs, h_out, w_out, each, k_h, k_w)).reshape(7, -1, each * k_h * k_w)
        i_n, o, h, w, c, u, v = at
        row = stride[0] * h + dilation[0] * u - padding[0]
        column = stride[1] * w + dilation[1] * v - padding[1]
        channel = o // (outputs // groups) * each + c
        place = ((i_n * channels + channel) * height + row) * width + column
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inputs = {"x": np.where(inside, place, -1), "weight": ((o * each + c) * k_h + u) * k_w + v}
        if bias is not None:
            inputs["bias"] = o[:, :1]
        return Rows(inputs, np.arange(len(o))[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a small convolution, half of them with stride, padding, dilation or groups."""
        if shape is None:
            shape = (1 + draw.below(2), 1 + draw.below(4), 3 + draw.below(3), 3 + draw.below(3))
        channels = shape[1]
        plain = draw.chance(1, 2)
        groups = 1 if plain else draw.choice([g for g in (1, 2, 3, 4) if channels % g == 0])
        options: dict[str, tuple[int, ...] | int] = {
            "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": groups
        }  # fmt: skip
        kernel = (1 + draw.below(min(3, shape[2])), 1 + draw.below(min(3, shape[3])))
        if not plain:
            options["stride"] = (1 + draw.below(2), 1 + draw.below(2))
            options["padding"] = (draw.below(2), draw.below(2))
            options["dilation"] = tuple(
                1 + (k * 2 - 1 <= size and draw.below(2))
                for k, size in zip(kernel, shape[2:], strict=True)
            )
        outputs = groups * (1 + draw.below(2))
        shapes = {"x": shape, "weight": (outputs, channels // groups, *kernel)}
        if not draw.chance(1, 8):
            shapes["bias"] = (outputs,)
        return Sample(shapes, options=options)

    @staticmethod
    def with_jax(
        f: Function,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Call JAX's function, which takes pairs of paddings and no bias."""
        y = f(
            x, weight, stride, [(p, p) for p in padding], rhs_dilation=dilation,
            feature_group_count=groups,
        )  # fmt: skip
        return y if bias is None else y + bias[:, None, None]


@layer(
    structure="contraction",
    takes="sequence",
    trainable=("weight", "bias"),
    torch="torch.nn.functional.conv1d",
    jax=COMPOSED,
)
class Conv1d:
    """y_not = b_o + Σ_c Σ_u x_nc(st+du-p) w_ocu: Conv2d on images of one row.

    Shapes: x (N, C, T), weight (C', C/groups, K), y (N, C', T'). As there, x_nct meets w_ocu in
    those y whose window has it at u, so for each u

        ∂L/∂w_ocu = Σ_n Σ_t dy_not x_nc(st+du-p)          `(C', C/groups, K)`
        ∂L/∂x_nc(st+du-p) += Σ_o dy_not w_ocu             `(N, C, T)`
        ∂L/∂b_o = Σ_n Σ_t dy_not                          `(C',)`

    Waibel et al., 1989.
    """

    @staticmethod
    def forward(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> FloatArray:
        """Return y, shape (N, C', T') with T' = ⌊(T + 2p - d(K - 1) - 1)/s⌋ + 1."""
        options = _of_one_row(stride, padding, dilation, groups)
        y: FloatArray = Conv2d.forward(x[:, :, None], weight[:, :, None], bias, **options)
        return y[:, :, 0]

    @staticmethod
    def backward(
        x: FloatArray,
        dy: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, the weight and, where there is one, the bias."""
        options = _of_one_row(stride, padding, dilation, groups)
        images = x[:, :, None], dy[:, :, None], weight[:, :, None]
        found = Conv2d.backward(*images, bias, **options)
        return {name: a if name == "bias" else a[:, :, 0] for name, a in found.items()}

    tangent, second = bilinear(forward, backward)

    definition = Conv2d.definition

    @staticmethod
    def rows(
        x: FloatArray,
        weight: FloatArray,
        bias: FloatArray | None = None,
        *,
        stride: int,
        padding: int,
        dilation: int,
        groups: int,
    ) -> Rows:
        """Return a row for each number of y: its window of x, the weight of its channel."""
        options = _of_one_row(stride, padding, dilation, groups)
        return Conv2d.rows(x[:, :, None], weight[:, :, None], bias, **options)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a small convolution, with stride, padding, dilation and groups."""
        shape = shape or (1 + draw.below(2), 1 + draw.below(4), 3 + draw.below(5))
        channels, size = shape[1:]
        groups = draw.choice([g for g in (1, 2, 3, 4) if channels % g == 0])
        kernel = 1 + draw.below(min(3, size))
        options = {
            "stride": 1 + draw.below(2),
            "padding": draw.below(2),
            "dilation": 1 + (kernel * 2 - 1 <= size and draw.below(2)),
            "groups": groups,
        }
        outputs = groups * (1 + draw.below(2))
        shapes = {"x": shape, "weight": (outputs, channels // groups, kernel)}
        if not draw.chance(1, 8):
            shapes["bias"] = (outputs,)
        return Sample(shapes, options=options)

    @staticmethod
    def composition(
        xp: Backend,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: int,
        padding: int,
        dilation: int,
        groups: int,
    ) -> Tensor:
        """Return the sum over u of a slice of x times w_u, group by group."""
        zeros = xp.zeros_like(x[:, :, :1])
        x = xp.concat([zeros] * padding + [x] + [zeros] * padding, axis=2)
        size = (x.shape[2] - dilation * (weight.shape[2] - 1) - 1) // stride + 1
        parts = []
        for channels, outputs in _groups(weight, groups):
            windows = [
                x[:, channels, dilation * u : dilation * u + stride * (size - 1) + 1 : stride]
                for u in range(weight.shape[2])
            ]
            terms = [weight[outputs, :, u] @ window for u, window in enumerate(windows)]
            parts.append(sum(terms[1:], terms[0]))
        y = xp.concat(parts, axis=1)
        return y if bias is None else y + bias[:, None]


def _of_one_row(stride: int, padding: int, dilation: int, groups: int) -> ByName:
    """Return Conv2d's options for images that are one row high."""
    return {
        "stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation), "groups": groups
    }  # fmt: skip


def _padded(x: FloatArray, padding: Pair) -> FloatArray:
    top, left = padding
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))


def _size(image: tuple[int, ...], kernel: tuple[int, ...], stride: Pair, dilation: Pair) -> Pair:
    """Return the height and the width of y, from those of the padded image."""
    h, w = (
        (image[2 + k] - dilation[k] * (kernel[2 + k] - 1) - 1) // stride[k] + 1 for k in range(2)
    )
    return h, w


def _groups(weight: FloatArray | Tensor, groups: int) -> Iterator[tuple[slice, slice]]:
    """Yield the channels of x and of y of each group."""
    outputs, each = weight.shape[0] // groups, weight.shape[1]
    for g in range(groups):
        yield slice(g * each, (g + 1) * each), slice(g * outputs, (g + 1) * outputs)


def _windows(
    padded: FloatArray, kernel: tuple[int, ...], out: Pair, stride: Pair, dilation: Pair
) -> Iterator[tuple[int, int, FloatArray]]:
    """Yield (u, v) and the view of the image that w[…, u, v] is multiplied by in every window."""
    for u in range(kernel[2]):
        for v in range(kernel[3]):
            top, left = dilation[0] * u, dilation[1] * v
            bottom, right = top + stride[0] * (out[0] - 1) + 1, left + stride[1] * (out[1] - 1) + 1
            yield u, v, padded[:, :, top : bottom : stride[0], left : right : stride[1]]
