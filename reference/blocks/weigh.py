"""Compares every tensor of every answer in a block with the models of rounding, one by one.

To *weigh* an answer means to find, for each of its tensors, the first model that allows its error.
Entries inside the first model (*strict*) are right and are not compared again. Of the others, the
worst entry of each tensor is recorded, with the first model that allows its error, or none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_backprop.network import Problem
from reference.blocks.columns import (
    Check,
    Columns,
    SlopeCheck,
    ValueCheck,
    conditioning,
    evaluate_columns,
    losses_in_float64,
    surely_right,
    undecided_in_float64,
)
from reference.blocks.gather import Gathered
from reference.blocks.losses import LossCheck, LossTerms, loss_checks
from reference.blocks.sums import SumCheck, sum_checks
from reference.formats import format_of
from reference.oracles import Answer
from reference.rounding import Rounding, RoundingUnit

Array = npt.NDArray[Any]
_WithTensors = tuple[Columns, list[Array]]  # columns, and other tensors of the answers there

_LAYERS_AT_ONCE = 1 << 16  # numbers in a stack of dense layers: they stay in the cache
_APART = 1e-3  # slopes at a kink that differ by less than this share of the interval are equal


class TensorFinding(NamedTuple):
    """The worst entry of one tensor of one answer, if it is outside *strict*.

    `model` is the first model that allows its error, None if none does. `error` is the distance of
    the entry from its certified value, `allowed` the largest error that a tried model allows.
    `reason` says what else is wrong, for example a missing tensor.
    """

    oracle: str
    tensor: str
    model: Rounding | None
    entry: tuple[int, ...]
    error: float
    allowed: float
    reason: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether no model of rounding allows the error."""
        return self.model is None


class KinkSlope(NamedTuple):
    """The slope that an answer took at an entry where a kink was met exactly.

    `taken` is 0 for the lower of the two one-sided slopes, 1 for the upper, 0.5 for their mean.
    """

    oracle: str
    tensor: str
    entry: tuple[int, ...]
    taken: float


@dataclass
class Weighed:
    """The findings of each answer, by the answer's number; the slopes at kinks of each problem.

    `entries`: how many numbers were compared.
    """

    findings: dict[int, list[TensorFinding]] = field(default_factory=dict)
    kink_slopes: dict[int, list[KinkSlope]] = field(default_factory=dict)
    entries: int = 0


def weigh(
    problems: Sequence[Problem],
    answers: Sequence[tuple[int, Answer]],
    models: Sequence[Rounding],
    subject: str,
    max_lost_share: float,
) -> Weighed:
    """Compare complete answers, each given with the index of its problem, with `models`.

    `subject` is the side under test. No model with flush to zero excuses it (NumPy does not flush).
    Under the textbook model its error must stay below `max_lost_share` of the number itself.
    """
    return Weighing(problems, answers, models, subject, max_lost_share).weighed


class Weighing:
    """The work of `weigh`: gather the tensors of all answers, judge sums, then operations."""

    gather, sum_checks = Gathered, staticmethod(sum_checks)

    def __init__(
        self,
        problems: Sequence[Problem],
        answers: Sequence[tuple[int, Answer]],
        models: Sequence[Rounding],
        subject: str,
        max_lost_share: float,
    ) -> None:
        self.max_lost_share = max_lost_share
        self.problems, self.answers, self.models = problems, answers, models
        self.weighed = Weighed()
        self._units_of: dict[Any, list[RoundingUnit]] = {}
        # True for the other sides: to them the models without `applies_to_manual` apply, too.
        self.excused = np.array([answer.oracle != subject for _, answer in answers], bool)
        self.gathered = self.gather(problems, answers)
        for number, tensor, reason in self.gathered.malformed:
            self._keep(number, tensor, None, (), np.inf, 0.0, reason)
        chunks = self.gathered.chunks or [(0, 0)]
        self.answer_of = np.array([answer for answer, _ in chunks])
        self.batches = np.array([problems[p].batch for p, _ in answers])
        self._sums()
        self._operations()

    def _keep(
        self, number: int, tensor: str, model: Rounding | None, entry: tuple[int, ...],
        error: float, allowed: float, reason: str = "",
    ) -> None:  # fmt: skip
        oracle = self.answers[number][1].oracle
        found = TensorFinding(oracle, tensor, model, entry, error, allowed, reason)
        self.weighed.findings.setdefault(number, []).append(found)

    def _units(self, dtype: np.dtype[Any]) -> list[RoundingUnit]:
        """Return the units of each model, the same ones whenever they are asked for."""
        if dtype not in self._units_of:
            self._units_of[dtype] = [RoundingUnit(dtype, model) for model in self.models]
        return self._units_of[dtype]

    # -- dense layers -------------------------------------------------------------------------

    def _sums(self) -> None:
        for (dtype, *_, n, d_in, d_out), layers in self.gathered.dense.items():
            many = max(1, _LAYERS_AT_ONCE // (n * d_in + d_in * d_out + n * d_out))
            for start in range(0, len(layers), many):
                for check in self.sum_checks(dtype, layers[start : start + many]):
                    self._sum(check, self._units(dtype))

    def _sum_tensor(self, kind: str, layer: int) -> str:
        """Return the name of the tensor that a sum makes."""
        if kind == "a":
            return f"layers.{layer - 1}.a" if layer else "x"
        return f"{'forward ' if kind == 'z' else ''}layers.{layer}.{kind}"

    def _sum(self, check: SumCheck, units: list[RoundingUnit]) -> None:
        """Compare the sums that are outside *strict*; record the worst entry of each tensor."""
        self.weighed.entries += int(np.count_nonzero(check.inside))
        which = check.suspects(units[0])
        if not len(which):
            return
        check = check.take(which)
        with np.errstate(all="ignore"):
            outside = check.judged & ~(check.error + check.radius <= check.allowed(units[0]))
        which = np.flatnonzero(outside.any(axis=(1, 2)))
        if not len(which):
            return
        check, at = check.take(which), np.nonzero(outside[which])
        owner = np.array([layer.chunk for layer in check.layers])
        usable = [k for k, unit in enumerate(units) if unit.applies_to_sums]
        bounds = np.array([check.allowed(units[k])[at] for k in usable], np.float64)
        subject = ~self.excused[owner[at[0]]]
        limit = bounds[0] + self.max_lost_share * check.magnitude[at]
        for row, k in enumerate(usable[1:], 1):
            most = limit if units[k].model.applies_to_manual else 0.0
            bounds[row] = np.where(subject, np.minimum(bounds[row], most), bounds[row])
        error, levels = check.levels(at, bounds)
        for entry in _worst(levels, error, at[0]):
            level, (m, i, j) = int(levels[entry]), (int(axis[entry]) for axis in at)
            layer = check.layers[m]
            model = self.models[usable[level]] if level < len(usable) else None
            self._keep(
                layer.chunk, self._sum_tensor(check.kind, layer.layer), model,
                (j,) if check.kind == "bias" else (i, j), float(error[entry]),
                float(bounds[: level + 1, entry].max()),
            )  # fmt: skip

    # -- operations ---------------------------------------------------------------------------

    def _operations(self) -> None:
        jobs = [
            self._undecided_in_float64(*job) for job in self.gathered.activations("a", "da", "dz")
        ]
        activations = [job for job in jobs if len(job[0].tape)]
        losses = list(self.gathered.losses("scale", "da"))
        open_losses = [self._open_losses(*job) for job in losses]
        evaluate_columns([*(job[0] for job in activations), *(job[1] for job in open_losses)])
        rest: list[tuple[Check, Array, str]] = []
        for columns, tensors in activations:
            columns, (a, da, dz) = self._not_surely_right(columns, columns.widened(tensors))
            rest += self._strict(ValueCheck(columns, a), "forward {}.a")
            rest += self._strict(SlopeCheck(columns, dz, da), "{}.z")
        for (every, _), (which, columns, tensors) in zip(losses, open_losses, strict=True):
            scale, da = columns.widened(tensors)
            self._settle(columns)
            if columns is not every:
                every.put(which, columns)
            unit = np.finfo(scale.dtype).eps
            roundings = self.batches[self.answer_of[columns.chunk]] + 4
            check = SlopeCheck(columns, da, scale, 4 * unit * np.abs(scale), roundings)
            rest += self._strict(check, "{}.a")
        self._weigh_rest(rest)
        scaled = [(columns, scale) for columns, (scale, _) in losses]
        for dtype in dict.fromkeys(columns.dtype for columns, _ in scaled):
            self._losses(dtype, [job for job in scaled if job[0].dtype == dtype])

    def _open_losses(
        self, columns: Columns, tensors: list[Array]
    ) -> tuple[npt.NDArray[np.intp], Columns, list[Array]]:
        """Return which losses are not evaluated yet, or not well enough, and these columns."""
        if not columns.elementwise or columns.dtype != np.float64:
            return np.arange(len(columns.tape)), columns, tensors
        unit = self._units(columns.dtype)[0]
        open_ = losses_in_float64(columns, unit, *columns.widened(tensors))
        self.weighed.entries += len(columns.tape) - len(open_)
        return open_, columns.take(open_), [tensor[:, open_] for tensor in tensors]

    def _settle(self, columns: Columns) -> None:
        """Let arb evaluate the losses whose error bound is not below what *strict* allows."""
        assert columns.found is not None
        ValueCheck(columns, columns.found.value).settled(self._units(columns.dtype)[0])

    def _undecided_in_float64(self, columns: Columns, tensors: list[Array]) -> _WithTensors:
        """Return the columns that a quick evaluation in float64 does not show to be right."""
        if not columns.elementwise or columns.dtype != np.float64:
            return columns, tensors
        open_ = undecided_in_float64(columns, self._units(columns.dtype)[0], *tensors)
        return self._only(columns, tensors, open_)

    def _not_surely_right(self, columns: Columns, tensors: list[Array]) -> _WithTensors:
        """Return the columns whose value and slope `surely_right` does not show right."""
        if not columns.elementwise:
            return columns, tensors
        right = surely_right(columns, self._units(columns.dtype)[0], *tensors)
        return self._only(columns, tensors, np.flatnonzero(~right))

    def _only(
        self, columns: Columns, tensors: list[Array], open_: npt.NDArray[np.intp]
    ) -> _WithTensors:
        """Return the columns `open_`; the others are right, with two numbers each (a and dz)."""
        self.weighed.entries += 2 * (len(columns.tape) - len(open_))
        return columns.take(open_), [tensor[:, open_] for tensor in tensors]

    def _weigh_rest(self, rest: Sequence[tuple[Check, Array, str]]) -> None:
        """Compare what is outside *strict* with the other models."""
        parts = [part for part, _, _ in rest]
        moved = conditioning(parts)
        any_low = any(format_of(problem.dtype).low for problem in self.problems)
        joined = conditioning(parts, joined=True) if any_low else moved
        flushed = self._flushed(parts)
        for (part, outside, name), *by, small in zip(rest, moved, joined, flushed, strict=True):
            self._rest(part, outside, by, small, name)

    def _strict(self, check: Check, name: str) -> Iterator[tuple[Check, Array, str]]:
        """Compare one kind of number with *strict*; yield what is outside, and where it is."""
        unit = self._units(check.columns.dtype)[0]
        check = check.settled(unit)
        self.weighed.entries += check.given.size
        outside = check.outside(unit)
        if isinstance(check, SlopeCheck) and check.tied.any():
            self._record_kink_slopes(check, unit, name)
        which = np.flatnonzero(outside.any(axis=0))
        if len(which):
            yield check.of(check.columns.take(which), which), outside[:, which], name

    def _rest(
        self, part: Check, outside: Array, moved: Sequence[Array], flushed: Check, name: str
    ) -> None:
        """Compare what is outside *strict*; record the worst entry of each tensor."""
        levels, bound = self._levels(part, outside, moved, flushed)
        with np.errstate(all="ignore"):
            ratio = np.where(outside, np.nan_to_num(part.error / bound, nan=np.inf), -1.0)
        owner = np.broadcast_to(part.columns.chunk, levels.shape).ravel()
        for entry in _worst(levels.ravel(), ratio.ravel(), owner):
            j, m = divmod(entry, levels.shape[1])
            level = int(levels[j, m])
            model = self.models[level] if level < len(self.models) else None
            tensor, place = self._place(part.columns, j, m, name)
            error, allowed = float(part.error[j, m]), float(bound[j, m])
            self._keep(int(self.answer_of[owner[entry]]), tensor, model, place, error, allowed)

    def _levels(
        self, part: Check, outside: Array, moved: Sequence[Array], flushed: Check
    ) -> tuple[Array, Array]:
        """Return the index of the first model that allows each error, and the largest bound tried.

        The index is the number of the models where none does. `moved` says how far each truth moves
        with its inputs: by an ulp of the type that is computed in, and by one of the dtype.
        """
        dtype = part.columns.dtype
        units = self._units(dtype)
        bound = strict = part.allowed(units[0]) + moved[0]
        with np.errstate(all="ignore"):
            levels = np.where(outside & ~(part.error <= bound), len(units), 0)
        excused = self.excused[self.answer_of[part.columns.chunk]]
        for k, unit in enumerate(units[1:], 1):
            open_ = levels == len(units)
            if not open_.any():
                break
            if unit.has_no_effect:
                continue
            if not unit.model.flush:
                part = part.settled(unit)
            by = moved[unit.input_dtype == dtype]
            allowed = part.allowed(unit) + by
            with np.errstate(all="ignore"):
                inside = ~part.judged | (part.error <= allowed)
                if unit.model.flush:
                    inside |= ~flushed.judged | (flushed.error <= flushed.allowed(unit) + by)
                if not unit.model.applies_to_manual:
                    inside &= excused
                elif unit.model.textbook:
                    limit = strict + self.max_lost_share * part.magnitude_to_keep
                    inside &= excused | ~part.judged | (part.error <= limit)
            levels = np.where(open_ & inside, k, levels)
            bound = np.where(excused | unit.model.applies_to_manual, np.fmax(bound, allowed), bound)
        return levels, bound

    def _flushed(self, parts: Sequence[Check]) -> list[Check]:
        """Return the same checks with every input below the normal range replaced by zero."""
        columns = [part.columns.flushed(self._units(part.columns.dtype)[0].tiny) for part in parts]
        small = [np.flatnonzero((part.columns.inputs != one.inputs).any(axis=0))
                 for part, one in zip(parts, columns, strict=True)]  # fmt: skip
        again = [one.take(which) for one, which in zip(columns, small, strict=True)]
        evaluate_columns(again)
        checks = []
        for part, one, which, there in zip(parts, columns, small, again, strict=True):
            everything = np.arange(len(one.tape))
            one.found = part.columns.take(everything).found
            if len(which):
                one.put(which, there)
            checks.append(part.of(one, everything))
        return checks

    def _place(self, columns: Columns, j: int, m: int, name: str) -> tuple[str, tuple[int, ...]]:
        """Return the tensor and the entry of one number."""
        number, layer = self.gathered.chunks[int(columns.chunk[m])]
        network = self.problems[self.answers[number][0]].network
        layer = layer if layer >= 0 else len(network.layers) - 1
        row = int(columns.row[m])
        entry = divmod(row, network.layers[layer].width) if columns.elementwise else (row, j)
        return name.format(f"layers.{layer}"), entry

    def _record_kink_slopes(self, check: SlopeCheck, unit: RoundingUnit, name: str) -> None:
        """Record which slope each answer took where a kink allows more than one."""
        columns, found = check.columns, check.columns.found
        assert found is not None
        wide_ = check.judged & check.tied & (check.radius > check.allowed(unit))
        for j, m in np.argwhere(wide_).tolist():
            low, half = check.truth[j, m] - check.radius[j, m], check.radius[j, m]
            given = check.given[j, m]
            if len(check.da) == 1:  # divide by da: a negative da would swap lower and upper
                da = check.da[0, m]
                low = found.slope[0, 0, m] - found.slope_radius[0, 0, m]
                half, given = found.slope_radius[0, 0, m], given / da
            number = int(self.answer_of[columns.chunk[m]])
            problem, answer = self.answers[number]
            taken = float((given - low) / (2 * half))
            slope = KinkSlope(answer.oracle, *self._place(columns, j, m, name), taken)
            self.weighed.kink_slopes.setdefault(problem, []).append(slope)

    # -- the loss -----------------------------------------------------------------------------

    def _losses(self, dtype: np.dtype[Any], jobs: list[tuple[Columns, Array]]) -> None:
        units = self._units(dtype)
        failed: list[Array] = []
        for check in self._loss_checks(dtype, jobs):
            self.weighed.entries += check.given.size
            failed.append(check.answer[check.outside(units[0])])
        numbers = np.unique(np.concatenate(failed))
        if not len(numbers):
            return
        chosen = []
        for columns, scale in jobs:
            which = np.flatnonzero(np.isin(self.answer_of[columns.chunk], numbers))
            if len(which):
                part = columns.take(which)
                chosen.append((part.at(part.inputs), scale[:, which]))
        flushed = [(columns.flushed(units[0].tiny), scale) for columns, scale in chosen]
        evaluate_columns([job[0] for job in (*chosen, *flushed)])
        for columns, _ in chosen:
            self._settle(columns)
        plain, small = (self._loss_checks(dtype, made) for made in (chosen, flushed))
        for check, other in zip(plain, small, strict=True):
            self._loss(check, other, units)

    def _loss(self, check: LossCheck, flushed: LossCheck, units: list[RoundingUnit]) -> None:
        """Compare the losses that are outside *strict*; record the worst entry of each answer."""
        strict = check.allowed(units[0])
        levels = np.where(check.outside(units[0]), len(units), 0)
        bound, excused = strict, self.excused[check.answer]
        for k, unit in enumerate(units[1:], 1):
            if unit.has_no_effect:
                continue
            allowed = check.allowed(unit)
            inside = check.error <= allowed
            if unit.model.textbook:
                limit = strict + check.moved + self.max_lost_share * check.magnitude_to_keep
                inside &= excused | (check.error <= limit)
            if unit.model.flush:
                inside |= ~flushed.judged | (flushed.error <= flushed.allowed(unit))
            if not unit.model.applies_to_manual:
                inside &= excused
            levels = np.where((levels == len(units)) & inside, k, levels)
            bound = np.fmax(bound, allowed)
        for row in _worst(levels, check.error, check.answer):
            level, number = int(levels[row]), int(check.answer[row])
            model = self.models[level] if level < len(units) else None
            shape = np.shape(np.asarray(self.answers[number][1].loss))
            entry = tuple(map(int, np.unravel_index(int(check.place[row]), shape)))
            error = float(check.error[row])
            self._keep(number, "loss", model, entry if shape else (), error, float(bound[row]))

    def _loss_checks(
        self, dtype: np.dtype[Any], jobs: list[tuple[Columns, Array]]
    ) -> list[LossCheck]:
        terms = LossTerms.of(jobs, self.answer_of)
        given = [answer.loss for _, answer in self.answers]
        problems = [self.problems[p] for p, _ in self.answers]
        return loss_checks(
            dtype,
            terms,
            self.batches,
            np.array([problem.network.reduction != "none" for problem in problems]),
            np.array(self.gathered.divisors),
            given,
        )


def _worst(levels: Array, error: Array, owner: Array) -> list[int]:
    """Return the index of each owner's worst number: largest level, then largest error.

    Numbers of level 0 (*strict*) are left out.
    """
    at = np.flatnonzero(levels)
    at = at[np.lexsort((error[at], levels[at], owner[at]))]
    last = np.diff(owner[at], append=-1) != 0
    return at[last].tolist()  # type: ignore[no-any-return]


def differing_slopes(slopes: Sequence[KinkSlope]) -> Iterator[KinkSlope]:
    """Yield the slopes at entries where not all answers took the same slope."""
    at: dict[tuple[str, tuple[int, ...]], list[KinkSlope]] = {}
    for slope in slopes:
        at.setdefault((slope.tensor, slope.entry), []).append(slope)
    for group in at.values():
        taken = [slope.taken for slope in group]
        if len(group) > 1 and max(taken) - min(taken) > _APART:
            yield from group
