"""The places where implementations differ: kinks, ties, ends of the range, infinities, NaN.

They come from the operation's description (parameters, targets, domain) and from the kinks of its
definition; no operation is named.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from manual_backprop.operation import Activation, FloatArray, Loss, Operation
from reference.conventions.pointwise import Batch
from reference.drawing.regimes import kinks

SWEEP = "somewhere"
"""The situation of ordinary points: they get a row only where an answer deviates."""

Target = int | float | tuple[float, ...] | None
"""A label, a number, a row of them, or none."""

_INF, _NAN = np.inf, np.nan
_LOGITS = {
    "tie": (1.0, 1.0, 0.0),
    "all equal": (0.0, 0.0, 0.0),
    "-inf logit": (-_INF, 0.0, 1.0),
    "all logits -inf": (-_INF, -_INF, -_INF),
    "inf logit": (_INF, 0.0, 1.0),
    "NaN": (_NAN, 0.0, 1.0),
    "saturation": (1000.0, 0.0, -1000.0),
    "large and equal": (1e30, 1e30, 0.0),
}
_SIMPLEX = {
    "probability 0 and 1": (1.0, 0.0, 0.0),
    "probability 0": (0.5, 0.5, 0.0),
    "inside": (0.25, 0.25, 0.5),
    "tiny probability": (1e-30, 0.5, 0.5),
}
_LOG_SIMPLEX = {
    "probability 0 and 1": (0.0, -_INF, -_INF),
    "inside": (-1.0, -1.0, -1.5),
    "far": (-1e5, -1.0, -0.5),
}


@dataclass
class Situations:
    """The points at which one operation, with one choice of its parameters, is evaluated.

    Point k is `x[k]` (a number is a row of one), with `targets[k]` for a loss. `names[k]` says what
    is special there; `arrays` has the other array arguments.
    """

    operation: Activation | Loss
    arguments: dict[str, float]
    names: list[str] = field(default_factory=list)
    x: list[tuple[float, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    arrays: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)

    def add(
        self, name: str, x: float | tuple[float, ...], target: Target = None, **arrays: float
    ) -> None:
        """Add a point: a number, or a row of them."""
        row = x if isinstance(x, tuple) else (x,)
        self.names.append(name)
        self.x.append(row)
        self.targets.append(target)
        for key, value in arrays.items():
            self.arrays.setdefault(key, []).append((value,) * len(row))

    def batch(self, dtype: npt.DTypeLike) -> Batch:
        """Return the points as arrays."""
        loss, targets = isinstance(self.operation, Loss), None
        if loss:
            labels = all(isinstance(t, int) for t in self.targets)
            rows = [t if isinstance(t, tuple) else (t,) for t in self.targets]
            targets = np.array(self.targets) if labels else np.array(rows, dtype)
        arrays: dict[str, FloatArray] = {
            key: np.array(value, dtype) for key, value in self.arrays.items()
        }
        with np.errstate(over="ignore"):
            x = np.array(self.x, dtype)
        return Batch(self.operation, x, targets, self.arguments, arrays)


def situations(operation: Activation | Loss, dtype: npt.DTypeLike) -> Iterator[Situations]:
    """Yield the points of an operation, once for each choice of its parameters."""
    for arguments in settings(operation):
        if isinstance(operation, Activation):
            yield _of_activation(operation, arguments, dtype)
            continue
        labels_alone = operation.targets == ("labels",)
        yield _of_loss(operation, arguments, dtype, labels=labels_alone)
        if "labels" in operation.targets and not (operation.elementwise or labels_alone):
            yield _of_loss(operation, arguments, dtype, labels=True)


def settings(operation: Operation) -> Iterator[dict[str, float]]:
    """Yield the usual parameters, then each other choice by itself."""
    usual = operation.defaults()
    yield usual
    for name, parameter in operation.parameters.items():
        for choice in parameter.choices:
            if choice != usual[name]:
                yield {**usual, name: choice}


def numbers(dtype: npt.DTypeLike) -> dict[str, tuple[float, ...]]:
    """Return numbers at which any operation may be special, by the name of what they are."""
    info = np.finfo(dtype)
    smallest, tiny, largest = (float(v) for v in (info.smallest_subnormal, info.tiny, info.max))
    return {
        "zero": (0.0, -0.0),
        "subnormal": (smallest, -smallest, tiny / 2, -tiny / 2),
        "largest": (largest, -largest),
        "inf": (_INF, -_INF),
        "NaN": (_NAN,),
    }


def _sweep() -> list[float]:
    """Return ordinary points: equal steps that do not meet kinks, then powers of ten."""
    steps = np.arange(-160, 161) * 0.3141
    powers = 10.0 ** np.arange(-30, 31, 3.0)
    return [*steps.tolist(), *powers.tolist(), *(-powers).tolist(), 90.0, -90.0, 105.0, -105.0]


def _aimed(
    name: str, arguments: dict[str, float], dtype: npt.DTypeLike, target: float = 0.0
) -> Iterator[tuple[str, float]]:
    """Yield the kinks, and the floats beside them."""
    for kink in kinks(name, tuple(sorted(arguments.items())), target):
        at, far = np.asarray(kink, dtype), np.asarray(_INF, dtype)
        yield "kink", float(at)
        yield "1 ulp below a kink", float(np.nextafter(at, -far))
        yield "1 ulp above a kink", float(np.nextafter(at, far))


def _of_activation(
    operation: Activation, arguments: dict[str, float], dtype: npt.DTypeLike
) -> Situations:
    found = Situations(operation, arguments)
    if operation.rowwise:
        for name, row in _LOGITS.items():
            found.add(name, row)
        return found
    for name, x in _aimed(operation.name, arguments, dtype):
        found.add(name, x)
    for name, points in numbers(dtype).items():
        for x in points:
            found.add(name, x)
    for x in _sweep():
        found.add(SWEEP, x)
    return found


def _of_loss(
    operation: Loss, arguments: dict[str, float], dtype: npt.DTypeLike, labels: bool
) -> Situations:
    found = Situations(operation, arguments)
    if operation.elementwise:
        _add_numbers(found, operation, dtype)
    else:
        _add_rows(found, operation, labels)
    return found


def _add_rows(found: Situations, operation: Loss, labels: bool) -> None:
    """Add special rows of predictions, each with some labels or rows of targets."""
    tables = {"simplex": _SIMPLEX, "log_simplex": _LOG_SIMPLEX}
    targets: list[tuple[str, Target]] = [
        ("one-hot", (1.0, 0.0, 0.0)),
        ("soft target", (0.25, 0.25, 0.5)),
        ("zero target", (0.0, 0.0, 0.0)),
    ]
    if labels:
        ignored = int(found.arguments.get("ignore_index", 0))
        targets = [("label", 0), ("label", 2)]
        targets += [("ignored label", ignored)] if "ignore_index" in found.arguments else []
    for name, row in tables.get(operation.predictions, _LOGITS).items():
        for kind, target in targets:
            found.add(f"{name}, {kind}", row, target)


def _add_numbers(found: Situations, operation: Loss, dtype: npt.DTypeLike) -> None:
    """Add special predictions for each target of an elementwise loss, and special variances."""
    places = _special_predictions(operation, dtype)
    names = [name for name, extent in operation.arrays.items() if extent == "entries"]
    variances = (1.0, 0.0, 1e-7, 1e-4) if names else (1.0,)
    for target in _targets(operation):
        aimed = list(_aimed(operation.name, found.arguments, dtype, target))
        points = [*aimed, *((name, x) for name, xs in places.items() for x in xs)]
        if operation.predictions == "real":
            points += [("on the target", target), *((SWEEP, x) for x in _sweep()[::4])]
        suffix = ", zero target" if target == 0 else ""
        for name, x in points:
            for value in variances:
                label = name if name == SWEEP else name + suffix
                if value != 1.0 and name not in ("inside", "on the target"):
                    continue
                if value != 1.0:
                    label = "zero variance" if value == 0 else "small variance"
                found.add(label, x, target, **dict.fromkeys(names, value))


def _special_predictions(operation: Loss, dtype: npt.DTypeLike) -> dict[str, tuple[float, ...]]:
    match operation.predictions:
        case "unit":
            beside = float(np.nextafter(np.dtype(dtype).type(1), np.dtype(dtype).type(0)))
            return {
                "probability 0": (0.0,),
                "probability 1": (1.0,),
                "nearly 0": (1e-30, float(np.finfo(dtype).smallest_subnormal)),
                "nearly 1": (beside,),
                "inside": (0.5,),
            }
        case "log_simplex":
            return {"probability 1": (0.0,), "probability 0": (-_INF,), "far": (-1e5,)}
    return numbers(dtype)


def _targets(operation: Loss) -> tuple[float, ...]:
    kinds: dict[str, tuple[float, ...]] = {
        "real": (0.0, 1.0),
        "unit": (0.0, 0.5, 1.0),
        "sign": (-1.0, 1.0),
        "count": (0.0, 1.0, 3.0),
        "simplex": (0.0, 0.25, 1.0),
    }
    return kinds[operation.targets[0]]
