"""The convention ledger: what NumPy, PyTorch and JAX answer where they may differ.

`discover` evaluates every operation at chosen special inputs: kinks, ties, the ends of the range,
infinities, NaN. Each answer is compared with the certified value. At a kink every slope between the
one-sided slopes is admissible; an answer outside deviates. The ledger is data, one JSON file for
each pair of framework versions and CPU instruction set (AVX2, AVX-512). When a framework's answer
changes, `differences` says where.

The instruction set matters because PyTorch uses oneDNN for some operations, which has other code
for each set: its float32 gelu(∞) is NaN with AVX-512 and ∞ with AVX2.

A *situation* says what is special at an input: "kink", "inf", "NaN". The *sweep* is the ordinary
inputs, −50 to 50 in equal steps and powers of ten; its situation is "somewhere". Most of these
inputs would show the same difference, so of each operation only the worst input of each side has a
row: the one at which its answer is farthest from the certified value.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.layers import LAYERS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import Activation, LayerOperation, Loss
from reference.arithmetic.balls import Ball
from reference.conventions.edges import discover_edges, discover_lengths, interval_text
from reference.conventions.pointwise import (
    COTANGENT,
    IMPLEMENTATIONS,
    Batch,
    Point,
    PointAnswers,
    ask,
    prove,
)
from reference.conventions.situations import SWEEP, Situations, situations
from reference.formats import DTYPES, Array
from reference.judge import TEXTBOOK, allowed_alone
from reference.oracles import load
from reports.records import Convention

FOLDER = Path(__file__).parent / "ledgers"
Quantity = Literal["value", "slope"]
QUANTITIES: tuple[Quantity, ...] = ("value", "slope")

_INTERVAL_BITS, _INTERVAL_RADIUS = 64, 1e-200
"""A ball with fewer bits and a larger radius is an interval of slopes, not one number."""


def path() -> Path:
    """Return the file of the ledger for the installed versions and this instruction set."""
    import torch

    unit = torch.backends.cpu.get_cpu_capability().lower()
    return FOLDER / f"{_versions()}_{unit}.json"


def nearest() -> Path | None:
    """Return the saved ledger of the installed versions, if need be of another instruction set."""
    if (own := path()).exists():
        return own
    return next(iter(sorted(FOLDER.glob(f"{_versions()}_*.json"))), None)


def _versions() -> str:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "jax")}
    return "_".join(f"{name}-{v.partition('+')[0]}" for name, v in versions.items())


def read(file: Path) -> list[Convention]:
    """Return a committed ledger."""
    return msgspec.json.decode(file.read_bytes(), type=list[Convention], strict=False)


def write(rows: Sequence[Convention], file: Path) -> None:
    """Write a ledger with one row in each line, so that a diff shows the changed rows."""
    lines = (json.dumps(msgspec.to_builtins(row), ensure_ascii=False) for row in rows)
    file.parent.mkdir(exist_ok=True)
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def summary(rows: Sequence[Convention]) -> str:
    """Return the ledger as text: every operation with its situations and answers."""
    lines = []
    for row in rows:
        head = f"{row.operation}, {row.situation} ({row.input}), {row.quantity}, {row.dtype}"
        lines.append(f"{head}: {_spelled(row)}; certified {row.truth}")
        lines += [
            f"    {name} is not admissible: {row.deviation.get(name, '')}"
            for name, fine in row.admissible.items()
            if not fine
        ]
    return "\n".join(lines)


def discover(
    operations: Sequence[Activation | Loss | LayerOperation] = (), dtypes: Sequence[str] = DTYPES
) -> list[Convention]:
    """Evaluate operations (or all) at special inputs; return the rows that show a difference."""
    every = operations or [*ACTIVATIONS.values(), *LOSSES.values(), *LAYERS.values()]
    layers = [operation for operation in every if isinstance(operation, LayerOperation)]
    chosen = [operation for operation in every if not isinstance(operation, LayerOperation)]
    rows: list[Convention] = []
    for dtype in dtypes:
        found = [s for operation in chosen for s in situations(operation, dtype)]
        batches = [s.batch(dtype) for s in found]
        replies = {name: ask(name, batches) for name in IMPLEMENTATIONS}
        patterns_shown: dict[str, set[tuple[object, ...]]] = {}  # by the name of the operation
        for k, (one, batch) in enumerate(zip(found, batches, strict=True)):
            answers = {name: replies[name][k] for name in IMPLEMENTATIONS}
            rows_of_one = (
                _row(one, batch, answers, dtype, n, point, quantity)
                for n, point in enumerate(prove(batch, limits=True))
                for quantity in QUANTITIES
            )
            kept = list(_worth_keeping(rows_of_one))
            shown = patterns_shown.setdefault(one.operation.name, set())
            if one.arguments != one.operation.defaults():
                # Another parameter has a row only for what is not seen with the defaults.
                kept = [row for row in kept if row.pattern not in shown]
            shown |= {row.pattern for row in kept}
            rows += [row.convention for row in kept]
        rows += _all_ignored([o for o in chosen if isinstance(o, Loss)], dtype)
        elementwise = [operation for operation in chosen if isinstance(operation, Activation)]
        rows += discover_lengths(elementwise, dtype)
        rows += discover_edges(layers, IMPLEMENTATIONS, dtype)
    return rows


def differences(before: Iterable[Convention], after: Iterable[Convention]) -> list[str]:
    """Return sentences that say where two ledgers differ."""
    old, new = ({_key(row): row for row in rows} for rows in (before, after))
    lines = []
    for key in [*old, *(key for key in new if key not in old)]:
        where = "{}, {} {}, {}, {} at {}".format(*key)
        if key not in new:
            lines.append(f"{where}: all agree now; before: {_spelled(old[key])}")
        elif key not in old:
            lines.append(f"{where}: a new row: {_spelled(new[key])}")
        else:
            for name, answer in new[key].answers.items():
                was = old[key].answers.get(name, "nothing")
                if answer != was:
                    lines.append(f"{where}: {name} answers {answer}, before {was}")
    return lines


def _key(row: Convention) -> tuple[str, ...]:
    return row.operation, row.dtype, row.quantity, row.kind, row.situation, row.input


def _spelled(row: Convention) -> str:
    return ", ".join(f"{name} {answer}" for name, answer in row.answers.items())


class DeviationKind(Enum):
    """In which way an answer differs from the certified value."""

    NONE = auto()
    NUMBER_FOR_NAN = auto()  # a number where the input is NaN
    NOT_FINITE = auto()  # NaN or infinity in place of a number, or the reverse
    FLUSHED = auto()  # 0 in place of a number below the normal range; this is admissible
    ERROR = auto()  # a number that differs by more than rounding


class _Deviation(NamedTuple):
    """How one answer differs from the certified value."""

    kind: DeviationKind = DeviationKind.NONE
    distance: float = 0.0  # how far outside it is; 0 if it is admissible
    text: str = ""
    answer: str = ""  # only for NOT_FINITE


class _Row(NamedTuple):
    """A row of the ledger, and what decides whether it is worth keeping."""

    convention: Convention
    deviations: dict[str, _Deviation]  # by the name of the side
    answers_differ: bool  # by more than rounding
    zero_instead_of: dict[str, float]  # name of a side that answers 0 -> the true value

    @property
    def pattern(self) -> tuple[object, ...]:
        """What the row shows apart from its numbers: where, and who deviates in what way."""
        ways = ((name, d.kind, d.answer) for name, d in self.deviations.items() if d.text)
        return self.convention.situation, self.convention.quantity, frozenset(ways)


def _worth_keeping(rows: Iterable[_Row]) -> Iterator[_Row]:
    """Yield the rows that show a difference between the sides, or a wrong answer.

    Of the sweep, only the input is kept at which a side is farthest from the certified value. If
    one side answers 0 and others do not, the input with the largest true value is kept as well:
    there all digits are lost.
    """
    worst: dict[tuple[str, Quantity], _Row] = {}
    zero: dict[tuple[str, Quantity], _Row] = {}
    for row in rows:
        if row.convention.situation == SWEEP:
            for name, deviation in row.deviations.items():
                key, distance = (name, row.convention.quantity), deviation.distance
                if distance > 0 and (
                    key not in worst or distance > worst[key].deviations[name].distance
                ):
                    worst[key] = row
            for name, number in row.zero_instead_of.items():
                key = (name, row.convention.quantity)
                if key not in zero or number > zero[key].zero_instead_of[name]:
                    zero[key] = row
        elif row.answers_differ or any(d.distance > 0 for d in row.deviations.values()):
            yield row
    seen: set[int] = set()
    for row in (*worst.values(), *zero.values()):
        if id(row) not in seen:
            seen.add(id(row))
            yield row


def _row(
    one: Situations,
    batch: Batch,
    answers: dict[str, PointAnswers],
    dtype: str,
    n: int,
    point: Point,
    quantity: Quantity,
) -> _Row:
    """Compare the answers at point n with the certified value or slope."""
    truths = point.values if quantity == "value" else point.slopes
    given = {
        name: np.atleast_1d(reply.values[n] if quantity == "value" else reply.slopes[n])
        for name, reply in answers.items()
    }
    middle = np.array([float(t.mid()) for t in truths])
    undefined = quantity == "value" and bool(np.isnan(batch.x[n]).any())
    allowed = allowed_alone(middle, np.asarray(point.inputs), quantity, dtype, TEXTBOOK)
    if quantity == "slope" and len(truths) > 1:
        allowed = allowed * np.abs(np.resize(COTANGENT, len(truths))).sum()
    deviations = {
        name: _worst(
            _deviation(float(v), t, float(a), dtype, undefined)
            for v, t, a in zip(values, truths, allowed, strict=True)
        )
        for name, values in given.items()
    }
    is_interval = any(map(_is_interval, truths))
    row = Convention(
        operation=one.operation.name,
        kind="activation" if isinstance(one.operation, Activation) else "loss",
        situation=one.names[n],
        input=_input(one, batch, n),
        quantity=quantity,
        dtype=dtype,
        answers={
            name: _joined([f"{v:.6g}" for v in values.tolist()]) for name, values in given.items()
        },
        truth=_joined([_ball_text(t, is_interval) for t in truths]),
        admissible={name: d.distance == 0 for name, d in deviations.items()},
        deviation={name: d.text for name, d in deviations.items() if d.text},
    )
    alone = len(truths) == 1 and not is_interval
    zeros = _zero_instead_of(given, abs(middle[0]), dtype) if alone else {}
    return _Row(row, deviations, _answers_differ(given, allowed), zeros)


def _worst(found: Iterable[_Deviation]) -> _Deviation:
    """Return the deviation of the largest distance, of those with a text."""
    return max((d for d in found if d.text), key=lambda d: d.distance, default=_Deviation())


def _answers_differ(given: Mapping[str, Array], allowed: Array) -> bool:
    """Say whether two answers differ by more than both may be rounded."""
    answers_array = np.array([np.asarray(v, np.float64) for v in given.values()])
    with np.errstate(invalid="ignore"):
        apart = answers_array.max(0) - answers_array.min(0)
    same = (answers_array == answers_array[0]).all(0) | np.isnan(answers_array).all(0)
    return bool((~same & ~(apart <= 2 * allowed)).any())


def _zero_instead_of(given: Mapping[str, Array], truth: float, dtype: str) -> dict[str, float]:
    """Return the names of the sides that answer 0 for a normal number, if not all sides do."""
    zeros = [name for name, values in given.items() if not values.any()]
    if not truth >= np.finfo(dtype).tiny or len(zeros) == len(given):
        return {}
    return dict.fromkeys(zeros, truth)


def _is_interval(ball: Ball) -> bool:
    """Say whether a ball is the interval of slopes at a kink."""
    few = ball.is_finite() and ball.rel_accuracy_bits() < _INTERVAL_BITS
    return bool(few and float(ball.rad()) > _INTERVAL_RADIUS)


def _deviation(
    value: float, truth: Ball, allowed: float, dtype: str, undefined: bool
) -> _Deviation:
    """Return how one answer deviates; `undefined`: it is the value at an input with NaN."""
    info, middle, infinity = np.finfo(dtype), float(truth.mid()), float("inf")
    if undefined:
        if np.isnan(value):
            return _Deviation()
        return _Deviation(DeviationKind.NUMBER_FOR_NAN, infinity, "a number for NaN")
    if truth.is_nan() or (not truth.is_finite() and not np.isinf(middle)):
        return _Deviation()  # not defined there: any answer is a convention
    overflow = np.isinf(middle) or abs(middle) + allowed > float(info.max)
    if overflow and (value == middle or (np.isinf(value) and (value > 0) == (middle > 0))):
        return _Deviation()
    if overflow or not np.isfinite(value):
        text = f"{value:.6g} for {middle:.6g}"
        return _Deviation(DeviationKind.NOT_FINITE, infinity, text, f"{value:.6g}")
    error = max(0.0, abs(value - middle) - float(truth.rad()))
    if error <= allowed:
        return _Deviation()
    if value == 0 and abs(middle) < float(info.tiny):
        return _Deviation(DeviationKind.FLUSHED, 0.0, "flushed to 0")
    return _Deviation(DeviationKind.ERROR, error, f"off by {error:.2g}")


def _input(one: Situations, batch: Batch, n: int) -> str:
    parts = [f"x = {_joined([repr(v) for v in batch.x[n].tolist()])}"]
    if batch.targets is not None:
        t = batch.targets[n].tolist()
        parts.append(f"t = {_joined([repr(v) for v in t]) if isinstance(t, list) else t}")
    parts += [f"{name} = {value[n][0]!r}" for name, value in one.arrays.items()]
    defaults = one.operation.defaults()
    parts += [f"{k} = {v!r}" for k, v in one.arguments.items() if v != defaults[k]]
    return ", ".join(parts)


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _ball_text(ball: Ball, is_interval: bool) -> str:
    if ball.is_nan():
        return "undefined"
    if not ball.is_finite():
        return {1: "inf", -1: "-inf"}.get(int(np.sign(float(ball.mid()))), "unbounded")
    if is_interval and ball.rad() > 0:
        low, high = float(ball.lower()), float(ball.upper())
        if f"{low:.6g}" != f"{high:.6g}":
            return interval_text(low, high)
    return f"{float(ball.mid()):.6g}"


def _all_ignored(losses: Sequence[Loss], dtype: str) -> Iterator[Convention]:
    """Yield the rows of a mean in which every label is ignored: 0/0, as the oracles compute it."""
    for loss in losses:
        if "ignore_index" not in loss.parameters:
            continue
        ignored = int(loss.defaults()["ignore_index"])
        network = Network(2, (Layer(3, "log_softmax"),), loss.name)
        parameters = {k: np.ones(s, dtype) for k, s in network.parameter_shapes().items()}
        targets = np.full(2, ignored)
        problem = Problem(network, parameters, np.ones((2, 2), dtype), targets)
        with np.errstate(all="ignore"):
            replies = {n: o.answer(problem) for n, o in load(IMPLEMENTATIONS).items()}
        for quantity in QUANTITIES:
            answers = {}
            for name, answer in replies.items():
                assert answer.loss is not None
                slope = answer.gradients["layers.0.a"].flat[0]
                answers[name] = f"{float(answer.loss if quantity == 'value' else slope):.6g}"
            yield Convention(
                operation=loss.name,
                kind="loss",
                situation="all labels ignored, mean",
                input=f"t = ({ignored}, {ignored})",
                quantity=quantity,
                dtype=dtype,
                answers=answers,
                truth="undefined",
                admissible=dict.fromkeys(answers, True),
            )
