"""Pooling: one number for each window of an image. Shapes: x (N, C, H, W), y (N, C, H', W')."""

from collections.abc import Iterator
from types import EllipsisType

import numpy as np

from manual_backprop.arithmetic import A, Backend, Function, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.convolution import Pair
from manual_backprop.layers.linear import linear, no_second_order
from manual_backprop.layers.movements import Slice
from manual_backprop.layers.reductions import Mean
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(structure="rows", takes="image", torch="torch.nn.functional.max_pool2d", jax=COMPOSED)
class MaxPool2d:
    """y_nchw = max of the window of x that begins at (sh-p, sw-p); s the stride, p the padding.

    y is the one x that wins, so its slope is 1 for that x and 0 for the others, and a number that
    wins in several windows gets the cotangents of all of them:

        ∂L/∂x_ncij = Σ dy_nchw over the windows whose maximum is at (i, j)

    On a tie any division between the equal numbers is a subgradient; the first of them, by rows,
    gets all, as in PyTorch and JAX. The padding never wins.
    Riesenhuber and Poggio, 1999.
    """

    @staticmethod
    def forward(
        x: FloatArray, *, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)
    ) -> FloatArray:
        """Return y, with H' = ⌊(H + 2p - K_h)/s⌋ + 1."""
        padded = _padded(x, padding, -np.inf)
        windows = [window for window, _ in _windows(padded, padded, kernel, stride)]
        y: FloatArray = windows[0].copy()
        for window in windows[1:]:
            np.maximum(y, window, out=y)
        return y

    @staticmethod
    def backward(
        x: FloatArray,
        y: FloatArray,
        dy: FloatArray,
        *,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        padding: Pair = (0, 0),
    ) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        padded = _padded(x, padding, -np.inf)
        dpadded = np.zeros_like(padded)
        left = np.ones(y.shape, bool)  # the windows whose winner was not met yet
        for window, place in _windows(padded, dpadded, kernel, stride):
            wins = (window == y) & left
            left &= ~wins
            place += dy * wins
        return {"x": _inside(dpadded, x, padding)}

    @staticmethod
    def tangent(
        x: FloatArray,
        y: FloatArray,
        tx: FloatArray,
        *,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        padding: Pair = (0, 0),
    ) -> FloatArray:
        """Return the tangent of the x that wins each window; who wins does not change."""
        padded, tangents = _padded(x, padding, -np.inf), _padded(tx, padding, 0.0)
        ty, left = np.zeros_like(y), np.ones(y.shape, bool)
        for window, tangent in _windows(padded, tangents, kernel, stride):
            wins = (window == y) & left
            left &= ~wins
            ty += tangent * wins
        return ty

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], x: list[N], inside: list[N], **_: object) -> list[N]:
        """Return the largest number of a window; the first is inside, `inside` is 1 or -1."""
        largest = x[0]
        for x_i, is_inside in zip(x[1:], inside[1:], strict=True):
            largest = m.where(is_inside, m.max(largest, x_i), largest)
        return [largest]

    @staticmethod
    def rows(x: FloatArray, *, kernel: Pair, stride: Pair, padding: Pair) -> Rows:
        """Return a row for each window: its numbers, first those that are inside."""
        place = _window_indices(x, kernel, stride, padding)
        order = np.argsort(place < 0, axis=1, kind="stable")
        place = np.take_along_axis(place, order, axis=1)
        inside = np.where(place < 0, -1.0, 1.0)
        return Rows({"x": place}, np.arange(len(place))[:, None], {"inside": inside})

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return windows of 1 to 3 by 1 to 3 that may overlap and may reach outside."""
        if shape is None:
            shape = (1 + draw.below(2), 1 + draw.below(2), 3 + draw.below(3), 2 + draw.below(4))
        kernel = tuple(1 + draw.below(min(3, size)) for size in shape[2:])
        options = {
            "kernel": kernel,
            "stride": (1 + draw.below(3), 1 + draw.below(2)),
            # torch pads by half a window at most
            "padding": tuple(draw.below(k // 2 + 1) for k in kernel),
        }
        return Sample({"x": shape}, options=options)

    @staticmethod
    def edge(draw: RandomSource, x: FloatArray) -> FloatArray:
        """Return x with numbers 0, 1 and 2 alone: ties in nearly every window."""
        return np.rint(np.abs(x)).clip(0, 2)

    @staticmethod
    def with_torch(f: Function, x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        """Call torch's function."""
        return f(x, kernel, stride, padding)

    @staticmethod
    def composition(xp: Backend, x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        """Return the maximum over the stacked windows; on a tie it is shared."""
        padded = _bordered(xp, x, padding, -xp.inf)
        windows = [window for window, _ in _windows(padded, padded, kernel, stride)]
        return xp.max(xp.stack(windows), axis=0)


@layer(structure="contraction", takes="image", torch="torch.nn.functional.avg_pool2d", jax=COMPOSED)
class AvgPool2d:
    """y_nchw = (1/K) Σ x over the K = K_h K_w places of the window at (sh-p, sw-p).

    Every x of a window has the slope 1/K, and gets it from each window that it is in:

        ∂L/∂x_ncij = (1/K) Σ dy_nchw over the windows that contain (i, j)

    Outside the image x is 0, and those places count in K. LeCun et al., 1989.
    """

    @staticmethod
    def forward(
        x: FloatArray, *, kernel: Pair = (2, 2), stride: Pair = (2, 2), padding: Pair = (0, 0)
    ) -> FloatArray:
        """Return y, with H' = ⌊(H + 2p - K_h)/s⌋ + 1."""
        padded = _padded(x, padding, 0.0)
        windows = [window for window, _ in _windows(padded, padded, kernel, stride)]
        return sum(windows[1:], windows[0]) / (kernel[0] * kernel[1])

    @staticmethod
    def backward(
        x: FloatArray,
        dy: FloatArray,
        *,
        kernel: Pair = (2, 2),
        stride: Pair = (2, 2),
        padding: Pair = (0, 0),
    ) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        dpadded = np.zeros_like(_padded(x, padding, 0.0))
        share = dy / (kernel[0] * kernel[1])
        for place, _ in _windows(dpadded, dpadded, kernel, stride):
            place += share
        return {"x": _inside(dpadded, x, padding)}

    tangent, second = linear(forward)

    definition = Mean.definition

    @staticmethod
    def rows(x: FloatArray, *, kernel: Pair, stride: Pair, padding: Pair) -> Rows:
        """Return a row for each window."""
        place = _window_indices(x, kernel, stride, padding)
        return Rows({"x": place}, np.arange(len(place))[:, None])

    sample, with_torch = MaxPool2d.sample, MaxPool2d.with_torch

    @staticmethod
    def composition(xp: Backend, x: Tensor, *, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        """Return the mean over the stacked windows."""
        padded = _bordered(xp, x, padding, 0.0)
        windows = [window for window, _ in _windows(padded, padded, kernel, stride)]
        return xp.mean(xp.stack(windows), axis=0)


@layer(
    structure="contraction",
    takes="image",
    torch="torch.nn.functional.adaptive_avg_pool2d",
    jax=COMPOSED,
)
class AdaptiveAvgPool2d:
    """y_nchw = mean of x over rows ⌊hH/H'⌋ to ⌈(h+1)H/H'⌉ - 1, and columns likewise.

    The size H' × W' of y is given and the windows follow from it; where H' does not divide H they
    overlap and differ in size. A window of n numbers has ∂y/∂x = 1/n on each of them, so

        ∂L/∂x_ij = Σ dy_hw / n_hw over the windows h, w that hold row i and column j

    No product with a matrix of zeros and 1/n: a number that is infinite would be NaN everywhere.
    A size of 1 × 1 is global average pooling. Lin, Chen and Yan, 2014.
    """

    @staticmethod
    def forward(x: FloatArray, *, size: Pair = (1, 1)) -> FloatArray:
        """Return y, shape (N, C, *size)."""
        y = np.empty((*x.shape[:2], *size), x.dtype)
        for place, window in _adaptive(x.shape, size):
            y[place] = x[window].mean(axis=(2, 3))
        return y

    @staticmethod
    def backward(x: FloatArray, dy: FloatArray, *, size: Pair = (1, 1)) -> dict[str, FloatArray]:
        """Return the cotangent of x."""
        dx = np.zeros_like(x)
        for place, window in _adaptive(x.shape, size):
            count = dx[window].shape[2] * dx[window].shape[3]
            dx[window] += (dy[place] / count)[..., None, None]
        return {"x": dx}

    tangent, second = linear(forward)

    @staticmethod
    def definition(m: Math[N], x: list[N], count: N, **_: object) -> list[N | float]:
        """Return the mean of a window of `count` numbers, the others being 0."""
        return [sum(x[1:], x[0]) / count]

    @staticmethod
    def rows(x: FloatArray, *, size: Pair) -> Rows:
        """Return a row for each window, filled up to the largest, and its count."""
        n, channels, height, width = x.shape
        down, across = _spans(height, size[0]), _spans(width, size[1])
        k_h, k_w = (max(stop - start for start, stop in spans) for spans in (down, across))
        shape = (n * channels, *size, k_h, k_w)
        image, h, w, u, v = np.indices(shape).reshape(5, -1, k_h * k_w)
        row, column = np.array(down)[h, 0] + u, np.array(across)[w, 0] + v
        inside = (row < np.array(down)[h, 1]) & (column < np.array(across)[w, 1])
        place = np.where(inside, (image * height + row) * width + column, -1)
        count = inside.sum(axis=1).astype(float)
        return Rows({"x": place}, np.arange(len(place))[:, None], {"count": count})

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a size of 1 to 3 by 1 to 3, larger than the image in rare cases."""
        if shape is None:
            shape = (1 + draw.below(2), 1 + draw.below(2), 2 + draw.below(4), 1 + draw.below(5))
        return Sample({"x": shape}, options={"size": (1 + draw.below(3), 1 + draw.below(3))})

    @staticmethod
    def with_torch(f: Function, x: Tensor, *, size: Pair) -> Tensor:
        """Call torch's function."""
        return f(x, size)

    @staticmethod
    def composition(xp: Backend, x: Tensor, *, size: Pair) -> Tensor:
        """Return the means of the slices of x."""
        down, across = _spans(x.shape[2], size[0]), _spans(x.shape[3], size[1])
        rows = [
            xp.stack([xp.mean(x[:, :, a:b, c:d], axis=(2, 3)) for c, d in across], axis=-1)
            for a, b in down
        ]
        return xp.stack(rows, axis=-2)


@layer(structure="movement", takes="image", torch="torch.nn.functional.pad", jax=COMPOSED)
class Pad:
    """y = x with zeros around it: `top`, `bottom`, `left` and `right` rows and columns of them.

    y_nc(i+top)(j+left) = x_ncij and every other y is 0, so the cotangents of the border are not
    used:

        ∂L/∂x_ncij = dy_nc(i+top)(j+left)    `(N, C, H, W)`
    """

    @staticmethod
    def forward(
        x: FloatArray, *, top: int = 1, bottom: int = 1, left: int = 1, right: int = 1
    ) -> FloatArray:
        """Return y, shape (N, C, H + top + bottom, W + left + right)."""
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))

    @staticmethod
    def backward(
        x: FloatArray,
        dy: FloatArray,
        *,
        top: int = 1,
        bottom: int = 1,
        left: int = 1,
        right: int = 1,
    ) -> dict[str, FloatArray]:
        """Return the cotangent of x: the inner part of dy."""
        return {"x": dy[:, :, top : top + x.shape[2], left : left + x.shape[3]]}

    tangent, second = linear(forward)

    definition = Slice.definition

    @staticmethod
    def rows(x: FloatArray, *, top: int, bottom: int, left: int, right: int) -> Rows:
        """Return a row for each number of y: the x that is copied there."""
        place = np.arange(x.size).reshape(x.shape)
        around = ((0, 0), (0, 0), (top, bottom), (left, right))
        sources = np.pad(place, around, constant_values=-1).reshape(-1, 1)
        return Rows({"x": sources}, np.arange(len(sources))[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return borders of 0 to 2."""
        shape = shape or (1 + draw.below(2), 1 + draw.below(2), 1 + draw.below(3), 2)
        sides = ("top", "bottom", "left", "right")
        return Sample({"x": shape}, options={side: draw.below(3) for side in sides})

    @staticmethod
    def with_torch(
        f: Function, x: Tensor, *, top: int, bottom: int, left: int, right: int
    ) -> Tensor:
        """Call torch's function, which takes the last axis first."""
        return f(x, (left, right, top, bottom))

    @staticmethod
    def composition(
        xp: Backend, x: Tensor, *, top: int, bottom: int, left: int, right: int
    ) -> Tensor:
        """Return x between zeros."""
        return _framed(xp, x, (top, bottom, left, right), 0.0)


def _padded(x: FloatArray, padding: Pair, value: float) -> FloatArray:
    (top, left) = padding
    return np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=value)


def _bordered(xp: Backend, x: Tensor, padding: Pair, value: float) -> Tensor:
    return _framed(xp, x, (padding[0], padding[0], padding[1], padding[1]), value)


def _framed(xp: Backend, x: Tensor, sides: tuple[int, int, int, int], value: float) -> Tensor:
    """Return x with a border of one value, by the framework's concatenation."""
    top, bottom, left, right = sides
    row = xp.full_like(x[:, :, :1], value)
    x = xp.concat([row] * top + [x] + [row] * bottom, axis=2)
    column = xp.full_like(x[:, :, :, :1], value)
    return xp.concat([column] * left + [x] + [column] * right, axis=3)


def _inside(dpadded: FloatArray, x: FloatArray, padding: Pair) -> FloatArray:
    (top, left), (h, w) = padding, x.shape[2:]
    return dpadded[:, :, top : top + h, left : left + w]


def _windows(padded: A, places: A, kernel: Pair, stride: Pair) -> Iterator[tuple[A, A]]:
    """Yield, for each place (u, v) of a window, the numbers there in all windows of two images."""
    out = [(padded.shape[2 + k] - kernel[k]) // stride[k] for k in range(2)]
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            rows = slice(u, u + stride[0] * out[0] + 1, stride[0])
            columns = slice(v, v + stride[1] * out[1] + 1, stride[1])
            yield padded[:, :, rows, columns], places[:, :, rows, columns]


def _window_indices(x: FloatArray, kernel: Pair, stride: Pair, padding: Pair) -> IntArray:
    """Return the indices (windows, K_h K_w) of the numbers of each window, −1 outside."""
    (top, left) = padding
    place = np.arange(x.size).reshape(x.shape)
    padded = np.pad(place, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=-1)
    windows = [window for window, _ in _windows(padded, padded, kernel, stride)]
    return np.stack(windows, axis=-1).reshape(-1, len(windows))


def _spans(size: int, parts: int) -> list[tuple[int, int]]:
    """Return where each window of an axis starts and stops."""
    return [(k * size // parts, -(-(k + 1) * size // parts)) for k in range(parts)]


def _adaptive(
    shape: tuple[int, ...], size: Pair
) -> Iterator[tuple[tuple[EllipsisType, int, int], tuple[EllipsisType, slice, slice]]]:
    """Yield the index of each entry of y, and its window of x."""
    for h, rows in enumerate(_spans(shape[2], size[0])):
        for w, columns in enumerate(_spans(shape[3], size[1])):
            yield (..., h, w), (..., slice(*rows), slice(*columns))
