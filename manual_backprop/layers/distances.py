"""Losses of two and three values, and the penalty of a weight: one number for each sample."""

import numpy as np

from manual_backprop.arithmetic import Backend, BoolArray, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.directions import directions, moved_directions
from manual_backprop.layers.standardised import (
    LOWEST,
    divided,
    divided_by_cube,
    over_root,
    scaled,
    scaled_product,
)
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, counterpart, layer

SMALLEST_SQUARE = 1e-12
"""What PyTorch adds to the square of a length, so that a zero vector has the cosine 0."""


@layer(
    structure="rows",
    takes="nothing",
    torch=counterpart("torch.nn.functional.cosine_embedding_loss", reduction="none"),
    jax=COMPOSED,
)
class CosineEmbedding:
    """L = 1 - cos if the target is 1, else max(0, cos - margin), cos the cosine of x and z.

    With m_x = Σ x_i² + 10⁻¹², m_z likewise, and the directions u = x/√m_x, w = z/√m_z, the
    cosine is Σ u_i w_i. From ∂u_i/∂x_k = ([i = k] - u_i u_k)/√m_x comes

        ∂cos/∂x_k = (w_k - u_k cos)/√m_x,   ∂cos/∂z_k = (u_k - w_k cos)/√m_z

    and dx = ∓dL ∂cos/∂x. For vectors that are nearly alike 1 - cos and w - u cos cancel; both are
    computed from the difference of the directions, whose length has the same information:

        1 - cos = Σ (u_i - w_i)²/2 + 10⁻¹² (1/m_x + 1/m_z)/2
        w_k - u_k cos = (w_k - u_k) + u_k (1 - cos),   and w 10⁻¹²/m_x for vectors of one number

    The rounded lengths leave a part along u in this, where Σ_k u_k (w_k - u_k cos) is
    10⁻¹² cos/m_x and no more: the rest is taken off. One such step is enough (Parlett, 1980).
    At cos = margin every slope between the two is a subgradient; 0 is taken.
    Hadsell, Chopra and LeCun, 2006.
    """

    @staticmethod
    def forward(
        x: FloatArray, z: FloatArray, target: IntArray, *, margin: float = 0.0
    ) -> FloatArray:
        """Return L, shape (N,); the targets are 1 and -1."""
        both = _Directions(x, z)
        return np.where(target > 0, both.distance, np.maximum(both.cosine - margin, 0.0))

    @staticmethod
    def backward(
        x: FloatArray, z: FloatArray, target: IntArray, dy: FloatArray, *, margin: float = 0.0
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x and z."""
        both = _Directions(x, z)
        far = np.where(both.beyond(margin), dy, dy.dtype.type(0))
        dcos = np.where(target > 0, -dy, far)[:, None]
        return {
            "x": _pulled_back(dcos, both, both.u, both.w, both.length_x),
            "z": _pulled_back(dcos, both, both.w, both.u, both.length_z),
        }

    @staticmethod
    def tangent(
        x: FloatArray,
        z: FloatArray,
        target: IntArray,
        tx: FloatArray,
        tz: FloatArray,
        *,
        margin: float = 0.0,
    ) -> FloatArray:
        """Return ∂L/∂x tx + ∂L/∂z tz."""
        ones = np.ones_like(x[:, 0])
        slopes = CosineEmbedding.backward(x, z, target, ones, margin=margin)
        ty: FloatArray = (slopes["x"] * tx + slopes["z"] * tz).sum(axis=-1)
        return ty

    @staticmethod
    def second(
        x: FloatArray,
        z: FloatArray,
        target: IntArray,
        dy: FloatArray,
        tx: FloatArray,
        tz: FloatArray,
        *,
        margin: float = 0.0,
    ) -> dict[str, FloatArray]:
        """Return the products of x and z.

        With tu = (tx - u Σ_i u_i tx_i)/√m_x, tw likewise, and tcos = Σ (tu_i w_i + u_i tw_i),
        The directional derivative of ∂cos/∂x = (w - u cos)/√m_x is

            (tw - tu cos - u tcos)/√m_x - (∂cos/∂x) Σ_i u_i tx_i/√m_x

        since the tangent of √m_x is Σ u tx. If cos is large, tw - tu cos is computed as
        (tw - tu) + tu (1 - cos), as in `backward`. For vectors of one number such terms cancel, so
        ∂cos/∂x = w 10⁻¹²/m_x^(3/2) is differentiated instead.
        """
        both = _Directions(x, z)
        far = np.where(both.beyond(margin), dy, dy.dtype.type(0))
        dcos = np.where(target > 0, -dy, far)[:, None]
        return {
            "x": dcos * _moved_slope(both.w, both.u, both.length_z, both.length_x, tz, tx, both),
            "z": dcos * _moved_slope(both.u, both.w, both.length_x, both.length_z, tx, tz, both),
        }

    @staticmethod
    def definition(
        m: Math[N], x: list[N], z: list[N], target: list[N], *, margin: N
    ) -> list[N | float]:
        """Return L of one pair."""
        least = m.number(SMALLEST_SQUARE)
        length_x = m.sqrt(sum(a * a for a in x) + least)
        length_z = m.sqrt(sum(a * a for a in z) + least)
        u, w = [a / length_x for a in x], [a / length_z for a in z]
        cosine = sum(a * b for a, b in zip(u, w, strict=True))
        return [m.where(target[0], 1 - cosine, m.max(cosine - margin, m.number(0)))]

    @staticmethod
    def rows(x: FloatArray, z: FloatArray, target: IntArray, *, margin: float) -> Rows:
        """Return a row for each pair."""
        own, one = np.arange(x.size).reshape(x.shape), np.arange(len(x))[:, None]
        return Rows({"x": own, "z": own, "target": one}, one)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 pairs of 1 to 5 numbers, half of the targets 1."""
        n, d = shape or (2 + draw.below(4), 1 + draw.below(5))
        target = np.array([draw.choice((1, -1)) for _ in range(n)])
        options = {"margin": draw.choice((0.0, 0.25, -0.5))}
        return Sample({"x": (n, d), "z": (n, d)}, {"target": target}, options)

    @staticmethod
    def composition(xp: Backend, x: Tensor, z: Tensor, target: Tensor, *, margin: float) -> Tensor:
        """Return the two pieces, chosen by where."""
        squares = xp.sum(x * x, axis=-1) + SMALLEST_SQUARE, xp.sum(z * z, axis=-1) + SMALLEST_SQUARE
        cosine = xp.sum(x * z, axis=-1) / xp.sqrt(squares[0] * squares[1])
        return xp.where(target > 0, 1.0 - cosine, xp.clip(cosine - margin, 0.0, None))


class _Directions:
    """The directions u and w of two rows, their lengths, cos, and 1 - cos as `distance`."""

    def __init__(self, x: FloatArray, z: FloatArray) -> None:
        self.u, self.length_x = over_root(x, (1,), SMALLEST_SQUARE, total=np.sum)
        self.w, self.length_z = over_root(z, (1,), SMALLEST_SQUARE, total=np.sum)
        self.cosine: FloatArray = (self.u * self.w).sum(axis=-1)
        apart = self.u - self.w
        of_x, of_z = (SMALLEST_SQUARE / a / a for a in (self.length_x, self.length_z))
        lost = of_x + of_z
        self.distance: FloatArray = 0.5 * ((apart * apart).sum(axis=-1) + lost[:, 0])
        self._rows = x, z

    def across(self, u: FloatArray, w: FloatArray, length: FloatArray) -> FloatArray:
        """Return w - u cos, with no more along u than there is; `length` is that of u's row."""
        cosine = self.cosine[:, None]
        left = np.where(cosine > 0.5, (w - u) + u * self.distance[:, None], w - u * cosine)
        kept = SMALLEST_SQUARE / length / length * cosine
        found: FloatArray = left - u * ((u * left).sum(axis=-1, keepdims=True) - kept)
        return found

    def beyond(self, margin: float) -> BoolArray:
        """Return where cos > margin; whether it is above 0 also where cos itself underflows."""
        if margin != 0:
            return self.cosine > margin
        x, z = (scaled(a, (1,), least=LOWEST)[0] for a in self._rows)
        beyond: BoolArray = (x * z).sum(axis=-1) > 0
        return beyond


def _pulled_back(
    dcos: FloatArray, both: _Directions, u: FloatArray, w: FloatArray, length: FloatArray
) -> FloatArray:
    """Return dcos ∂cos/∂x = dcos (w - u cos)/√m_x; u and the length are those of x's row."""
    if u.shape[-1] == 1:
        return divided_by_cube(*scaled_product(dcos, w), length, SMALLEST_SQUARE)
    return divided(*scaled_product(dcos, both.across(u, w, length)), length)


def _moved_slope(
    w: FloatArray,
    u: FloatArray,
    length_z: FloatArray,
    length_x: FloatArray,
    tz: FloatArray,
    tx: FloatArray,
    both: _Directions,
) -> FloatArray:
    """Return the tangent of ∂cos/∂x = (w - u cos)/√m_x; see CosineEmbedding.second."""
    along_x = (u * tx).sum(axis=-1, keepdims=True)
    if u.shape[-1] == 1:
        small = SMALLEST_SQUARE / length_x / length_x / length_x
        tw = tz * (SMALLEST_SQUARE / length_z / length_z / length_z)
        alone: FloatArray = tw * small - 3.0 * (w * small) * along_x / length_x
        return alone
    along_z = (w * tz).sum(axis=-1, keepdims=True)
    tu, tw = (tx - u * along_x) / length_x, (tz - w * along_z) / length_z
    cosine, distance = both.cosine[:, None], both.distance[:, None]
    tcos = (tu * w + u * tw).sum(axis=-1, keepdims=True)
    left, change = (
        np.where(cosine > 0.5, (b - a) + a * distance, b - a * cosine)
        for a, b in ((u, w), (tu, tw))
    )
    found: FloatArray = (change - u * tcos - left / length_x * along_x) / length_x
    return found


@layer(
    structure="rows",
    takes="nothing",
    torch=counterpart("torch.nn.functional.triplet_margin_loss", reduction="none"),
    jax=COMPOSED,
)
class TripletMargin:
    """L = max(0, margin + ‖a - p + ε‖ - ‖a - n + ε‖): p is to be nearer to a than n by a margin.

    With the differences d = a - p + ε and e = a - n + ε (ε keeps the length of a zero difference
    differentiable) and their directions u = d/‖d‖, w = e/‖e‖, from ∂‖d‖/∂d = u:

        dp = -dL u,   dn = dL w,   da = dL (u - w)    where L > 0, else 0

    At L = 0 every share of these is a subgradient, and of a zero difference every direction; 0 is
    taken. Each difference is divided by a power of two before it is squared.
    Weinberger and Saul, 2009; Schroff, Kalenichenko and Philbin, 2015.
    """

    @staticmethod
    def forward(
        anchor: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        *,
        margin: float = 1.0,
        eps: float = 2.0**-20,
    ) -> FloatArray:
        """Return L, shape (N,)."""
        near, _ = _length(anchor - positive + eps)
        far, _ = _length(anchor - negative + eps)
        return np.maximum(margin + near - far, 0.0)

    @staticmethod
    def backward(
        anchor: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        y: FloatArray,
        dy: FloatArray,
        *,
        margin: float = 1.0,
        eps: float = 2.0**-20,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of all three."""
        _, u = _length(anchor - positive + eps)
        _, w = _length(anchor - negative + eps)
        counted = np.where(y > 0, dy, dy.dtype.type(0))[:, None]
        return {"anchor": counted * (u - w), "positive": -counted * u, "negative": counted * w}

    @staticmethod
    def tangent(
        anchor: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        y: FloatArray,
        tanchor: FloatArray,
        tpositive: FloatArray,
        tnegative: FloatArray,
        *,
        margin: float = 1.0,
        eps: float = 2.0**-20,
    ) -> FloatArray:
        """Return Σ_i u_i (ta_i - tp_i) - Σ_i w_i (ta_i - tn_i) where L > 0, else 0."""
        _, u = _length(anchor - positive + eps)
        _, w = _length(anchor - negative + eps)
        apart = u * (tanchor - tpositive) - w * (tanchor - tnegative)
        change: FloatArray = apart.sum(axis=-1)
        return np.where(y > 0, change, change.dtype.type(0))

    @staticmethod
    def second(
        anchor: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        y: FloatArray,
        dy: FloatArray,
        tanchor: FloatArray,
        tpositive: FloatArray,
        tnegative: FloatArray,
        *,
        margin: float = 1.0,
        eps: float = 2.0**-20,
    ) -> dict[str, FloatArray]:
        """Return dy (tu - tw), -dy tu and dy tw where L > 0.

        u = d/‖d‖ has the tangent tu = (td - u Σ_i u_i td_i)/‖d‖, and w likewise.
        """
        _, _, tu, _ = moved_directions(anchor - positive + eps, tanchor - tpositive)
        _, _, tw, _ = moved_directions(anchor - negative + eps, tanchor - tnegative)
        counted = np.where(y > 0, dy, dy.dtype.type(0))[:, None]
        return {"anchor": counted * (tu - tw), "positive": -counted * tu, "negative": counted * tw}

    @staticmethod
    def definition(
        m: Math[N], anchor: list[N], positive: list[N], negative: list[N], *, margin: N, eps: N
    ) -> list[N | float]:
        """Return L of one triplet."""
        lengths = []
        for other in (positive, negative):
            apart = [a - b + eps for a, b in zip(anchor, other, strict=True)]
            lengths.append(m.sqrt(sum(d * d for d in apart)))
        return [m.max(lengths[0] - lengths[1] + margin, m.number(0))]

    @staticmethod
    def rows(anchor: FloatArray, *_: FloatArray, margin: float, eps: float) -> Rows:
        """Return a row for each triplet."""
        own = np.arange(anchor.size).reshape(anchor.shape)
        names = ("anchor", "positive", "negative")
        return Rows(dict.fromkeys(names, own), np.arange(len(anchor))[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 triplets of 1 to 5 numbers."""
        shape = shape or (2 + draw.below(4), 1 + draw.below(5))
        options = {"margin": draw.choice((1.0, 0.5, 2.0)), "eps": 2.0**-20}
        names = ("anchor", "positive", "negative")
        return Sample(dict.fromkeys(names, shape), options=options)

    @staticmethod
    def composition(
        xp: Backend,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        *,
        margin: float,
        eps: float,
    ) -> Tensor:
        """Return the difference of the lengths, clipped at 0."""
        near, far = anchor - positive + eps, anchor - negative + eps
        lengths = (xp.sqrt(xp.sum(d * d, axis=-1)) for d in (near, far))
        return xp.clip(margin + next(lengths) - next(lengths), 0.0, None)


@layer(
    structure="contraction", takes="nothing", trainable=("weight",), torch=COMPOSED, jax=COMPOSED
)
class L2Penalty:
    """L = (λ/2) Σ w², the penalty that draws a weight to 0.

    Every number is in one square, so ∂L/∂w = λ w: the 2 of the square and the 1/2 cancel.
    If it is added to a loss, the weight has one more use, and the cotangents add up.
    Tikhonov, 1943.
    """

    @staticmethod
    def forward(weight: FloatArray, *, strength: float = 0.5) -> FloatArray:
        """Return L, shape (1,)."""
        return np.sum(weight * weight).reshape(1) * (0.5 * strength)

    @staticmethod
    def backward(
        weight: FloatArray, dy: FloatArray, *, strength: float = 0.5
    ) -> dict[str, FloatArray]:
        """Return the cotangent of the weight."""
        return {"weight": weight * (strength * dy[0])}

    @staticmethod
    def tangent(weight: FloatArray, tweight: FloatArray, *, strength: float = 0.5) -> FloatArray:
        """Return λ Σ w tw, shape (1,)."""
        return np.sum(weight * tweight).reshape(1) * strength

    @staticmethod
    def second(
        tweight: FloatArray, dy: FloatArray, *, strength: float = 0.5
    ) -> dict[str, FloatArray]:
        """Return λ tw dy: the Hessian is λ times the identity."""
        return {"weight": tweight * (strength * dy[0])}

    @staticmethod
    def definition(m: Math[N], weight: list[N], *, strength: N) -> list[N | float]:
        """Return (λ/2) Σ w²."""
        return [sum(w * w for w in weight) * strength / 2]

    @staticmethod
    def rows(weight: FloatArray, *, strength: float) -> Rows:
        """Return one row: the whole weight."""
        return Rows({"weight": np.arange(weight.size)[None]}, np.zeros((1, 1), int))

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return a weight of 1 to 5 by 1 to 5."""
        shape = shape or (1 + draw.below(5), 1 + draw.below(5))
        return Sample({"weight": shape}, options={"strength": draw.choice((0.5, 0.0625, 2.0))})

    @staticmethod
    def composition(xp: Backend, weight: Tensor, *, strength: float) -> Tensor:
        """Return (λ/2) Σ w²."""
        return xp.reshape(xp.sum(weight * weight), (1,)) * (0.5 * strength)


def _length(difference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ‖d‖, shape (N,), and d/‖d‖; of a difference of zeros, zeros."""
    u, length = directions(difference)
    return np.where(u.any(axis=-1), length[:, 0], length.dtype.type(0)), u
