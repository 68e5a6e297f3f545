"""Second order: how every tensor of an answer moves along a direction, judged where it happens.

A tape of order 2 has the slopes of an operation's values and of those slopes. With J the first and
H the second ones, at the answer's own numbers,

    ty_i  = Σ_k J_ik tx_k                                the tangent of a value
    tdx_j = Σ_i tdy_i J_ij + Σ_ik (dy_i tx_k) H_ikj      how a cotangent moves

so the second is the first-order question for C + C² cotangents, tdy and dy tx. A dense layer's are
sums of products of twice as many terms.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.arithmetic.columns import Column, wide
from reference.blocks.columns import Check, Columns, SlopeCheck, certify_columns
from reference.blocks.gather import Gathered, LossPlan, Parts
from reference.blocks.sums import SumCheck, padded
from reference.blocks.tapes import activation_tape
from reference.blocks.weigh import Weighed, Weighing
from reference.oracles import Answer
from reference.problems import DirectedProblem
from reference.rounding import Rounding, RoundingUnit

Array = npt.NDArray[Any]


def weigh_second(
    problems: Sequence[Problem],
    answers: Sequence[tuple[int, Answer]],
    models: Sequence[Rounding],
    subject: str,
    kept: float,
) -> Weighed:
    """Judge how whole answers move, each beside the index of its directed problem.

    Their values and cotangents are taken as they are: whether these are right is asked at order 1.
    """
    return _SecondWeighing(problems, answers, models, subject, kept).weighed


class DenseMoves(NamedTuple):
    """One dense layer of one answer: what goes in, and how what comes out moves."""

    chunk: int
    layer: int
    a: Array
    ta: Array
    weight: Array
    tweight: Array
    tbias: Array | None
    dz: Array
    tdz: Array
    tz: Array
    products: dict[str, Array]


class _SecondGathered(Gathered):
    """Every tensor of second order of every answer."""

    order = 2

    def _layers(self, number: int, problem: Problem, answer: Answer) -> None:
        assert isinstance(problem, DirectedProblem)
        direction, dtype = problem.direction, problem.dtype
        a, ta, moved_below = problem.x, direction["x"], answer.products["x"]
        for i, layer in enumerate(problem.network.layers):
            z, step = f"layers.{i}.z", f"layers.{i}.a"
            key = (dtype, *map(padded, (*a.shape, layer.width)))
            made = {"weight": answer.products[f"layers.{i}.weight"], "a": moved_below}
            if layer.bias:
                made["bias"] = answer.products[f"layers.{i}.bias"]
            moves: Any = DenseMoves(
                number, i, a, ta, problem.parameters[f"layers.{i}.weight"],
                direction[f"layers.{i}.weight"],
                direction[f"layers.{i}.bias"] if layer.bias else None,
                answer.gradients[z], answer.products[z], answer.tangents[z], made,
            )  # fmt: skip
            self.dense[key].append(moves)
            a, ta, moved_below = answer.values[step], answer.tangents[step], answer.products[step]
            self._activation(number, problem, answer, i)

    def _activation(self, number: int, problem: Problem, answer: Answer, i: int) -> None:
        layer = problem.network.layers[i]
        z, a = f"layers.{i}.z", f"layers.{i}.a"
        width = layer.width if layer.operation.rowwise else None
        tape = activation_tape(layer.operation, layer.parameters, width, 2)
        parts = self.activation_parts.setdefault(
            (tape, problem.dtype), Parts(width or 1, width is None, problem.dtype)
        )
        given = {
            "z": answer.values[z], "tz": answer.tangents[z], "ta": answer.tangents[a],
            "da": answer.gradients[a], "tda": answer.products[a], "tdz": answer.products[z],
        }  # fmt: skip
        if width is None:
            given = {key: array.ravel() for key, array in given.items()}
        parts.add(self._chunk(number, i), np.arange(len(given["z"])), **given)

    def _loss(self, number: int, problem: Problem, answer: Answer, plan: LossPlan) -> None:
        last = f"layers.{len(problem.network.layers) - 1}.a"
        y, ty, tda = answer.values[last], answer.tangents[last], answer.products[last]
        chunk, width = self._chunk(number, -1), y.shape[1]
        if plan.elementwise:
            y, ty, tda, width = y.ravel(), ty.ravel(), tda.ravel(), 1
        for tape, rows, scale, given in plan.groups:
            parts = self.loss_parts.setdefault(
                (tape, problem.dtype), Parts(width, plan.elementwise, problem.dtype)
            )
            arrays = {"y": y[rows], "ty": ty[rows], "tda": tda[rows], "scale": scale}
            if given is not None:
                arrays["given"] = given
            parts.add(chunk, rows, **arrays)


class TangentCheck(SlopeCheck):
    """The tangent of an activation's value: its Jacobian from the other side."""

    def slopes(self, found: Column) -> tuple[Array, Array]:
        """Return the first slopes by input, then by output; the second ones are left out."""
        c = self.columns.width
        return found.slope[:c].swapaxes(0, 1), found.slope_radius[:c].swapaxes(0, 1)

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "TangentCheck":
        """Return the check of some columns; `columns` are these, evaluated."""
        return TangentCheck(columns, self.given[:, which], self.da[:, which])


class ProductCheck(SlopeCheck):
    """How the cotangent of an operation's input moves, at the answer's own numbers.

    Of the products of three numbers each may be taken in any order: any two may underflow or
    overflow before the third makes up for it.
    """

    def __init__(
        self, columns: Columns, given: Array, tdy: Array, dy: Array, tx: Array,
        terms: Array | None = None,
    ) -> None:  # fmt: skip
        self.tdy, self.dy, self.tx = tdy, dy, tx
        poles = _poles(columns, len(dy))
        with np.errstate(all="ignore"):
            pairs = (dy[:, None] * tx[None]).reshape(-1, tx.shape[1])
        unit = np.finfo(pairs.dtype).eps
        cotangents = np.concatenate([tdy, pairs])
        radius = np.concatenate([np.zeros_like(tdy), 4 * unit * np.abs(pairs)])
        super().__init__(columns, given, cotangents, radius, terms)
        # Of what is no number, a slope or a cotangent, it cannot be said how it moves.
        numbers = np.isfinite(dy).all(axis=0) & np.isfinite(tx).all(axis=0)
        self.judged = self.judged & ~poles & numbers

    @property
    def count(self) -> int:
        """How many roundings the sum may have: of two products, or of two sums over a row."""
        return 4 if self.columns.elementwise else 2 * (self.columns.width + 2)

    def allowed(self, unit: RoundingUnit) -> Array:
        """Return how far each may be off."""
        outputs, width = len(self.dy), len(self.tx)
        second = np.abs(self.slope[outputs:]).reshape(outputs, width, *self.slope.shape[1:])
        dy, tx = np.abs(self.dy)[:, None, None], np.abs(self.tx)[None, :, None]
        moves = (self.dy != 0)[:, None, None] & (self.tx != 0)[None, :, None]
        with np.errstate(all="ignore"):
            pairs = dy * tx, dy * second, tx * second
            lost = dy + tx + second + sum(pairs)
            largest = np.where(moves, np.fmax(np.fmax(*pairs[:2]), pairs[2]), 0).max(axis=(0, 1))
            lost = unit.k * unit.floor * np.where(moves, lost, 0).sum(axis=(0, 1))
            return np.asarray(unit.bounded(super().allowed(unit) + lost, largest))

    def nudged(self) -> list[tuple[Columns, Columns]]:
        """Return the columns with each input one ulp further down, and up.

        Also the targets: y - t is rounded, and where a loss bends (at |y - t| = δ) it jumps.
        """
        return self.columns.nudged(len(self.columns.inputs))

    def of(self, columns: Columns, which: npt.NDArray[np.intp]) -> "ProductCheck":
        """Return the check of some columns; `columns` are these, evaluated."""
        terms = None if self.terms is None else self.terms[which]
        tdy, dy, tx = (part[:, which] for part in (self.tdy, self.dy, self.tx))
        return ProductCheck(columns, self.given[:, which], tdy, dy, tx, terms)


def _poles(columns: Columns, outputs: int) -> npt.NDArray[np.bool_]:
    """Return where a first slope is no number, (M,): arb says it of what the arrays leave open."""
    found = columns.found
    assert found is not None
    for _ in range(2):
        poles = ~np.isfinite(found.slope[:outputs]).all(axis=(0, 1))
        open_ = poles & ~columns.proven & columns.finite
        if not open_.any():
            break
        columns.prove(np.flatnonzero(open_))
    return np.asarray(poles)


class _SecondWeighing(Weighing):
    """The work of `weigh_second`."""

    gather = _SecondGathered

    def _sum_checks(self, dtype: np.dtype[Any], layers: Any) -> Iterator[SumCheck]:
        return second_sums(dtype, layers)

    def _sum_tensor(self, kind: str, layer: int) -> str:
        if kind == "z":
            return f"tangent layers.{layer}.z"
        return f"product {super()._sum_tensor(kind, layer)}"

    def _operations(self) -> None:
        activations = [(parts, parts.columns(tape, "z"))
                       for (tape, _), parts in self.gathered.activation_parts.items()]  # fmt: skip
        losses = [(parts, parts.columns(tape, "y", "given"))
                  for (tape, _), parts in self.gathered.loss_parts.items()]  # fmt: skip
        certify_columns([columns for _, columns in (*activations, *losses)])
        rest: list[tuple[Check, Array, str]] = []
        for parts, columns in activations:
            unit = self._units(columns.dtype)[0]
            ta, tz, da, tda, tdz = map(parts.array, ("ta", "tz", "da", "tda", "tdz"))
            rest += self._strict(TangentCheck(columns, ta, tz), unit, "tangent {}.a")
            rest += self._strict(ProductCheck(columns, tdz, tda, da, tz), unit, "product {}.z")
        for parts, columns in losses:
            unit = self._units(columns.dtype)[0]
            ty, tda, scale = map(parts.array, ("ty", "tda", "scale"))
            # The scale is a quotient, or a sum; a row's tangents are summed, too.
            terms = self.batches[self.answer_of[columns.chunk]] + 4 + columns.width
            still = np.zeros_like(scale)  # what the losses are multiplied by does not move
            check = ProductCheck(columns, tda, still, scale, ty, terms)
            rest += self._strict(check, unit, "product {}.a")
        self._weigh_rest(rest)


def second_sums(dtype: np.dtype[Any], layers: Sequence[DenseMoves]) -> Iterator[SumCheck]:
    """Yield the checks of dense layers of one size, each sum over two products side by side.

    tz = [ta, a] [W; tW] + tb, tdW = [taᵀ, aᵀ] [dz; tdz], tdb = 1ᵀ tdz, tda = [tdz, dz] [Wᵀ; tWᵀ].
    """
    number = wide(dtype)
    n, d_in, d_out = (
        padded(max(size))
        for size in zip(*((*t.a.shape, t.dz.shape[1]) for t in layers), strict=True)
    )

    def stacked(rows: int, columns: int, arrays: Sequence[Array | None]) -> Array:
        stack = np.zeros((len(layers), rows, columns), number)
        for k, array in enumerate(arrays):
            if array is not None:
                whole = np.atleast_2d(array)
                stack[k, : whole.shape[0], : whole.shape[1]] = whole
        return stack

    def each(rows: int, columns: int, name: str) -> Array:
        return stacked(rows, columns, [getattr(t, name) for t in layers])

    def products(rows: int, columns: int, name: str) -> Array:
        return stacked(rows, columns, [t.products.get(name) for t in layers])

    a, ta = each(n, d_in, "a"), each(n, d_in, "ta")
    dz, tdz, tz = (each(n, d_out, name) for name in ("dz", "tdz", "tz"))
    weight, tweight = each(d_in, d_out, "weight"), each(d_in, d_out, "tweight")
    tbias = each(1, d_out, "tbias")[:, 0]
    rows, ins, outs = np.array([(*t.a.shape, t.dz.shape[1]) for t in layers]).T
    of_n, of_in, of_out = (
        np.arange(p)[None] < size[:, None] for p, size in ((n, rows), (d_in, ins), (d_out, outs))
    )
    with_bias = np.array([t.tbias is not None for t in layers])
    these: Any = list(layers)
    yield SumCheck(
        "z", dtype, these, np.concatenate([ta, a], 2), np.concatenate([weight, tweight], 1),
        tbias, tz, of_n[:, :, None] & of_out[:, None], 2 * ins + 1, 2 * d_in + 1,
    )  # fmt: skip
    yield SumCheck(
        "weight", dtype, these, np.concatenate([ta, a], 1).swapaxes(1, 2),
        np.concatenate([dz, tdz], 1), None,
        products(d_in, d_out, "weight"), of_in[:, :, None] & of_out[:, None], 2 * rows, 2 * n,
    )  # fmt: skip
    yield SumCheck(
        "bias", dtype, these, of_n[:, None, :].astype(number), tdz, None,
        products(1, d_out, "bias"), (of_out & with_bias[:, None])[:, None], rows, n,
    )  # fmt: skip
    back = np.concatenate([weight.swapaxes(1, 2), tweight.swapaxes(1, 2)], 1)
    yield SumCheck(
        "a", dtype, these, np.concatenate([tdz, dz], 2), back, None, products(n, d_in, "a"),
        of_n[:, :, None] & of_in[:, None], 2 * outs, 2 * d_out,
    )  # fmt: skip
