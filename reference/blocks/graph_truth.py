"""The certified value of each tensor of answers to graphs of one structure, given the others.

All answers to the problems of a group lie in one stack: every array has a leading axis B, one for
each answer. Each step's rows are columns of its tape (`steps`), evaluated with error bounds. The
true value of a step is the tape's; a true cotangent is the sum of cotangent · slope over all steps
that take the value. A step has R rows: M = B·R columns, each with K inputs, J values and S slopes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from flint import arb

from manual_backprop.graph import Graph
from manual_backprop.operation import LayerOperation
from reference.arithmetic.evaluation import EXTENDED, ColumnValues, Job, evaluate, wide
from reference.arithmetic.tape import Tape
from reference.blocks.columns import as_numbers, distinct
from reference.blocks.rounded import formula_errors
from reference.blocks.steps import Scatter, StepPlan, plan_of
from reference.formats import Array, format_of
from reference.rounding import RoundingUnit

AT_ONCE = 512
"""Columns of a tape that are evaluated at once with moved inputs, to limit memory."""

_SMALL = (
    2.0**-30
)  # an error bound is small if it is below this share of its column's largest number


@dataclass
class TensorTruth:
    """One tensor of B answers and its certified value: (B, entries) each."""

    name: str
    given: Array
    truth: Array
    radius: Array  # error bound of the truth
    hull: Array  # half the width of the interval of right values at a kink, 0 elsewhere
    allowed: Array  # how far the model of rounding lets an entry be off
    judged: npt.NDArray[np.bool_]  # False where no truth is known
    magnitude_to_keep: Array  # the hand-written side's error must stay below a share of it
    may_lose_digits: bool  # whether the textbook model applies

    def part(self, name: str, entries: slice) -> "TensorTruth":
        """Return some of the entries under a name of their own."""
        return TensorTruth(
            name, self.given[:, entries], self.truth[:, entries], self.radius[:, entries],
            self.hull[:, entries], self.allowed[:, entries], self.judged[:, entries],
            self.magnitude_to_keep[:, entries], self.may_lose_digits,
        )  # fmt: skip

    @property
    def error(self) -> Array:
        """The distance from the truth, or from the interval of right values at a kink.

        It is infinite where the answer is NaN.
        """
        with np.errstate(all="ignore"):
            error = np.abs(self.given - self.truth)
            same = np.isinf(self.given) & (self.given == self.truth)
            error = np.where(same, 0, np.where(np.isnan(error), np.inf, error))
            return np.asarray(np.maximum(error - self.hull, 0))


@dataclass
class Stack:
    """B answers to problems of one graph: all arrays in the wider type, by name, (B, entries).

    The plans also depend on the integer arrays. So all problems of a stack have the same ones.
    """

    graph: Graph
    dtype: np.dtype
    values: Mapping[str, Array]
    gradients: Mapping[str, Array]
    cotangents: Mapping[str, Array]
    plans: Sequence[StepPlan]

    def at(self, which: npt.NDArray[np.intp], flush: float = 0.0) -> "Stack":
        """Return some of the answers, with numbers below `flush` replaced by zero."""

        def some(arrays: Mapping[str, Array]) -> dict[str, Array]:
            taken = {name: array[which] for name, array in arrays.items()}
            if flush:
                taken = {n: np.where(np.abs(a) < flush, 0, a) for n, a in taken.items()}
            return taken

        values, gradients, cotangents = map(some, (self.values, self.gradients, self.cotangents))
        return Stack(self.graph, self.dtype, values, gradients, cotangents, self.plans)


def stack_plans(
    graph: Graph,
    arrays: Mapping[str, Array],
    shapes: Mapping[str, tuple[int, ...]],
    order: int = 1,
) -> list[StepPlan]:
    """Return the plan of each step; `arrays` are the problem's, `shapes` those of the steps."""
    known: dict[str, Array] = dict(arrays)
    plans = []
    for step in graph.steps:
        plans.append(plan_of(step, step.arrays(known), shapes[step.name], order))
        known[step.name] = np.broadcast_to(np.float64(0), shapes[step.name])
    return plans


@dataclass
class StepRows:
    """A step's rows as columns of its tape: inputs (K, B·R), and the certified results.

    `moves`, for each type of ulp: how far the values and slopes surely move when each input moves
    by an ulp, (J + S, B·R), and how much farther they may move.
    """

    plan: StepPlan
    inputs: Array
    found: ColumnValues | None = None
    suspects: npt.NDArray[np.intp] | None = None  # the columns that need `moves`; None means all
    by_arb: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    moves: dict[np.dtype, tuple[Array, Array]] = field(default_factory=dict)

    @property
    def values(self) -> Array:
        """The values, then the slopes, (J + S, B·R)."""
        assert self.found is not None
        return self.found.value

    @property
    def radii(self) -> Array:
        """The error bounds of the values and slopes, (J + S, B·R)."""
        assert self.found is not None
        return self.found.value_radius

    @property
    def wanted(self) -> npt.NDArray[np.intp]:
        """The columns that need `moves`."""
        return np.arange(self.inputs.shape[1]) if self.suspects is None else self.suspects

    def evaluate_with_arb(self, columns: npt.NDArray[np.intp], dtype: np.dtype) -> None:
        """Replace the values of some columns by those that arb certifies."""
        assert self.found is not None
        _evaluate_with_arb(self.plan.row.tape, self.inputs, self.found, columns, dtype)
        self.by_arb = np.union1d(self.by_arb, columns)


def _evaluate_with_arb(
    tape: Tape,
    inputs: Array,
    found: ColumnValues,
    columns: npt.NDArray[np.intp],
    dtype: np.dtype,
) -> None:
    """Replace some columns of `found`, a tape's values at inputs (K, M), by those of arb."""
    negligible = arb(format_of(dtype).smallest) / 2**30
    number = wide(dtype)
    if not len(columns):
        return
    first, same = distinct(inputs[:, columns], np.zeros(len(columns), np.intp))
    for here, m in enumerate(columns[first].tolist()):
        made = tape.evaluate_with_arb([arb(float(v)) for v in inputs[:, m]], negligible)
        alike = columns[same == here]
        for k, ball in enumerate(made.values):
            middle, radius = as_numbers(ball, number)
            found.value[k, alike], found.value_radius[k, alike] = middle, radius
        found.tied[alike] = made.tied


def rows_of_stack(stack: Stack) -> list[StepRows]:
    """Lay out the rows of every step."""
    made = []
    for plan in stack.plans:
        parts = []
        for k, argument in enumerate(plan.arguments):
            array = stack.values[plan.step.inputs[argument]]
            padded = np.concatenate([array, np.zeros((len(array), 1), array.dtype)], axis=1)
            parts.append(padded[:, plan.index[:, plan.owner == k]])
        parts.append(np.broadcast_to(plan.numbers, (len(array), *plan.numbers.shape)))
        inputs = np.concatenate(parts, axis=2)  # (B, R, K)
        made.append(StepRows(plan, np.ascontiguousarray(inputs.reshape(-1, inputs.shape[2]).T)))
    return made


def certify_rows(rows: Sequence[StepRows], dtype: np.dtype) -> None:
    """Evaluate the rows of all steps at once."""
    found = evaluate([Job.of(r.plan.row.tape, r.inputs) for r in rows], wide(dtype))
    for r, column in zip(rows, found, strict=True):
        r.found = column
        finite = np.isfinite(r.inputs).all(axis=0)
        loose = ~np.isfinite(column.value_radius).all(axis=0) | np.isnan(column.value).any(axis=0)
        loose = loose | (dtype == np.float64 and not EXTENDED)
        r.evaluate_with_arb(np.flatnonzero(loose & finite), dtype)


class Truths:
    """The tensors of a stack under a model of rounding."""

    def __init__(self, stack: Stack, rows: Sequence[StepRows]) -> None:
        self.stack, self.rows = stack, rows
        self.b = len(next(iter(stack.values.values())))

    def suspect(self, outside: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Compute `moves` only for the rows that these entries depend on."""
        for r in self.rows:
            r.suspects = self._columns(r, outside)

    def evaluate_with_arb(self, doubtful: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Certify with arb the rows that these entries depend on."""
        for r in self.rows:
            columns = self._columns(r, doubtful)
            columns = columns[np.isfinite(r.inputs[:, columns]).all(axis=0)]
            r.evaluate_with_arb(columns, self.stack.dtype)
            for dtype in r.moves:
                with np.errstate(all="ignore"):
                    _move(r, dtype, np.intersect1d(columns, r.wanted))

    def evaluate_moves_with_arb(self, between: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Certify with arb how far these entries move."""
        for r in self.rows:
            for dtype in r.moves:
                columns = self._columns(r, between)
                with np.errstate(all="ignore"):
                    _move(r, dtype, columns, with_arb=True)

    def _columns(
        self, r: StepRows, entries: Mapping[str, npt.NDArray[np.bool_]]
    ) -> npt.NDArray[np.intp]:
        """Return the rows of a step that take or make any of these entries."""
        plan = r.plan
        wanted = np.zeros((self.b, plan.rows), bool)
        for k, argument in enumerate(plan.arguments):
            taken = entries.get(plan.step.inputs[argument])
            if taken is not None:
                padded = np.concatenate([taken, np.zeros((self.b, 1), bool)], axis=1)
                wanted |= padded[:, plan.index[:, plan.owner == k]].any(axis=2)
        if (made := entries.get(f"forward {plan.step.name}")) is not None:
            wanted |= made[:, plan.output].any(axis=2)
        return np.flatnonzero(wanted)

    def tensors(
        self, unit: RoundingUnit, moved: bool = False, most: bool = False
    ) -> list[TensorTruth]:
        """Return every tensor, with the errors that a model of rounding allows.

        `moved`: also allow the change of each slope when each input moves by an ulp, and the same
        for values whose slopes are unknown (√ at 0). These changes are known between two bounds:
        the lower one is allowed, or the upper one if `most`.
        """
        with np.errstate(all="ignore"):
            slacks = [_Slack(r, unit, moved, most) for r in self.rows]
            made = [self._value(r, slack, unit) for r, slack in zip(self.rows, slacks, strict=True)]
            return [*made, *self._cotangents(slacks, unit)]

    def _spread(self, r: StepRows, columns: Array) -> Array:
        """Return (J or S, B·R) as (B, R, J or S)."""
        return columns.reshape(len(columns), self.b, r.plan.rows).transpose(1, 2, 0)

    def _value(self, r: StepRows, slack: "_Slack", unit: RoundingUnit) -> TensorTruth:
        plan, j = r.plan, r.plan.row.values
        name = plan.step.name
        given = self.stack.values[name]

        def placed(columns: Array) -> Array:
            out: Array = np.zeros((self.b, given.shape[1]), columns.dtype)
            out[:, plan.output] = self._spread(r, columns)
            return out

        finite = np.broadcast_to(np.isfinite(r.inputs).all(axis=0), (j, r.inputs.shape[1]))
        truth = placed(r.values[:j])
        size = np.abs(truth)
        judged = placed(finite) & ~np.isnan(truth)
        moves = plan.structure == "movement"
        ends = 0 if moves else unit.result_rounding(size)
        kept = np.full_like(size, np.inf) if plan.structure == "rows" else size
        if plan.structure == "contraction":
            kept = placed(slack.through)
        # A sum may leave the range on the way to its value.
        largest = kept if plan.structure == "contraction" else size
        allowed = np.asarray(unit.allow_overflow(placed(slack.value) + ends, largest))
        radius = placed(r.radii[:j])
        tied = np.broadcast_to(r.found.tied, (j, r.inputs.shape[1])).copy()  # type: ignore[union-attr]
        tied[: j // 2 if plan.row.tangents else j] = False  # a value is one number
        hull = np.where(placed(tied), radius, 0)
        may_lose_digits = plan.structure in _lossy_structures(unit)
        return TensorTruth(f"forward {name}", given, truth, radius, hull, allowed,
                      judged, kept, may_lose_digits)  # fmt: skip

    def _cotangents(self, slacks: Sequence["_Slack"], unit: RoundingUnit) -> list[TensorTruth]:
        sums = {name: _Sum(array, self.stack.cotangents.get(name))
                for name, array in self.stack.gradients.items()}  # fmt: skip
        for r, slack in zip(self.rows, slacks, strict=True):
            plan, s = r.plan, r.plan.row
            dy = self.stack.gradients[plan.step.name][:, plan.output][:, :, s.of]  # (B, R, S)
            slope, radius = (self._spread(r, v[s.values :]) for v in (r.values, r.radii))
            tied = r.found.tied.reshape(self.b, plan.rows, 1)  # type: ignore[union-attr]
            live = dy != 0
            term = np.where(live, dy * slope, 0)
            spread = np.where(live, np.abs(dy) * radius, 0)
            hull = np.where(tied, spread, 0)
            own = np.abs(dy) * self._spread(r, slack.slope)
            if plan.structure == "rows":
                own = own + unit.cotangent_underflow(np.abs(slope))
                if plan.row.adds_up_products:
                    own = own + self._spread(r, _partial_products(r, unit))
            if plan.row.tangents and plan.structure != "movement":
                own = own + unit.cotangent_underflow(self._spread(r, _factors(r)))
            own = np.where(live, own, 0)
            inputs = np.isfinite(r.inputs).all(axis=0).reshape(self.b, plan.rows, 1)
            known = inputs & np.isfinite(dy) & ~np.isnan(term)
            parts = term, spread, hull, own, np.abs(term), (~known).astype(term.dtype)
            flat = [np.ascontiguousarray(p).reshape(self.b, -1) for p in parts]
            for scatter in plan.scatters:
                sums[plan.step.inputs[scatter.argument]].add(scatter, flat, plan.structure, unit)
            if unit.model.nested and isinstance(plan.step.description, LayerOperation):
                lost = self._lost_along(r, unit)
                for name in {plan.step.inputs[s.argument] for s in plan.scatters}:
                    sums[name].own = sums[name].own + lost
        return [total.tensor(name, unit) for name, total in sums.items()]

    def _lost_along(self, r: StepRows, unit: RoundingUnit) -> Array:
        """Return how far s = ⟨tdy, y⟩ + ⟨dy, ty⟩ of a step may be off by rounding, (B, 1).

        Nested forward mode differentiates s by each entry of the step's inputs. For an entry on
        which s does not depend, its terms cancel, and their rounding errors remain.
        """
        plan = r.plan
        lost = formula_errors(plan.row.tape, r.inputs, unit, multiplied_out=True)
        lost = self._spread(r, lost[: plan.row.values])
        dy = np.abs(self.stack.gradients[plan.step.name][:, plan.output])  # (B, R, J)
        lost = np.where(dy != 0, dy * lost, 0).sum(axis=(1, 2))
        return np.asarray(np.where(np.isfinite(lost), lost, 0)[:, None])


class _Sum:
    """The cotangent of one value, added up over the steps that take it."""

    def __init__(self, given: Array, start: Array | None) -> None:
        self.given = given
        b, size = given.shape
        shape = (b, size)
        self.truth = np.zeros(shape, given.dtype) if start is None else start.copy()
        self.magnitude = np.abs(self.truth)
        self.radius, self.hull, self.own = (np.zeros(shape, given.dtype) for _ in range(3))
        self.unknown = np.zeros(shape, given.dtype)
        self.count = np.zeros(size) if start is None else np.ones(size)
        self.structures: set[str] = set()
        self.parts = self.truth[None] if start is not None else self.truth[None][:0]

    def add(
        self, scatter: Scatter, parts: Sequence[Array], structure: str, unit_of: RoundingUnit
    ) -> None:
        """Add the terms of one step; in a low dtype also the rounding of its result."""
        size = self.given.shape[1]
        term, radius, hull, own, magnitude, unknown = (scatter.sums(p, size) for p in parts)
        unit = np.finfo(self.given.dtype).eps
        self.truth = self.truth + term
        self.magnitude = self.magnitude + magnitude
        added = np.zeros(size)
        added[scatter.entries] = np.diff([*scatter.starts, len(scatter.which)])
        self.count += added
        if unit_of.low:
            sums = added > (structure == "movement")  # a number that is moved alone stays
            own = own + np.where(sums, unit_of.result_rounding(np.abs(term) + hull), 0)
            self.parts = np.concatenate([self.parts, term[None]])
        self.radius = self.radius + radius + (self.count + 1) * unit * self.magnitude
        self.hull, self.own = self.hull + hull, self.own + own
        self.unknown = self.unknown + unknown
        self.structures.add(structure)

    def tensor(self, name: str, unit: RoundingUnit) -> TensorTruth:
        """Return the tensor."""
        allowed = self.own + unit.sum_rounding(self.count + 2, self.magnitude)
        allowed = allowed + unit.input_rounding(self.magnitude)
        if len(self.parts) > 1:  # where several steps take a value, each addition ends
            allowed = allowed + unit.result_rounding(
                np.abs(self.parts).sum(axis=0), len(self.parts) - 1.0
            )
        if self.structures & {"rows", "elementwise"}:
            allowed = allowed + unit.k * unit.floor
        allowed = np.asarray(unit.allow_overflow(allowed, self.magnitude))
        judged = (self.unknown == 0) & ~np.isnan(self.truth) & np.isfinite(self.magnitude)
        rows = "rows" in self.structures
        kept = np.full_like(self.magnitude, np.inf) if rows else self.magnitude
        may_lose_digits = bool(self.structures & _lossy_structures(unit))
        bounds = self.truth, self.radius, self.hull, allowed
        return TensorTruth(name, self.given, *bounds, judged, kept, may_lose_digits)


def _lossy_structures(unit: RoundingUnit) -> set[str]:
    """Return the structures that the textbook model applies to.

    Sums are among them only if they are accumulated in a low dtype.
    """
    sums = {"contraction"} if unit.applies_to_sums and unit.model.textbook else set()
    return {"rows", "elementwise"} | sums


class _Slack:
    """How far the values and the slopes of a step's rows may be rounded: (J, M) and (S, M).

    `through` is Σ |slope · input| of each value: what relative errors of the inputs change in it.
    `moved`, `most`: see `Truths.tensors`.
    """

    def __init__(self, r: StepRows, unit: RoundingUnit, moved: bool, most: bool) -> None:
        self.r, self.unit, self.row = r, unit, r.plan.row
        structure, j = r.plan.structure, r.plan.row.values
        values, slopes = np.abs(r.values[:j]), np.abs(r.values[j:])
        if structure == "movement":
            self.value, self.slope = np.zeros_like(values), np.zeros_like(slopes)
            return
        inputs = np.abs(r.inputs)
        # One ulp of each input; of rows and sums, which add up K numbers, K half units of it.
        terms = 2.0 if structure == "elementwise" else float(len(r.inputs)) / 2 + 3
        through = np.zeros_like(values)
        reach = np.where(slopes == 0, 0, slopes * inputs[self.row.by])
        np.add.at(through, self.row.of, reach)
        moved_by = terms * unit.input_u * through
        self.through = through
        if structure == "contraction":
            self.value, self.slope = moved_by + terms * unit.floor, np.zeros_like(slopes)
            return
        layer = isinstance(r.plan.step.description, LayerOperation)
        sizes = inputs.max(axis=0, keepdims=True)
        self._across = sizes if structure == "elementwise" else 0.0
        self._layer = layer
        # Under the textbook model a layer may lose what its own formula loses.
        own = unit.ulps(values) + self._underflow(sizes) if layer else unit.value(values, sizes)
        turned = self._rounded(slopes) + self._underflow(sizes)
        if self.row.adds_up_products:
            own = own + _partial_products(r, unit)
            turned = turned + len(inputs) * unit.floor
        self.value = own + moved_by
        self.slope = np.asarray(unit.allow_overflow(turned, slopes))
        if self.row.tangents:
            self._second_slopes(slopes, inputs)
        if moved:
            by = terms / 2 * self._moves(most)
            self.value = np.where(np.isnan(through), own + by[:j], self.value)
            self.slope = self.slope + by[j:]
        self._tangents(inputs)
        if self.row.tangents:
            self.value[j // 2 :] += unit.cotangent_underflow(_factors(r))
        if unit.model.formula and layer:
            lost = unit.model.formula * formula_errors(self.row.tape, r.inputs, unit)
            self.value, self.slope = self.value + lost[:j], self.slope + lost[j:]

    def _moves(self, most: bool) -> Array:
        """Return how far values and slopes move with an ulp of each input, (J + S, M)."""
        r, dtype = self.r, self.unit.input_dtype
        if dtype not in r.moves:
            r.moves[dtype] = np.zeros_like(r.values), np.zeros_like(r.values)
            _move(r, dtype, r.wanted)
        surely, unsure = r.moves[dtype]
        return surely + unsure if most else surely

    def _underflow(self, sizes: Array) -> Array | float:
        """Return what x σ(z) loses where σ(z) underflows and a large x multiplies it."""
        factors = self._layer and self.r.plan.structure == "elementwise" and len(self.r.inputs) > 1
        return self.unit.k * self.unit.floor * sizes if factors else 0.0

    def _rounded(self, slopes: Array) -> Array:
        """Return how far slopes may be rounded."""
        if self._layer:
            return np.asarray(self.unit.ulps(slopes))
        return np.asarray(self.unit.slope(slopes, self._across))

    def _second_slopes(self, slopes: Array, inputs: Array) -> None:
        """Allow in Σ H tx for the rounding of each H, at the size of tx."""
        row, unit = self.row, self.unit
        second = ~np.isin(row.by, row.tangents) & (row.of >= row.values // 2)
        largest = inputs[list(row.tangents)].max(axis=0, initial=0, keepdims=True)
        scaled = np.where(largest > 0, slopes[second] / np.where(largest > 0, largest, 1), 0)
        bend = largest * self._rounded(scaled) + unit.k * unit.floor
        self.slope[second] = unit.allow_overflow(bend, slopes[second])

    def _tangents(self, inputs: Array) -> None:
        """Allow in ty = Σ J tx for the rounding of each J."""
        first = np.isin(self.row.by, self.row.tangents)
        tx = inputs[self.row.by[first]]
        lost = np.where(tx == 0, 0, tx * self.slope[first])
        np.add.at(self.value, self.row.of[first], lost)


def _partial_products(r: StepRows, unit: RoundingUnit) -> Array:
    """Return what a sum of products of three numbers loses where they underflow, (1, M).

    A product (a b) c loses at most floor · |c| where a b underflows, and floor where the whole
    does. There are fewer terms than inputs K; in the three sums of a tangent, fewer than 3/2 K.
    """
    terms = (1.5 if r.plan.row.tangents else 1.0) * len(r.inputs)
    largest = np.abs(r.inputs).max(axis=0, initial=0, keepdims=True)
    return np.asarray(terms * unit.floor * (1 + largest))


def _factors(r: StepRows) -> Array:
    """Return (1 + largest weight) · (1 + largest tangent), (1, M).

    A number that has underflowed may be multiplied by both.
    """
    inputs, tangents = np.abs(r.inputs), r.plan.row.tangents
    weights = inputs[: tangents.start].max(axis=0, initial=0, keepdims=True)
    return np.asarray((1 + weights) * (1 + inputs[list(tangents)].max(axis=0, initial=0)))


def _move(
    r: StepRows, dtype: np.dtype, wanted: npt.NDArray[np.intp], with_arb: bool = False
) -> None:
    """Set `moves` of some columns: how far an ulp of each input moves each value and slope, summed.

    A result is known only to its error bound. So a change is known between a lower bound (`surely`)
    and an upper bound (`surely + unsure`).
    """
    surely, unsure = r.moves[dtype]
    by = np.unique(r.plan.row.by)
    if not len(wanted) or not len(by):
        return
    first, same = distinct(r.inputs[:, wanted], np.zeros(len(wanted), np.intp))
    columns, m = wanted[first], len(first)
    least, most = np.zeros((2, len(surely), m), surely.dtype)
    for some in np.array_split(by, min(len(by), 1 + m * len(by) // AT_ONCE)):
        up, down = (_distances(r, columns, some, dtype, sign, with_arb) for sign in (1, -1))
        for total, moved in zip((least, most), map(np.fmax, up, down), strict=True):
            total += np.nan_to_num(moved, nan=0.0, posinf=0.0).sum(axis=1)
    surely[:, wanted], unsure[:, wanted] = least[:, same], (most - least)[:, same]


def _distances(
    r: StepRows, columns: npt.NDArray[np.intp], some: npt.NDArray[np.intp], dtype: np.dtype,
    sign: int, with_arb: bool,
) -> tuple[Array, Array]:  # fmt: skip
    """Return how far values and slopes surely move, and may move, if one input moves by an ulp.

    Both are (J + S, inputs, M). The input moves away from zero, or towards it (sign -1). The ulp
    towards zero is not larger, so it matters only near a decision; elsewhere the result is 0. In a
    low dtype an ulp may reach a decision that is not near, so it is always tried.
    """
    found = r.found
    assert found is not None
    which = np.arange(len(columns))
    if sign < 0 and not format_of(dtype).low:
        which = np.flatnonzero(found.near[columns])
    moved = np.zeros((2, len(r.values), len(some), len(columns)), r.values.dtype)
    if len(which):
        at = columns[which]
        there = _shifted(r, at, some, dtype, sign, with_arb)
        shape = (-1, len(some), len(at))
        tied, tied_there = found.tied[at], there.tied.reshape(shape)[0]
        radius, off = r.radii[:, at][:, None], there.value_radius.reshape(shape)
        sure = np.where(tied_there, off, 0) - np.where(tied, radius, 0)
        maybe = np.where(tied_there, 0, off) + np.where(tied, 0, radius)
        beyond = np.abs(there.value.reshape(shape) - r.values[:, at][:, None]) + sure
        moved[0][..., which] = np.maximum(beyond - maybe, 0)
        moved[1][..., which] = np.maximum(beyond + maybe, 0)
    return moved[0], moved[1]


def _shifted(
    r: StepRows, columns: npt.NDArray[np.intp], some: npt.NDArray[np.intp], dtype: np.dtype,
    sign: int, with_arb: bool,
) -> ColumnValues:  # fmt: skip
    """Evaluate columns with each of some inputs in turn moved by an ulp (see `_distances`)."""
    inputs = np.tile(r.inputs[:, columns], (len(some), 1, 1))
    for place, k in enumerate(some.tolist()):
        at = inputs[place, k].astype(dtype)
        inputs[place, k] = np.nextafter(at, np.copysign(np.inf, sign * at).astype(dtype))
    laid = inputs.swapaxes(0, 1).reshape(len(r.inputs), -1)
    tape = r.plan.row.tape
    (there,) = evaluate([Job.of(tape, laid)], r.inputs.dtype, radii=False)
    # An ulp of an input hardly changes an error bound that is small, where no decision is near.
    largest, radii = np.abs(r.values[:, columns]).max(axis=0), r.radii[:, columns]
    there.value_radius[:] = np.tile(radii, len(some))
    small = (radii <= _SMALL * largest).all(axis=0)
    small &= ~np.isin(columns, r.by_arb)  # their bound is not one of this evaluation
    open_ = np.flatnonzero(there.near | ~np.tile(small, len(some)))
    if len(open_):
        (again,) = evaluate([Job.of(tape, laid[:, open_])], r.inputs.dtype)
        there.value[:, open_], there.value_radius[:, open_] = again.value, again.value_radius
        there.tied[open_] = again.tied
    if with_arb:
        finite = np.isfinite(laid).all(axis=0)
        _evaluate_with_arb(tape, laid, there, np.flatnonzero(finite & ~there.tied), dtype)
    return there
