"""Second order: the change of every tensor of an answer along a direction, step by step.

A tape of order 2 has the slopes of an operation's values and of those slopes. With J the first and
H the second ones, at the answer's own numbers,

    ty_i  = Σ_k J_ik tx_k                                the tangent of a value
    tdx_j = Σ_i tdy_i J_ij + Σ_ik (dy_i tx_k) H_ikj      the product of a cotangent

So the second is like a first-order cotangent with C + C² cotangents: tdy, and dy tx. The tensors of
a dense layer are sums of products with twice as many terms.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.arithmetic.evaluation import ColumnValues
from reference.blocks.columns import Check, Columns, SlopeCheck, evaluate_columns
from reference.blocks.gather import AnswerLayout, Gathered
from reference.blocks.sums import DenseTensors, Stacks, SumCheck, stacked
from reference.blocks.weigh import Weighed, Weighing
from reference.formats import Array
from reference.oracles import Answer
from reference.problems import DirectedProblem
from reference.rounding import Rounding, RoundingUnit


def weigh_second(
    problems: Sequence[Problem],
    answers: Sequence[tuple[int, Answer]],
    models: Sequence[Rounding],
    subject: str,
    max_lost_share: float,
) -> Weighed:
    """Compare the tangents and products of complete answers, each with the index of its problem.

    Their values and cotangents are taken as given; these are judged at order 1.
    """
    return _SecondWeighing(problems, answers, models, subject, max_lost_share).weighed


class _SecondGathered(Gathered):
    """The tensors of second order of every answer to a block of problems."""

    order = 2
    of_activations = ("z", "tz", "ta", "da", "tda", "tdz")
    of_losses = ("y", "ty", "tda")

    def _add(self, number: int, plan: AnswerLayout, tensors: list[Any]) -> None:
        """Collect one answer's tensors, given in the order of `expected_tensors`."""
        assert isinstance(plan.problem, DirectedProblem)
        direction, count = plan.problem.direction, 2 * len(plan.layers)
        tensors = tensors[1:]
        of_order = len(tensors) // 2
        values, gradients = tensors[:count], tensors[count:of_order]
        tangents, products = tensors[of_order : of_order + count], tensors[of_order + count :]
        of_parameters = iter(products[count:])
        a, ta, tda = plan.problem.x, direction["x"], products[-1]
        for i, (dense, parts, columns, weight, bias) in enumerate(plan.layers):
            below, tbelow, tdbelow = a, ta, tda
            step = slice(2 * i, 2 * i + 2)
            (z, a), (dz, da) = values[step], gradients[step]
            (tz, ta), (tdz, tda) = tangents[step], products[step]
            moved = DenseTensors(
                number, i, tbelow, direction[f"layers.{i}.weight"],
                None if bias is None else direction[f"layers.{i}.bias"], tz, tdz,
                next(of_parameters), None if bias is None else next(of_parameters), tdbelow,
                (below, weight, dz),
            )  # fmt: skip
            dense.append(moved)
            parts.append((len(self.chunks), columns, z, tz, ta, da, tda, tdz))
            self.chunks.append((number, i))
        self.add_loss(number, plan, a, ta, tda)


class TangentCheck(SlopeCheck):
    """The tangent of an activation's value: Σ_k J_ik tz_k, like a cotangent with the transpose."""

    def slopes(self, found: ColumnValues) -> tuple[Array, Array]:
        """Return the first slopes, transposed, without the second ones."""
        c = self.columns.width
        return found.slope[:c].swapaxes(0, 1), found.slope_radius[:c].swapaxes(0, 1)

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "TangentCheck":
        """Return the check of the columns `which`; `columns` are these, evaluated."""
        return TangentCheck(columns, self.given[:, which], self.da[:, which])


class ProductCheck(SlopeCheck):
    """The product of an operation's input: the derivative of its cotangent along the direction.

    A product of three numbers may be computed in any order, so any two of them may underflow or
    overflow first.
    """

    def __init__(
        self, columns: Columns, given: Array, tdy: Array, dy: Array, tx: Array,
        roundings: Array | None = None,
    ) -> None:  # fmt: skip
        self.tdy, self.dy, self.tx = tdy, dy, tx
        poles = _poles(columns, len(dy))
        with np.errstate(all="ignore"):
            pairs = (dy[:, None] * tx[None]).reshape(len(dy) * len(tx), -1)
        unit = np.finfo(pairs.dtype).eps
        cotangents = np.concatenate([tdy, pairs])
        radius = np.concatenate([np.zeros_like(tdy), 4 * unit * np.abs(pairs)])
        super().__init__(columns, given, cotangents, radius, roundings)
        # Where a slope or a cotangent is not finite, its derivative is not defined.
        numbers = np.isfinite(dy).all(axis=0) & np.isfinite(tx).all(axis=0)
        self.judged = self.judged & ~poles & numbers

    @property
    def default_roundings(self) -> int:
        """How often the result may be rounded: two products, or two sums over a row."""
        return 4 if self.columns.elementwise else 2 * (self.columns.width + 2)

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each product may be off."""
        outputs, width = len(self.dy), len(self.tx)
        second = np.abs(self.slope[outputs:]).reshape(outputs, width, *self.slope.shape[1:])
        dy, tx = np.abs(self.dy)[:, None, None], np.abs(self.tx)[None, :, None]
        moves = (self.dy != 0)[:, None, None] & (self.tx != 0)[None, :, None]
        with np.errstate(all="ignore"):
            pairs = dy * tx, dy * second, tx * second
            lost = dy + tx + second + sum(pairs)
            largest = np.where(moves, np.fmax(np.fmax(*pairs[:2]), pairs[2]), 0).max(axis=(0, 1))
            lost = unit.k * unit.floor * np.where(moves, lost, 0).sum(axis=(0, 1))
            return np.asarray(unit.allow_overflow(super().allowed(unit) + lost, largest))

    @property
    def perturbed_inputs(self) -> int:
        """All inputs, also targets: y - t is rounded, and a loss may have a kink at |y - t| = δ."""
        return len(self.columns.inputs)

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "ProductCheck":
        """Return the check of the columns `which`; `columns` are these, evaluated."""
        roundings = None if self.roundings is None else self.roundings[which]
        tdy, dy, tx = (part[:, which] for part in (self.tdy, self.dy, self.tx))
        return ProductCheck(columns, self.given[:, which], tdy, dy, tx, roundings)


def _poles(columns: Columns, outputs: int) -> npt.NDArray[np.bool_]:
    """Return where a first slope is infinite or NaN, (M,); arb decides the doubtful ones."""
    found = columns.found
    assert found is not None
    for _ in range(2):
        poles = ~np.isfinite(found.slope[:outputs]).all(axis=(0, 1))
        open_ = poles & ~columns.by_arb & columns.finite
        if not open_.any():
            break
        columns.evaluate_with_arb(np.flatnonzero(open_))
    return np.asarray(poles)


def second_sums(dtype: np.dtype, layers: list[DenseTensors]) -> Iterator[SumCheck]:
    """Yield the checks of dense layers of one size, each sum over two products side by side.

    tz = [ta, a] [W; tW] + tb, tdW = [taᵀ, aᵀ] [dz; tdz], tdb = 1ᵀ tdz, tda = [tdz, dz] [Wᵀ; tWᵀ].
    """
    at, common = Stacks(layers), (dtype, layers)
    ta, tda, tz, tdz, tweight, tdweight, tbias, tdbias = at.tensors()
    still = zip(*(layer.still for layer in layers), strict=True)
    a, weight, dz = map(stacked, still, (at.of_x, at.of_weight, at.of_z))
    (rows, width, out), (n, d_in, d_out) = at.sizes, at.padded
    inputs, weights = np.concatenate([ta, a], 2), np.concatenate([weight, tweight], 1)
    yield SumCheck("z", *common, inputs, weights, tbias, tz, at.of_z, 2 * width + 1, 2 * d_in + 1)
    back, cotangents = np.concatenate([ta, a], 1).swapaxes(1, 2), np.concatenate([dz, tdz], 1)
    yield SumCheck(
        "weight", *common, back, cotangents, None, tdweight, at.of_weight, 2 * rows, 2 * n
    )
    ones = at.of_n[:, None, :].astype(np.float64)
    yield SumCheck("bias", *common, ones, tdz, None, tdbias[:, None], at.of_bias[:, None], rows, n)
    moved, across = np.concatenate([tdz, dz], 2), np.concatenate([weight, tweight], 2)
    yield SumCheck(
        "a", *common, moved, across.swapaxes(1, 2), None, tda, at.of_x, 2 * out, 2 * d_out
    )


class _SecondWeighing(Weighing):
    """The work of `weigh_second`."""

    gather, sum_checks = _SecondGathered, staticmethod(second_sums)

    def _sum_tensor(self, kind: str, layer: int) -> str:
        if kind == "z":
            return f"tangent layers.{layer}.z"
        return f"product {super()._sum_tensor(kind, layer)}"

    def _operations(self) -> None:
        activations = list(self.gathered.activations("ta", "tz", "da", "tda", "tdz"))
        losses = list(self.gathered.losses("ty", "tda", "scale"))
        evaluate_columns([*(job[0] for job in activations), *(job[0] for job in losses)])
        rest: list[tuple[Check, Array, str]] = []
        for columns, tensors in activations:
            ta, tz, da, tda, tdz = columns.widened(tensors)
            rest += self._strict(TangentCheck(columns, ta, tz), "tangent {}.a")
            rest += self._strict(ProductCheck(columns, tdz, tda, da, tz), "product {}.z")
        for columns, tensors in losses:
            ty, tda, scale = columns.widened(tensors)
            # The scale is a quotient, or a sum; a row's tangents are summed, too.
            roundings = self.batches[self.answer_of[columns.chunk]] + 4 + columns.width
            still = np.zeros_like(scale)  # the scale of the losses is constant
            check = ProductCheck(columns, tda, still, scale, ty, roundings)
            rest += self._strict(check, "product {}.a")
        self._weigh_rest(rest)
