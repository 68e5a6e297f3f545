"""The edges of layers: what each implementation answers for special arrays.

A layer gives its own uses (`sample`) and its own special array (`edge`). Added to these are special
arrays for any layer: equal numbers, zeros, huge or tiny numbers, NaN and infinity, a mask that
hides a whole row, an index array of one number. No layer is named here.

`discover_lengths` compares what elementwise operations answer for one number alone and for the same
number in a long tensor. Vector code computes several numbers at once, and other code the last few.
If the two treat NaN differently, the answer depends on the length of the tensor.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import numpy as np

from manual_backprop.graph import GraphProblem
from manual_backprop.operation import Activation, LayerOperation
from reference.blocks.weigh import TensorFinding
from reference.conventions.pointwise import IMPLEMENTATIONS, Batch, PointAnswers, ask
from reference.conventions.situations import numbers
from reference.conventions.uses import LayerUse, all_by_jax, draw, problem_of, use_text
from reference.drawing.builder import Stream
from reference.evidence import NO_NUMBER, Evidence, gather, tensor_of
from reference.formats import Array
from reference.judge import SOME_DIGITS, Judgement, back_from_the_loss, judge_all
from reference.oracles import Answer, load
from reports.records import Convention, Enclosure

SEEDS = range(64)
"""Seeds of the uses from which the smallest and the fullest are chosen."""
ORDINARY = "ordinary numbers"
"""The situation of a use without a special array."""
_FLOATS: Mapping[str, Callable[[Array], Array]] = {
    "equal numbers": lambda a: np.ones_like(a),
    "zeros": lambda a: np.zeros_like(a),
    "times 1e6": lambda a: a * 1e6,
    "times 1e19": lambda a: a * 1e19,
    "times 1e-25": lambda a: a * 1e-25,
    "one NaN": lambda a: _first(a, np.nan),
    "one inf": lambda a: _first(a, np.inf),
    "all -inf": lambda a: np.full_like(a, -np.inf),
}


class _Edge(NamedTuple):
    """A use of a layer with a special array; `situation` says which."""

    situation: str
    use: LayerUse
    problem: GraphProblem


class _Way(Enum):
    """In which way an answer deviates."""

    NOT_FINITE = "not finite"
    DIGITS = "digits"  # only rounding: some of its digits are right
    OFF = "off"


class _EdgeRow(NamedTuple):
    """A row of the ledger, and the way in which each side deviates."""

    row: Convention
    ways: Mapping[str, _Way]

    def pattern(self, situation: str) -> tuple[object, ...]:
        """Return what the row shows: who deviates in what way, and where.

        If only digits are lost the situation does not count, because this happens everywhere.
        """
        lost = bool(self.ways) and set(self.ways.values()) == {_Way.DIGITS}
        ways = frozenset(self.ways.items())
        return self.row.operation, "" if lost else situation, self.row.quantity, ways


def discover_edges(
    operations: Sequence[LayerOperation], implementations: Sequence[str], dtype: str
) -> Iterator[Convention]:
    """Yield a row for each edge at which an implementation is outside, or takes another slope."""
    groups = [list(group) for operation in operations for group in _edges(operation, dtype)]
    edges = [edge for group in groups for edge in group]
    answers = _answers(groups, implementations)
    judged = judge_all([edge.problem for edge in edges], answers)
    seen: set[tuple[object, ...]] = set()
    for k, (edge, judgement) in enumerate(zip(edges, judged, strict=True)):
        found = _row(edge, {name: of_all[k] for name, of_all in answers.items()}, judgement)
        if found is not None:
            pattern = found.pattern(found.row.situation)
            # A side that deviates for ordinary numbers deviates at edges too: no row for these.
            always = found.pattern(ORDINARY) if found.ways else pattern
            if not {always, pattern} & seen:
                yield found.row
            seen.add(pattern)


def _edges(operation: LayerOperation, dtype: str) -> Iterator[Iterator[_Edge]]:
    """Yield the edges of three uses of a layer: the smallest, the fullest and the first."""
    uses = [draw(operation, seed, dtype) for seed in SEEDS if seed % 4 != 3]
    smallest = min(uses, key=lambda use: sum(a.size for a in use.arrays.values()))
    usual = operation.options.items()
    # The fullest has the most arrays, and options that differ from their defaults.
    fullest = max(uses, key=lambda u: len(u.arrays) + sum(u.options[n] != v for n, v in usual))
    for use in {id(use): use for use in (smallest, fullest, uses[0])}.values():
        yield _edges_of(operation, use)


def _edges_of(operation: LayerOperation, use: LayerUse) -> Iterator[_Edge]:
    graph = problem_of(operation, use).graph

    def edge(situation: str, name: str, array: Array) -> _Edge:
        arrays = {**use.arrays, name: array.astype(use.arrays[name].dtype)}
        special = use._replace(arrays=arrays)
        return _Edge(situation, special, GraphProblem(graph, arrays, {"y": use.dy}))

    yield _Edge(ORDINARY, use, GraphProblem(graph, use.arrays, {"y": use.dy}))
    first = operation.arguments[0]
    if operation.edge is not None:
        text = " ".join((operation.edge.__doc__ or "").split())
        made = operation.edge(Stream(29, 0), use.arrays[first].astype(np.float64))
        yield edge(text.removeprefix("Return ").rstrip("."), first, made)
    for name, array in use.arrays.items():
        if array.dtype.kind == "f" and name not in operation.trainable:
            with np.errstate(all="ignore"):
                for what, special in _FLOATS.items():
                    yield edge(f"{name}: {what}", name, special(array))
        elif array.dtype.kind == "b":
            yield edge(f"{name}: a row of False", name, _first_row(array))
        elif array.dtype.kind in "iu":
            yield edge(f"{name}: one number alone", name, np.full_like(array, array.flat[0]))


def _first(array: Array, value: float) -> Array:
    changed = array.copy()
    changed.flat[0] = value
    return changed


def _first_row(array: Array) -> Array:
    changed = array.copy()
    changed.reshape(-1, array.shape[-1])[0] = False
    return changed


def _answers(
    groups: Sequence[Sequence[_Edge]], implementations: Sequence[str]
) -> dict[str, list[Answer]]:
    """Return the answers of every implementation to every edge, in order."""
    problems = [edge.problem for group in groups for edge in group]
    oracles = load([name for name in implementations if name != "jax"])
    found = {name: oracle.answers(problems) for name, oracle in oracles.items()}
    if "jax" in implementations:
        found["jax"] = _jax(groups)
    return {name: found[name] for name in implementations}


def _jax(groups: Sequence[Sequence[_Edge]]) -> list[Answer]:
    """Return JAX's answers; one program is compiled for all edges of a use."""
    found: list[Answer] = []
    for group in groups:
        operation = group[0].problem.graph.steps[0].description
        assert isinstance(operation, LayerOperation)
        for edge, answer in zip(
            group, all_by_jax(operation, [edge.use for edge in group]), strict=True
        ):
            with np.errstate(all="ignore"):
                loss = np.asarray((edge.use.dy * answer.value).sum())
            gradients = {"y": edge.use.dy, **answer.gradient}
            found.append(Answer("jax", loss, gradients, values={"y": answer.value}))
    return found


def _row(edge: _Edge, answers: Mapping[str, Answer], judgement: Judgement) -> _EdgeRow | None:
    """Return the row of an edge, None if all sides are right and take the same slopes."""
    finite = all(np.isfinite(a).all() for a in edge.use.arrays.values() if a.dtype.kind == "f")
    if not finite:
        place = _differing(edge, answers)
        evidence = None if place is None else Evidence(*place, "")
        found: dict[str, tuple[_Way, str]] = {}
    else:
        if judgement.kind == "PRECISION":
            most = float(np.abs(edge.use.dy).max())
            gone = tuple(f for f in judgement.findings if _all_lost(f, answers[f.oracle], most))
            judgement = replace(judgement, findings=gone)
        lost = judgement.kind == "PRECISION" and bool(judgement.findings)
        if not lost and judgement.kind not in ("DEVIATES", "CONVENTION"):
            return None
        evidence = gather(edge.problem, answers, judgement)
        found = {
            f.oracle: _deviation(f, answers[f.oracle])
            for f in reversed(judgement.findings)
            if f.oracle in judgement.who and (f.is_wrong or lost)
        }
    if evidence is None:
        return None
    wrong = () if not finite or judgement.kind == "PRECISION" else tuple(found)
    deviation = {name: text for name, (_, text) in found.items()}
    row = _convention(edge, answers, evidence, deviation, wrong)
    return _EdgeRow(row, {name: way for name, (way, _) in found.items()})


def _convention(
    edge: _Edge,
    answers: Mapping[str, Answer],
    evidence: Evidence,
    deviation: dict[str, str],
    wrong: Sequence[str],
) -> Convention:
    """Return the row of the ledger; the answers of the sides `wrong` are not admissible."""
    values = {name: tensor_of(answer, evidence.tensor) for name, answer in answers.items()}
    forward = evidence.tensor.startswith("forward ") or evidence.tensor == "loss"
    place_text = f"{evidence.tensor.removeprefix('forward ')}{list(evidence.entry)}"
    return Convention(
        operation=edge.problem.graph.steps[0].operation,
        kind="layer",
        situation=edge.situation,
        input=f"{use_text(edge.use)}; at {place_text if forward else 'd' + place_text}",
        quantity="value" if forward else "slope",
        dtype=str(edge.problem.dtype),
        answers={name: f"{float(a[evidence.entry]):.6g}" for name, a in values.items()},
        truth=_truth(evidence.enclosure),
        admissible={name: name not in wrong for name in answers},
        deviation=deviation,
    )


def _deviation(finding: TensorFinding, answer: Answer) -> tuple[_Way, str]:
    """Return in which way an answer deviates, and by how much, in words."""
    if not np.isfinite(finding.error):
        return _Way.NOT_FINITE, _Way.NOT_FINITE.value
    few = finding.error <= SOME_DIGITS * _size(answer, finding.tensor)
    way = _Way.DIGITS if few else _Way.OFF
    return way, f"{way.value} by {finding.error:.2g}"


def _all_lost(finding: TensorFinding, answer: Answer, most: float) -> bool:
    """Say whether a tensor that the textbook model allows has no right digit, and is not small.

    `most` is the largest cotangent. Sums that cancel are small compared with it, and do not count.
    """
    return finding.error >= _size(answer, finding.tensor) >= SOME_DIGITS * most


def _size(answer: Answer, tensor: str) -> float:
    with np.errstate(all="ignore"):
        return float(np.abs(tensor_of(answer, tensor)).max())


def _truth(enclosure: Enclosure | None) -> str:
    if enclosure is None:
        return "undefined"
    if enclosure.thin or enclosure.low in NO_NUMBER:
        return enclosure.brief
    return interval_text(float(enclosure.low), float(enclosure.high))


def interval_text(low: float, high: float) -> str:
    """Return an interval as text; an end below 1e-8 of the other is 0 (a radius has 30 bits)."""
    ends = [0.0 if abs(a) < 1e-8 * abs(b) else a for a, b in ((low, high), (high, low))]
    return f"[{ends[0]:.6g}, {ends[1]:.6g}]"


def _differing(edge: _Edge, answers: Mapping[str, Answer]) -> tuple[str, tuple[int, ...]] | None:
    """Return the first entry at which some are finite and others are NaN or infinite."""
    names = [n for n in back_from_the_loss(edge.problem) if n not in ("loss", "y")]
    for tensor in (n for n in names if not n.startswith(("tangent ", "product "))):
        kinds = np.stack([_kind(np.asarray(tensor_of(a, tensor))) for a in answers.values()])
        apart = (kinds != kinds[0]).any(axis=0)
        if apart.any():
            return tensor, tuple(map(int, np.unravel_index(int(apart.argmax()), apart.shape)))
    return None


def _kind(array: Array) -> Array:
    """Return 0 for a finite number, ±1 for ±∞, 2 for NaN."""
    infinite = np.where(np.isinf(array), np.sign(array), 0.0)
    return np.where(np.isnan(array), 2.0, infinite)


# -- the length of a tensor ------------------------------------------------------------------------

AMONG = 64
"""Equal numbers in the long tensor: more than any vector instruction takes at once."""


def discover_lengths(operations: Sequence[Activation], dtype: str) -> Iterator[Convention]:
    """Yield a row for each number at which an answer depends on the length of the tensor."""
    chosen = [operation for operation in operations if not operation.rowwise]
    special = [(name, x) for name, xs in numbers(dtype).items() for x in xs if not np.isfinite(x)]
    points = [(operation, *one) for operation in chosen for one in special]
    batches = [
        Batch(operation, np.full((n, 1), x, dtype), None, operation.defaults())
        for operation, _, x in points
        for n in (1, AMONG)
    ]
    answers = {name: ask(name, batches) for name in IMPLEMENTATIONS}
    for k, (operation, situation, x) in enumerate(points):
        for quantity in ("value", "slope"):
            pairs = {
                name: (_spelled(found[2 * k], quantity), _spelled(found[2 * k + 1], quantity))
                for name, found in answers.items()
            }
            if any(alone != among for alone, among in pairs.values()):
                yield Convention(
                    operation=operation.name,
                    kind="activation",
                    situation=f"{situation}, alone and among {AMONG}",
                    input=f"x = {x!r}",
                    quantity=quantity,
                    dtype=dtype,
                    answers={
                        name: " or ".join(dict.fromkeys(pair)) for name, pair in pairs.items()
                    },
                    truth="the same at any length",
                    admissible={name: pair[0] == pair[1] for name, pair in pairs.items()},
                    deviation={
                        name: f"{alone} alone, {among} among {AMONG}"
                        for name, (alone, among) in pairs.items()
                        if alone != among
                    },
                )


def _spelled(answers: PointAnswers, quantity: str) -> str:
    """Return the first answer as text; in a long tensor it is computed by vector code."""
    found = answers.values if quantity == "value" else answers.slopes
    return f"{float(found.flat[0]):.6g}"
