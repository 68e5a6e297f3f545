"""Tables, products of two values, and rotations of positions."""

import numpy as np

from manual_backprop.arithmetic import Backend, Function, IntArray, Math, N, RandomSource, Tensor
from manual_backprop.layers.linear import no_second_order
from manual_backprop.operation import COMPOSED, FloatArray, Rows, Sample, layer


@layer(
    structure="movement",
    takes="nothing",
    trainable=("weight",),
    torch="torch.nn.functional.embedding",
    jax=COMPOSED,
)
class Embedding:
    """y = rows of a table: y_n = W_i with i the index at n, and 0 where i is `padding_idx`.

    Row i is in y once for each index i, so its cotangent is a sum over these:

        dW_i = Σ_n dy_n [index at n = i]    `(V, D)`

    dW[index] = dy would be wrong for a repeated index, because it keeps only the last one. The
    padding row is not in y and gets no gradient. (PyTorch returns the row of the table there, which
    it expects to be 0, and gives it no gradient.) Bengio et al., 2003.
    """

    @staticmethod
    def forward(
        index: IntArray, weight: FloatArray, *, padding_idx: int | None = None
    ) -> FloatArray:
        """Return y, shape of the index and (D,); indices are 0 to V - 1."""
        y = weight[index]
        if padding_idx is not None:
            y[index == padding_idx] = 0
        return y

    @staticmethod
    def backward(
        index: IntArray, weight: FloatArray, dy: FloatArray, *, padding_idx: int | None = None
    ) -> dict[str, FloatArray]:
        """Return the cotangent of the table."""
        dweight = np.zeros_like(weight)
        np.add.at(dweight, index, dy)
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return {"weight": dweight}

    @staticmethod
    def tangent(
        index: IntArray, tweight: FloatArray, *, padding_idx: int | None = None
    ) -> FloatArray:
        """Return the rows of the table's tangent."""
        return Embedding.forward(index, tweight, padding_idx=padding_idx)

    second = no_second_order

    @staticmethod
    def definition(m: Math[N], index: None, weight: list[N], **_: object) -> list[N]:
        """Return the number unchanged; the index has chosen it."""
        return weight

    @staticmethod
    def rows(index: IntArray, weight: FloatArray, *, padding_idx: int | None) -> Rows:
        """Return a row for each number of y: the number of the table that the index picks."""
        d = weight.shape[1]
        place = index[..., None] * d + np.arange(d)
        if padding_idx is not None:
            place = np.where(index[..., None] == padding_idx, -1, place)
        return Rows({"weight": place.reshape(-1, 1)}, np.arange(place.size)[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 2 to 5 rows and more indices than rows, so that some are repeated."""
        rows, d = 2 + draw.below(4), 1 + draw.below(4)
        shape = shape or ((rows + 2,) if draw.chance(1, 2) else (2, rows))
        index = np.reshape([draw.below(rows) for _ in range(int(np.prod(shape)))], shape)
        padding_idx = draw.below(rows) if draw.chance(1, 2) else None
        return Sample({"weight": (rows, d)}, {"index": index}, {"padding_idx": padding_idx})

    @staticmethod
    def with_torch(
        f: Function, index: Tensor, weight: Tensor, *, padding_idx: int | None
    ) -> Tensor:
        """Call torch's function, and take its row at the padding index for 0."""
        y = f(index, weight, padding_idx)
        return y if padding_idx is None else y * (index != padding_idx)[..., None]

    @staticmethod
    def composition(
        xp: Backend, index: Tensor, weight: Tensor, *, padding_idx: int | None
    ) -> Tensor:
        """Return the rows, by the framework's own indexing."""
        y = weight[index]
        return y if padding_idx is None else y * (index != padding_idx)[..., None]


@layer(
    structure="rows",  # a slope is itself a sum of products, and may cancel
    trainable=("weight", "bias"),
    torch="torch.nn.functional.bilinear",
    jax=COMPOSED,
)
class Bilinear:
    """y_no = Σ_i Σ_j x_ni W_oij z_nj + b_o: a product of two values of each sample.

    y is linear in x, in z and in W, and each one's slope is the product of the other two. The inner
    sum is computed first: a sum of D_z and one of D_out terms are rounded less than one of
    D_z D_out:

        dx_ni = Σ_o Σ_j dy_no W_oij z_nj       `(N, D_x)`
        dz_nj = Σ_o Σ_i dy_no W_oij x_ni       `(N, D_z)`
        dW_oij = Σ_n dy_no x_ni z_nj           `(D_out, D_x, D_z)`
        db_o = Σ_n dy_no                       `(D_out,)`

    Tenenbaum and Freeman, 2000.
    """

    @staticmethod
    def forward(
        x: FloatArray, z: FloatArray, weight: FloatArray, bias: FloatArray | None = None
    ) -> FloatArray:
        """Return y, shape (N, D_out)."""
        y: FloatArray = np.einsum("ni,oij,nj->no", x, weight, z)
        return y if bias is None else y + bias

    @staticmethod
    def backward(
        x: FloatArray,
        z: FloatArray,
        weight: FloatArray,
        dy: FloatArray,
        bias: FloatArray | None = None,
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, z, the weight and, where there is one, the bias."""
        found = {
            "x": np.einsum("no,noi->ni", dy, np.einsum("oij,nj->noi", weight, z)),
            "z": np.einsum("no,noj->nj", dy, np.einsum("oij,ni->noj", weight, x)),
            "weight": np.einsum("no,ni,nj->oij", dy, x, z),
        }
        return found if bias is None else {**found, "bias": dy.sum(axis=0)}

    @staticmethod
    def tangent(
        x: FloatArray,
        z: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tz: FloatArray,
        tweight: FloatArray,
        tbias: FloatArray | None = None,
    ) -> FloatArray:
        """Return the sum of three products, each with the tangent of one factor."""
        ty = Bilinear.forward(tx, z, weight) + Bilinear.forward(x, tz, weight)
        return ty + Bilinear.forward(x, z, tweight, tbias)

    @staticmethod
    def second(
        x: FloatArray,
        z: FloatArray,
        weight: FloatArray,
        tx: FloatArray,
        tz: FloatArray,
        tweight: FloatArray,
        dy: FloatArray,
    ) -> dict[str, FloatArray]:
        """Return the products, by the product rule: each slope is a product of two factors.

        tdx_ni = Σ_o Σ_j dy_no (tW_oij z_nj + W_oij tz_nj), tdz likewise with x, and
        tdW_oij = Σ_n dy_no (tx_ni z_nj + x_ni tz_nj).
        """
        one = Bilinear.backward(tx, z, weight, dy), Bilinear.backward(x, tz, weight, dy)
        third = Bilinear.backward(x, z, tweight, dy)
        return {
            "x": one[1]["x"] + third["x"],
            "z": one[0]["z"] + third["z"],
            "weight": one[0]["weight"] + one[1]["weight"],
        }

    @staticmethod
    def definition(
        m: Math[N], x: list[N], z: list[N], weight: list[list[N]], bias: list[N] | None = None
    ) -> list[N | float]:
        """Return one number of y, term by term."""
        terms = [
            x_i * w_ij * z_j
            for x_i, row in zip(x, weight, strict=True)
            for w_ij, z_j in zip(row, z, strict=True)
        ]
        return [sum(terms[1:], terms[0]) + (bias[0] if bias else 0)]

    @staticmethod
    def rows(
        x: FloatArray, z: FloatArray, weight: FloatArray, bias: FloatArray | None = None
    ) -> Rows:
        """Return a row for each number of y: its sample of x and z, its matrix of the weight."""
        n, d_out = len(x), len(weight)
        sample, output = np.divmod(np.arange(n * d_out), d_out)
        inputs = {
            "x": np.arange(x.size).reshape(x.shape)[sample],
            "z": np.arange(z.size).reshape(z.shape)[sample],
            "weight": np.arange(weight.size).reshape(weight.shape)[output],
        }
        if bias is not None:
            inputs["bias"] = output[:, None]
        return Rows(inputs, np.arange(n * d_out)[:, None])

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 inputs and outputs, the bias left out in one case of eight."""
        n, d_x = shape or (2 + draw.below(3), 1 + draw.below(4))
        d_z, d_out = 1 + draw.below(4), 1 + draw.below(3)
        shapes = {"x": (n, d_x), "z": (n, d_z), "weight": (d_out, d_x, d_z)}
        if not draw.chance(1, 8):
            shapes["bias"] = (d_out,)
        return Sample(shapes)

    @staticmethod
    def composition(
        xp: Backend, x: Tensor, z: Tensor, weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Return the sums of the products of three."""
        products = x[:, None, :, None] * weight[None] * z[:, None, None, :]
        y = xp.sum(products, axis=(2, 3))
        return y if bias is None else y + bias


@layer(structure="contraction", takes="nothing", torch=COMPOSED, jax=COMPOSED)
class Rotary:
    """y = x with each pair of features (a, b) turned by the angle of its position.

    Feature i of the first half and of the second are a pair. With c and s the cosine and sine of
    position t and pair i, given as arrays,

        y_a = a c - b s,    y_b = b c + a s

    A rotation's transpose turns back, so dy is turned by the opposite angle; c and s meet the
    whole batch:

        da = dy_a c + dy_b s,    db = dy_b c - dy_a s          `(…, T, D/2)`
        dc = Σ (dy_a a + dy_b b),    ds = Σ (dy_b a - dy_a b)  `(T, D/2)`

    The product of two rotated values depends on the distance of their positions alone.
    Su et al., 2021.
    """

    @staticmethod
    def forward(x: FloatArray, cos: FloatArray, sin: FloatArray) -> FloatArray:
        """Return y, shape (…, T, D); cos and sin are (T, D/2)."""
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    @staticmethod
    def backward(
        x: FloatArray, cos: FloatArray, sin: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return the cotangents of x, cos and sin."""
        a, b = np.split(x, 2, axis=-1)
        dy_a, dy_b = np.split(dy, 2, axis=-1)
        over = tuple(range(x.ndim - 2))
        return {
            "x": np.concatenate([dy_a * cos + dy_b * sin, dy_b * cos - dy_a * sin], axis=-1),
            "cos": (dy_a * a + dy_b * b).sum(axis=over),
            "sin": (dy_b * a - dy_a * b).sum(axis=over),
        }

    @staticmethod
    def tangent(
        x: FloatArray,
        cos: FloatArray,
        sin: FloatArray,
        tx: FloatArray,
        tcos: FloatArray,
        tsin: FloatArray,
    ) -> FloatArray:
        """Return tx turned by the angle, and x by its tangent: y is linear in x and in (c, s)."""
        return Rotary.forward(tx, cos, sin) + Rotary.forward(x, tcos, tsin)

    @staticmethod
    def second(
        tx: FloatArray, tcos: FloatArray, tsin: FloatArray, dy: FloatArray
    ) -> dict[str, FloatArray]:
        """Return `backward` at the tangents: dx has no x in it, dc and ds have neither c nor s."""
        return Rotary.backward(tx, tcos, tsin, dy)

    @staticmethod
    def definition(m: Math[N], x: list[N], cos: list[N], sin: list[N]) -> list[N]:
        """Return one pair, turned."""
        (a, b), (c,), (s,) = x, cos, sin
        return [a * c - b * s, b * c + a * s]

    @staticmethod
    def rows(x: FloatArray, cos: FloatArray, sin: FloatArray) -> Rows:
        """Return the pairs."""
        a, b = np.split(np.arange(x.size).reshape(x.shape), 2, axis=-1)
        pairs = np.stack([a.ravel(), b.ravel()], axis=1)
        angle = np.broadcast_to(np.arange(cos.size).reshape(cos.shape), a.shape).reshape(-1, 1)
        return Rows({"x": pairs, "cos": angle, "sin": angle}, pairs)

    @staticmethod
    def sample(draw: RandomSource, shape: tuple[int, ...] | None = None) -> Sample:
        """Return 1 to 4 positions of 1 to 3 pairs, with the angles t 100^(-i/pairs)."""
        shape = shape or (1 + draw.below(3), 1 + draw.below(4), 2 * (1 + draw.below(3)))
        pairs = shape[-1] // 2
        angles = np.arange(shape[-2])[:, None] * 100.0 ** (-np.arange(pairs) / pairs)
        return Sample({"x": shape}, {"cos": np.cos(angles), "sin": np.sin(angles)})

    @staticmethod
    def composition(xp: Backend, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Return the same by the framework's own primitives."""
        half = x.shape[-1] // 2
        a, b = x[..., :half], x[..., half:]
        return xp.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)
