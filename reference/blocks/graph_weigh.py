"""Compares every tensor of answers to graphs with the models of rounding, one after the other.

To *weigh* an answer means to compare each of its tensors with the certified value, and to find the
first model of rounding that allows the error. The first model is *strict*. An entry whose error it
allows is right, and is not compared with the other models.

A *stack* holds all answers to the problems of one graph: they have the same steps, shapes, dtype
and arrays of integers.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from manual_backprop.graph import GraphProblem
from manual_backprop.graph import forward as walk
from manual_backprop.operation import is_float
from reference.arithmetic.evaluation import wide
from reference.blocks.gather import mismatch
from reference.blocks.graph_truth import (
    Stack,
    TensorTruth,
    Truths,
    certify_rows,
    rows_of_stack,
    stack_plans,
)
from reference.blocks.weigh import KinkSlope, TensorFinding, Weighed
from reference.formats import Array
from reference.oracles import Answer
from reference.problems import DirectedGraph, computed_in
from reference.rounding import Rounding, RoundingUnit

_AT_ONCE = 256  # answers in a stack


def weigh_graphs(
    problems: Sequence[GraphProblem],
    answers: Sequence[tuple[int, Answer]],
    models: Sequence[Rounding],
    subject: str,
    max_lost_share: float,
    doubt: float,
) -> Weighed:
    """Return what was found of complete answers to graphs under the models of rounding.

    answers: each with the index of its problem. models: in the order in which they are tried.
    subject: the side under test; models without `applies_to_manual` do not apply to it.
    max_lost_share, doubt: see MAX_LOST_SHARE and DOUBT in reference/judge.py. For problems with a
    direction only the tensors of second order are judged.
    """
    weighed = Weighed()
    stacks: defaultdict[object, list[int]] = defaultdict(list)
    shapes = {p: tensor_shapes(problems[p]) for p in {p for p, _ in answers}}
    for number, (p, answer) in enumerate(answers):
        wrong = list(_malformed(problems[p], shapes[p], answer))
        weighed.findings.setdefault(number, []).extend(wrong)
        if not wrong:
            stacks[_key(problems[p])].append(number)
    for numbers in stacks.values():
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            _Group(problems, answers, part, models, subject, max_lost_share, doubt, weighed).judge()
    return weighed


def tensor_shapes(problem: GraphProblem) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the steps and of the arrays that have a gradient."""
    with np.errstate(all="ignore"):
        made = walk(problem.graph, computed_in(problem).arrays)
    given = {name: problem.arrays[name].shape for name in problem.floats}
    return {**{name: np.shape(value) for name, value in made.items()}, **given}


def stack_of(problems: Sequence[GraphProblem], pairs: Sequence[tuple[int, Answer]]) -> Stack:
    """Return one stack of answers to problems that have the same `_key`.

    For problems with a direction, a tensor of values is [value, tangent], and a tensor of
    cotangents is [product, cotangent]. The reason: let s = Σ cotangent · tangent over the outputs.
    Then ∂s/∂value is the product (the derivative of the cotangent along the direction), and
    ∂s/∂tangent is the cotangent. So second order is judged like first order, with tensors of
    double length.
    """
    first = problems[pairs[0][0]]
    number, directed = wide(first.dtype), isinstance(first, DirectedGraph)
    arrays = computed_in(first).arrays

    def stacked(arrays: Sequence[object]) -> Array:
        return np.stack([np.asarray(a, number).ravel() for a in arrays])

    graph, steps = first.graph, [step.name for step in first.graph.steps]
    shapes = {name: np.shape(pairs[0][1].values[name]) for name in steps}
    values = {n: stacked([problems[p].arrays[n] for p, _ in pairs]) for n in graph.given}
    values |= {n: stacked([a.values[n] for _, a in pairs]) for n in steps}
    wanted = (*steps, *first.floats)
    gradients = {n: stacked([a.gradients[n] for _, a in pairs]) for n in wanted}
    cotangents = {n: stacked([problems[p].cotangents[n] for p, _ in pairs]) for n in graph.outputs}
    if directed:
        moves = {n: stacked([_direction(problems[p])[n] for p, _ in pairs]) for n in first.floats}
        moves |= {n: stacked([a.tangents[n] for _, a in pairs]) for n in steps}
        products = {n: stacked([a.products[n] for _, a in pairs]) for n in wanted}
        still = {n: np.zeros_like(c) for n, c in cotangents.items()}
        values |= {n: np.concatenate([values[n], t], axis=1) for n, t in moves.items()}
        gradients = {n: np.concatenate([products[n], g], axis=1) for n, g in gradients.items()}
        cotangents = {n: np.concatenate([still[n], c], axis=1) for n, c in cotangents.items()}
    plans = stack_plans(graph, arrays, shapes, 2 if directed else 1)
    return Stack(graph, first.dtype, values, gradients, cotangents, plans)


def _direction(problem: GraphProblem) -> Mapping[str, Array]:
    assert isinstance(problem, DirectedGraph)
    return problem.direction


def _key(problem: GraphProblem) -> object:
    """Return what is the same for all problems of one stack."""
    others = tuple(
        (name, a.shape, b"" if is_float(a) else a.tobytes()) for name, a in problem.arrays.items()
    )
    return id(problem.graph), problem.dtype, others, isinstance(problem, DirectedGraph)


def _malformed(
    problem: GraphProblem, shapes: Mapping[str, tuple[int, ...]], answer: Answer
) -> Iterator[TensorFinding]:
    """Yield a finding for each tensor that is not an array of its shape and dtype."""
    dtype = getattr(answer.loss, "dtype", problem.dtype)  # it is compared as a number
    if reason := mismatch(answer.loss, dtype, ()):
        yield TensorFinding(answer.oracle, "loss", None, (), np.inf, 0.0, reason)
    steps = [step.name for step in problem.graph.steps]
    wanted = [("forward ", name, answer.values) for name in steps]
    wanted += [("", name, answer.gradients) for name in (*steps, *problem.floats)]
    if isinstance(problem, DirectedGraph):
        wanted += [("tangent ", name, answer.tangents) for name in steps]
        wanted += [("product ", name, answer.products) for name in (*steps, *problem.floats)]
    for prefix, name, given in wanted:
        if reason := mismatch(given.get(name), problem.dtype, shapes[name]):
            yield TensorFinding(answer.oracle, prefix + name, None, (), np.inf, 0.0, reason)


class _Group:
    """Weighs the answers of one stack."""

    def __init__(
        self,
        problems: Sequence[GraphProblem],
        answers: Sequence[tuple[int, Answer]],
        numbers: Sequence[int],
        models: Sequence[Rounding],
        subject: str,
        max_lost_share: float,
        doubt: float,
        weighed: Weighed,
    ) -> None:
        self.problems, self.answers, self.numbers = problems, answers, numbers
        self.models, self.max_lost_share, self.doubt, self.weighed = (
            models,
            max_lost_share,
            doubt,
            weighed,
        )
        self.pairs = [answers[n] for n in numbers]
        self.directed = isinstance(problems[self.pairs[0][0]], DirectedGraph)
        # True for the other sides: to them the models without `applies_to_manual` apply, too.
        self.sides = np.array([a.oracle for _, a in self.pairs])
        self.excused = self.sides != subject
        self.stack = stack_of(problems, self.pairs)
        self.units = [RoundingUnit(self.stack.dtype, model) for model in models]

    def judge(self) -> None:
        """Record the entries outside *strict*, and the slopes that were chosen at ties."""
        strict = self._tensors(_certified(self.stack), self.units[0])
        self.weighed.entries += sum(t.given.size for t in strict)
        for tensor in strict:
            self._record_kink_slopes(tensor)
        suspects = np.zeros(len(self.pairs), bool)
        for tensor in strict:
            suspects |= _outside(tensor).any(axis=1)
        if suspects.any():
            self._suspects(np.flatnonzero(suspects))
        if not self.directed:
            self._losses()

    def _tensors(
        self, truths: Truths, unit: RoundingUnit, moved: bool = False
    ) -> list[TensorTruth]:
        """Return the judged part of each tensor, with the error that a model allows."""
        return self._judged(truths.tensors(unit, moved))

    def _judged(self, tensors: Sequence[TensorTruth]) -> list[TensorTruth]:
        """Return what is judged: of problems with a direction only the half of second order.

        These are the tangents of the values and the products of the cotangents. The other half
        of each tensor is of first order.
        """
        if not self.directed:
            return list(tensors)
        made = []
        for tensor in tensors:
            name = tensor.name.removeprefix("forward ")
            kind = "product" if name == tensor.name else "tangent"
            made.append(tensor.part(f"{kind} {name}", _second_order_half(tensor)))
        return made

    def _whole(
        self, tensors: Sequence[TensorTruth], judged: Sequence[npt.NDArray[np.bool_]]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Return masks of whole tensors, by name; `judged` has masks of their judged parts."""
        found = {}
        for tensor, part in zip(tensors, judged, strict=True):
            mask = np.zeros(tensor.given.shape, bool)
            mask[:, _second_order_half(tensor) if self.directed else slice(None)] = part
            found[tensor.name] = mask
        return found

    def _suspects(self, which: npt.NDArray[np.intp]) -> None:
        """Compare the answers `which` with every model; record the worst entry of each tensor."""
        stack = self.stack.at(which)
        truths = _certified(stack)
        first = truths.tensors(self.units[0])
        strict = self._strict(truths, first)
        outside = [_outside(t) for t in strict]
        wanted = self._whole(first, outside)
        levels = [np.where(o, len(self.units), 0) for o in outside]
        bounds = [t.allowed for t in strict]
        flushed: Truths | None = None
        for k, unit in enumerate(self.units[1:], 1):
            excused = self.excused[which]
            if unit.model.nested:
                excused = excused & (self.sides[which] == unit.model.nested)
            if unit.has_no_effect or not (unit.model.applies_to_manual or excused.any()):
                continue
            if not any((level == len(self.units)).any() for level in levels):
                break
            tensors = self._tensors(truths, unit, moved=True)
            others: list[TensorTruth] | None = None
            if unit.model.flush:
                if flushed is None:
                    flushed = _certified(stack.at(np.arange(len(which)), unit.tiny))
                    flushed.suspect(wanted)
                others = self._tensors(flushed, unit, moved=True)
            for i, tensor in enumerate(tensors):
                inside = self._inside(
                    tensor, strict[i], others[i] if others else None, unit, excused
                )
                levels[i] = np.where((levels[i] == len(self.units)) & inside, k, levels[i])
                tried = excused[:, None] | unit.model.applies_to_manual
                bounds[i] = np.fmax(bounds[i], np.where(tried, tensor.allowed, 0))
        for tensor, level, bound in zip(strict, levels, bounds, strict=True):
            self._keep(which, tensor, level, bound)

    def _strict(self, truths: Truths, first: Sequence[TensorTruth]) -> list[TensorTruth]:
        """Return the tensors under *strict*, where arb certified the doubtful rows.

        `first` has the tensors without the changes of slopes that an ulp of each input makes. Such
        a change is known between two bounds, of which *strict* uses the lower. If an entry is
        outside with the lower bound and inside with the upper one (`most`), arb computes it.
        """
        truths.suspect(self._whole(first, [_outside(t) for t in self._judged(first)]))
        strict = self._tensors(truths, self.units[0], moved=True)
        doubtful = [_outside(t) & (t.radius > self.doubt * t.allowed) for t in strict]
        if any(entries.any() for entries in doubtful):
            truths.evaluate_with_arb(self._whole(first, doubtful))
            strict = self._tensors(truths, self.units[0], moved=True)
        most = self._judged(truths.tensors(self.units[0], moved=True, most=True))
        between = [_outside(t) & ~_outside(more) for t, more in zip(strict, most, strict=True)]
        if any(entries.any() for entries in between):
            truths.evaluate_moves_with_arb(self._whole(first, between))
            strict = self._tensors(truths, self.units[0], moved=True)
        return strict

    def _inside(
        self,
        tensor: TensorTruth,
        strict: TensorTruth,
        flushed: TensorTruth | None,
        unit: RoundingUnit,
        excused: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.bool_]:
        """Return a mask: True for the entries whose error this model allows."""
        if unit.model.textbook and not tensor.may_lose_digits:
            return np.zeros(tensor.given.shape, bool)
        inside = ~_outside(tensor)
        if flushed is not None:
            # Compared with the certified value for inputs whose small numbers were replaced by
            # zero: the answer's own number, or this number flushed too.
            inside |= ~_outside(flushed) | _inside_flushed(flushed, tensor.given)
        if not unit.model.applies_to_manual:
            return np.asarray(inside & excused[:, None])
        if unit.model.textbook:
            with np.errstate(all="ignore"):
                limit = strict.allowed + self.max_lost_share * strict.magnitude_to_keep
                inside &= excused[:, None] | (tensor.error <= limit)
        return np.asarray(inside)

    def _keep(
        self, which: npt.NDArray[np.intp], tensor: TensorTruth, level: Array, bound: Array
    ) -> None:
        """Record the worst entry of a tensor, for each answer with an entry outside *strict*."""
        with np.errstate(all="ignore"):
            ratio = np.where(level > 0, np.nan_to_num(tensor.error / bound, nan=np.inf), -1.0)
        for row, b in enumerate(which.tolist()):
            if not level[row].any():
                continue
            e = int(np.lexsort((ratio[row], level[row]))[-1])
            found = int(level[row, e])
            model = self.models[found] if found < len(self.models) else None
            self._note(b, tensor.name, model, e, float(tensor.error[row, e]), float(bound[row, e]))

    def _note(
        self, b: int, tensor: str, model: Rounding | None, e: int, error: float, allowed: float
    ) -> None:
        answer = self.pairs[b][1]
        entry = self._entry(b, tensor, e)
        found = TensorFinding(answer.oracle, tensor, model, entry, error, allowed)
        self.weighed.findings.setdefault(self.numbers[b], []).append(found)

    def _entry(self, b: int, tensor: str, e: int) -> tuple[int, ...]:
        answer, (kind, _, name) = self.pairs[b][1], tensor.rpartition(" ")
        arrays = {"": answer.gradients, "forward": answer.values, "tangent": answer.tangents,
                  "product": answer.products}[kind]  # fmt: skip
        shape = np.shape(arrays[name])
        return tuple(map(int, np.unravel_index(e, shape)))

    def _record_kink_slopes(self, tensor: TensorTruth) -> None:
        """Record which slope each answer took where a kink allows more than one."""
        wide_ = tensor.judged & (tensor.hull > tensor.allowed)
        for b, e in np.argwhere(wide_).tolist():
            low, half = tensor.truth[b, e] - tensor.hull[b, e], tensor.hull[b, e]
            p, answer = self.pairs[b]
            taken = float((tensor.given[b, e] - low) / (2 * half))
            slope = KinkSlope(answer.oracle, tensor.name, self._entry(b, tensor.name, e), taken)
            self.weighed.kink_slopes.setdefault(p, []).append(slope)

    def _losses(self) -> None:
        """Judge the loss Σ cotangent · output, computed from the answer's own outputs."""
        with np.errstate(all="ignore"):
            terms = np.concatenate(
                [self.stack.cotangents[n] * self.stack.values[n] for n in self.stack.cotangents],
                axis=1,
            )
            truth, size = terms.sum(axis=1), np.abs(terms).sum(axis=1)
            given = np.array([float(np.asarray(a.loss)) for _, a in self.pairs], truth.dtype)
            error = np.nan_to_num(np.abs(given - truth), nan=np.inf, posinf=np.inf)
            outputs = len(self.stack.cotangents)
            for b in np.flatnonzero(np.isfinite(size)).tolist():
                for unit in self._units_of_sums(self.excused[b]):
                    floor = np.count_nonzero(terms[b]) * unit.floor
                    ends = unit.result_rounding(np.abs(truth[b]))
                    if not unit.model.applies_to_manual:  # each product is rounded, and each sum
                        ends += unit.result_rounding(np.abs(terms[b])).sum() + unit.result_rounding(
                            size[b], 2.0 * outputs
                        )
                    allowed = (
                        unit.sum_rounding(terms.shape[1] + 2, size[b])
                        + unit.input_rounding(size[b])
                        + ends
                    )
                    allowed = float(unit.allow_overflow(allowed, size[b]))
                    if error[b] <= allowed + floor:
                        break
                else:
                    answer = self.pairs[b][1]
                    found = TensorFinding(answer.oracle, "loss", None, (), float(error[b]), allowed)
                    self.weighed.findings.setdefault(self.numbers[b], []).append(found)

    def _units_of_sums(self, excused: bool) -> list[RoundingUnit]:
        """Return the units of the models of rounding that apply to a sum.

        Of the textbook models only those apply that accumulate in bfloat16 or float16 itself.
        """
        return [
            u for u in self.units if u.applies_to_sums and (excused or u.model.applies_to_manual)
        ]


def _certified(stack: Stack) -> Truths:
    rows = rows_of_stack(stack)
    certify_rows(rows, stack.dtype)
    return Truths(stack, rows)


def _second_order_half(tensor: TensorTruth) -> slice:
    """Return the half of a tensor that is of second order.

    In values these are the tangents (second half), in cotangents the products (first half).
    """
    half = tensor.given.shape[1] // 2
    return slice(half, None) if tensor.name.startswith("forward ") else slice(0, half)


def _outside(tensor: TensorTruth) -> npt.NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        return np.asarray(
            tensor.judged & ~(tensor.error + _untied_radius(tensor) <= tensor.allowed)
        )


def _untied_radius(tensor: TensorTruth) -> Array:
    """Return the error bound of the certified value, without the part that a tie causes.

    At a tie several slopes are allowed, and this part covers all of them.
    """
    return np.asarray(np.maximum(tensor.radius - tensor.hull, 0))


def _inside_flushed(flushed: TensorTruth, given: Array) -> npt.NDArray[np.bool_]:
    """Return a mask: True where an answer's own numbers are allowed for flushed inputs."""
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(given - flushed.truth) <= flushed.allowed + flushed.radius)
