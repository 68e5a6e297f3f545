"""The convention ledger: what NumPy, PyTorch and JAX answer where they may differ.

A directed sweep over every operation finds it. Each answer is compared with the certified value:
inside the ball of one-sided slopes it is admissible, outside it deviates. The ledger is data, one
JSON file for each pair of framework versions and vector unit; when a framework's answer changes,
the comparison says where.

The vector unit counts because PyTorch hands some operations to oneDNN, which has other code for
each: its float32 gelu(∞) is NaN with AVX-512 and ∞ with AVX2.
"""

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
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
from reference.formats import DTYPES
from reference.judge import CONVENTIONAL, allowed_alone
from reference.oracles import load
from reports.records import Convention

FOLDER = Path(__file__).parent / "ledgers"
Quantity = Literal["value", "slope"]
QUANTITIES: tuple[Quantity, ...] = ("value", "slope")


def path() -> Path:
    """Return where the ledger of the installed versions on this vector unit is kept."""
    import torch

    unit = torch.backends.cpu.get_cpu_capability().lower()
    return FOLDER / f"{_versions()}_{unit}.json"


def nearest() -> Path | None:
    """Return the kept ledger of the installed versions: this vector unit's, or another's."""
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
    """Write a ledger, one row a line, so that a change is a line's difference."""
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
    """Sweep the operations (all, if none is named) and return the rows worth keeping."""
    every = operations or [*ACTIVATIONS.values(), *LOSSES.values(), *LAYERS.values()]
    layers = [operation for operation in every if isinstance(operation, LayerOperation)]
    chosen = [operation for operation in every if not isinstance(operation, LayerOperation)]
    rows: list[Convention] = []
    for dtype in dtypes:
        found = [s for operation in chosen for s in situations(operation, dtype)]
        batches = [s.batch(dtype) for s in found]
        replies = {name: ask(name, batches) for name in IMPLEMENTATIONS}
        usual: dict[str, set[tuple[object, ...]]] = {}
        for k, (one, batch) in enumerate(zip(found, batches, strict=True)):
            answers = {name: replies[name][k] for name in IMPLEMENTATIONS}
            rows_of_one = (
                _row(one, batch, answers, dtype, n, point, quantity)
                for n, point in enumerate(prove(batch, limits=True))
                for quantity in QUANTITIES
            )
            kept = list(_worth_keeping(rows_of_one))
            shown = usual.setdefault(one.operation.name, set())
            if one.arguments != one.operation.defaults():
                # Another parameter gets a row only for what the usual one does not show.
                kept = [row for row in kept if _pattern(row) not in shown]
            shown |= {_pattern(row) for row in kept}
            rows += kept
        rows += _all_ignored([o for o in chosen if isinstance(o, Loss)], dtype)
        elementwise = [operation for operation in chosen if isinstance(operation, Activation)]
        rows += discover_lengths(elementwise, dtype)
        rows += discover_edges(layers, IMPLEMENTATIONS, dtype)
    return rows


def differences(before: Iterable[Convention], after: Iterable[Convention]) -> list[str]:
    """Return, in words, where two ledgers part."""
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


def _pattern(row: Convention) -> tuple[object, ...]:
    """Return what a row shows, apart from its numbers: where, and who is off in what way."""
    ways = tuple(sorted((name, text.split()[0]) for name, text in row.deviation.items()))
    return row.situation, row.quantity, ways


def _spelled(row: Convention) -> str:
    return ", ".join(f"{name} {answer}" for name, answer in row.answers.items())


class _Row(NamedTuple):
    """A row in the making: the answers, and whether they are worth keeping."""

    row: Convention
    off: dict[str, float]  # name -> how far outside, inf for NaN
    far: bool  # the answers differ by more than rounding
    gone: dict[str, float]  # name -> the number for which it answers 0


def _worth_keeping(rows: Iterable[_Row]) -> Iterator[Convention]:
    """Keep kinks, differences and deviations; of points anywhere, each one's worst deviation.

    Of points at which some sides answer 0 for a number that others have, the largest number is
    kept: by convention that is a loss of digits, and here it is of all.
    """
    worst: dict[tuple[str, Quantity], _Row] = {}
    zero: dict[tuple[str, Quantity], _Row] = {}
    for row in rows:
        if row.row.situation == SWEEP:
            for name, off in row.off.items():
                key = (name, row.row.quantity)
                if off > 0 and (key not in worst or off > worst[key].off[name]):
                    worst[key] = row
            for name, number in row.gone.items():
                key = (name, row.row.quantity)
                if key not in zero or number > zero[key].gone[name]:
                    zero[key] = row
        elif row.far or any(off > 0 for off in row.off.values()):
            yield row.row
    seen: set[int] = set()
    for row in (*worst.values(), *zero.values()):
        if id(row) not in seen:
            seen.add(id(row))
            yield row.row


def _row(
    one: Situations,
    batch: Batch,
    answers: dict[str, PointAnswers],
    dtype: str,
    n: int,
    point: Point,
    quantity: Quantity,
) -> _Row:
    truths = point.values if quantity == "value" else point.slopes
    given = {
        name: np.atleast_1d(reply.values[n] if quantity == "value" else reply.slopes[n])
        for name, reply in answers.items()
    }
    middle = np.array([float(t.mid()) for t in truths])
    undefined = quantity == "value" and bool(np.isnan(batch.x[n]).any())
    allowed = allowed_alone(middle, np.asarray(point.inputs), quantity, dtype, CONVENTIONAL)
    if quantity == "slope" and len(truths) > 1:
        allowed = allowed * np.abs(np.resize(COTANGENT, len(truths))).sum()
    admissible, deviation, off = {}, {}, {}
    for name, values in given.items():
        outside = [
            _outside(float(v), t, float(a), dtype, undefined)
            for v, t, a in zip(values, truths, allowed, strict=True)
        ]
        off[name] = max(distance for distance, _ in outside)
        admissible[name] = off[name] == 0
        note = next((text for distance, text in outside if distance == off[name] and text), "")
        if note:
            deviation[name] = note
    spread = np.array([np.asarray(v, np.float64) for v in given.values()])
    with np.errstate(invalid="ignore"):
        apart = spread.max(0) - spread.min(0)
    same = (spread == spread[0]).all(0) | np.isnan(spread).all(0)
    far = bool((~same & ~(apart <= 2 * allowed)).any())
    thick = any(
        t.is_finite() and t.rel_accuracy_bits() < 64 and float(t.rad()) > 1e-200 for t in truths
    )
    row = Convention(
        operation=one.operation.name,
        kind="activation" if isinstance(one.operation, Activation) else "loss",
        situation=one.names[n],
        input=_input(one, batch, n),
        quantity=quantity,
        dtype=dtype,
        answers={name: _joined([f"{v:.6g}" for v in a.tolist()]) for name, a in given.items()},
        truth=_joined([_ball_text(t, thick) for t in truths]),
        admissible=admissible,
        deviation=deviation,
    )
    gone = {
        name: abs(middle[0])
        for name, values in given.items()
        if not values.any() and abs(middle[0]) >= np.finfo(dtype).tiny and not thick
    }
    return _Row(row, off, far, gone if len(gone) < len(given) and len(truths) == 1 else {})


def _outside(
    value: float, truth: Ball, allowed: float, dtype: str, undefined: bool
) -> tuple[float, str]:
    """Return how far outside one answer is (0: admissible), and that in words.

    `undefined`: it is the value at an input with NaN.
    """
    info, middle = np.finfo(dtype), float(truth.mid())
    if undefined:
        return (0.0, "") if np.isnan(value) else (float("inf"), "a number for NaN")
    if truth.is_nan() or (not truth.is_finite() and not np.isinf(middle)):
        return 0.0, ""  # not defined there: any answer is a convention
    if np.isinf(middle) or abs(middle) + allowed > float(info.max):
        if value == middle or (np.isinf(value) and (value > 0) == (middle > 0)):
            return 0.0, ""
        return float("inf"), f"{value:.6g} for {middle:.6g}"
    if not np.isfinite(value):
        return float("inf"), f"{value:.6g} for {middle:.6g}"
    error = max(0.0, abs(value - middle) - float(truth.rad()))
    if error <= allowed:
        return 0.0, ""
    if value == 0 and abs(middle) < float(info.tiny):
        return 0.0, "flushed to 0"
    return error, f"off by {error:.2g}"


def _input(one: Situations, batch: Batch, n: int) -> str:
    parts = [f"x = {_joined([repr(v) for v in batch.x[n].tolist()])}"]
    if batch.targets is not None:
        t = batch.targets[n].tolist()
        parts.append(f"t = {_joined([repr(v) for v in t]) if isinstance(t, list) else t}")
    parts += [f"{name} = {value[n][0]!r}" for name, value in one.arrays.items()]
    usual = one.operation.defaults()
    parts += [f"{k} = {v!r}" for k, v in one.arguments.items() if v != usual[k]]
    return ", ".join(parts)


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _ball_text(ball: Ball, thick: bool) -> str:
    if ball.is_nan():
        return "undefined"
    if not ball.is_finite():
        return {1: "inf", -1: "-inf"}.get(int(np.sign(float(ball.mid()))), "unbounded")
    if thick and ball.rad() > 0:
        low, high = float(ball.lower()), float(ball.upper())
        if f"{low:.6g}" != f"{high:.6g}":
            return interval_text(low, high)
    return f"{float(ball.mid()):.6g}"


def _all_ignored(losses: Sequence[Loss], dtype: str) -> Iterator[Convention]:
    """Yield what a mean over no label at all is: 0/0, by the oracles themselves."""
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
