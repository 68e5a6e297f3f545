"""What a backward should return: the gradient of which scalar, and its certified value.

An `Objective` says which scalar: the outputs weighted with the cotangents that the backward got, a
loss that the code computes, the sum of what it returns, or a loss that is not in the code.
`candidates` proposes them, `truths` differentiates one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from reference.balls import gradient, is_tracked, values
from reference.checks.code import NumericValue, Path, is_numeric, vocabulary
from reference.checks.code.vocabulary import LOSS_NAMES
from reference.checks.comparing import losses
from reference.checks.running import RunOutcome, matched
from reference.checks.tolerances import SAME, UNDERFLOW

Array = npt.NDArray[np.float64]
Kind = Literal["cotangents", "loss", "sum", "mean", "implicit"]


@dataclass(frozen=True)
class Objective:
    """Which scalar is differentiated."""

    kind: Kind
    output: Path = ()
    loss: losses.CandidateLoss | None = None
    target: Path = ()

    @property
    def written(self) -> bool:
        """Whether the code itself computes it, in the forward or beside it."""
        return self.kind != "implicit" and not self.beside

    @property
    def beside(self) -> bool:
        """Whether it is a loss function of the same file, called on the forward's output."""
        return bool(self.output) and self.output[-1].endswith("()")

    def sentence(self) -> str:
        """Return what it is, for people."""
        match self.kind:
            case "loss":
                if self.beside:
                    return f"the loss that {self.output[-1]} computes"
                named = self.output[-1] and not self.output[-1].isdigit()
                return f"the loss that it {f'calls {self.output[-1]}' if named else 'returns'}"
            case "implicit":
                assert self.loss is not None
                return f"{self.loss.name}, {self.loss.formula}"
            case "sum" | "mean":
                return f"the {self.kind} of what its forward returns"
        return "its own forward"


class Truth(NamedTuple):
    """A certified gradient: midpoints, error bounds, the natural unit of rounding."""

    value: Array
    radius: Array
    scale: Array


def candidates(outcome: RunOutcome) -> Iterator[Objective]:
    """Yield the scalars that the claims of an outcome may be the gradient of, likely ones first."""
    if outcome.cotangents:
        yield Objective("cotangents")
        return
    yield from _written(outcome)
    yield from _implicit(outcome)


def _written(outcome: RunOutcome) -> Iterator[Objective]:
    alone = not outcome.paired
    returned = {
        p: v
        for p, v in outcome.outputs.items()
        if is_tracked(v) and not (alone and p in outcome.claims and _is_claim(p, outcome))
    }
    scalars = [p for p, v in returned.items() if np.size(v) == 1]
    scalars.sort(key=lambda p: p[-1].lower() not in LOSS_NAMES)
    named = [
        p
        for p, v in outcome.values.items()
        if p[-1].lower() in LOSS_NAMES and np.size(v) == 1 and is_tracked(v) and p not in scalars
    ]
    takes_targets = outcome.told_targets or any(
        vocabulary.is_target(p[-1]) for p in (*outcome.inputs, *outcome.others)
    )
    named += [p for p, v in outcome.values.items() if p[-1].endswith("()") and is_tracked(v)]
    unnamed = [p for p in scalars if p[-1].lower() not in LOSS_NAMES]
    for path in [*(p for p in scalars if p not in unnamed), *named, *unnamed]:
        if alone and path in unnamed and takes_targets and path[-1] and not path[-1].isdigit():
            continue  # a number with another name: an accuracy
        yield Objective("loss", path)
    if outcome.paired and not outcome.told_targets:
        given = {id(v) for v in outcome.inputs.values()}  # handed on in a cache
        arrays = [p for p, v in returned.items() if np.size(v) > 1 and id(v) not in given]
        for path in arrays[:1]:
            yield Objective("sum", path)
            yield Objective("mean", path)


def _is_claim(path: Path, outcome: RunOutcome) -> bool:
    """Whether what a backward returned is a gradient of something that went in, not a loss."""
    pairs, _, _ = matched(outcome.claims, outcome.inputs, {})
    return any(claim == path for claim, _ in pairs) and path[-1].lower() not in LOSS_NAMES


def _implicit(outcome: RunOutcome) -> Iterator[Objective]:
    targets = {
        p: v
        for p, v in {**outcome.others, **outcome.inputs}.items()
        if vocabulary.is_target(p[-1]) or p in outcome.others
    }
    for target, t in targets.items():
        plain = t if np.asarray(t).dtype.kind in "iu" else values(t)  # labels stay integers
        outputs = [
            p
            for p, v in reversed(outcome.values.items())
            if is_tracked(v)
            and not vocabulary.is_gradient_name(p[-1])
            and is_numeric(v)
            and not (p in outcome.claims and not outcome.paired and p[0] == "")
        ]
        arrays = ((p, as_array(outcome.values[p])) for p in outputs if p != target)
        fitting = [p for p, a in arrays if any(True for _ in losses.matching_targets(a, plain))]
        fitting.sort(
            key=lambda p: (
                p in outcome.inputs,
                p not in outcome.outputs or (p in outcome.claims and outcome.paired),
                not any(w in vocabulary.PREDICTION_NAMES for w in (p[-1].lower(), p[0].lower())),
            )
        )
        for path in fitting[:3]:
            for loss in losses.LOSSES:
                yield Objective("implicit", path, loss, target)
    yield from _lists_of(outcome, targets)


def _lists_of(outcome: RunOutcome, targets: Mapping[Path, NumericValue]) -> Iterator[Objective]:
    """Yield losses over a list of outputs, one for each step in time: output[t] with y[:, t]."""
    heads: dict[str, list[Path]] = {}
    for path, value in outcome.values.items():
        if len(path) > 1 and path[-1].lstrip("-").isdigit() and is_tracked(value):
            heads.setdefault(path[0], []).append(path)
    for head, paths in heads.items():
        first = np.shape(outcome.values[paths[0]])
        for target, t in targets.items():
            shape = np.shape(t)
            if len(shape) == len(first) + 1 and len(paths) in shape:
                for loss in losses.LOSSES:
                    yield Objective("implicit", (head, "*"), loss, target)


def as_array(value: object) -> np.ndarray:
    """Return an array as it is, and anything else as an array of objects."""
    return value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)


def scalar_of(
    objective: Objective, outcome: RunOutcome
) -> tuple[list[NumericValue], list[NumericValue]] | None:
    """Return outputs and their weights on the tape, or None where it has no value here."""
    match objective.kind:
        case "cotangents":
            return ([v for v, _ in outcome.cotangents], [c for _, c in outcome.cotangents])
        case "loss":
            value = _find(outcome, objective.output)
            return None if value is None else ([value], [np.ones(np.shape(value))])
        case "sum" | "mean":
            value = _find(outcome, objective.output)
            if value is None:
                return None
            weight = 1.0 if objective.kind == "sum" else 1.0 / (np.size(value) or 1)
            return ([value], [np.full(np.shape(value), weight)])
    return _implicit_scalar(objective, outcome)


def _implicit_scalar(
    objective: Objective, outcome: RunOutcome
) -> tuple[list[NumericValue], list[NumericValue]] | None:
    assert objective.loss is not None
    found = []
    for path, fitting in targets_of(objective, outcome).items():
        output = _find(outcome, path)
        if fitting is None or output is None:
            return None
        value = losses.evaluate(objective.loss, output, fitting)
        if value is None:
            return None
        found.append(value)
    return (found, [1.0] * len(found)) if found else None


def targets_of(objective: Objective, outcome: RunOutcome) -> dict[Path, Array | None]:
    """Return the outputs of a loss that is not written, each with what it is compared with.

    One output, or one for each step in time; None where the target does not fit.
    """
    raw = outcome.others.get(objective.target, outcome.inputs.get(objective.target))
    target = np.asarray(raw) if np.asarray(raw).dtype.kind in "iu" else np.asarray(values(raw))
    if objective.output[-1] != "*":
        of = {} if _find(outcome, objective.output) is None else {objective.output: target}
    else:
        made = (p for p in outcome.values if p[0] == objective.output[0] and len(p) > 1)
        every = [p for p in made if p[-1].isdigit() and is_numeric(outcome.values[p])]
        steps = [p for p in every if is_tracked(outcome.values[p])] or every
        axis = next((a for a in (0, target.ndim - 1) if target.shape[a] == len(steps)), None)
        known = steps if axis is not None else []
        of = {p: np.take(target, int(p[-1]), axis=axis) for p in known}
    return {
        p: next(losses.matching_targets(as_array(_find(outcome, p)), t), None)
        for p, t in of.items()
    }


def _find(outcome: RunOutcome, path: Path) -> NumericValue | None:
    return outcome.outputs.get(path, outcome.values.get(path))


def truths(
    objective: Objective, outcome: RunOutcome, wanted: Mapping[Path, object]
) -> dict[Path, Truth] | None:
    """Return the certified gradient with respect to each of `wanted`, or None without a value."""
    found = scalar_of(objective, outcome)
    if found is None:
        return None
    outputs, weights = found
    rows = gradient(outputs, weights, list(wanted.values()))
    return {p: Truth(*row) for p, row in zip(wanted, rows, strict=True)}


def jacobian(output: NumericValue, leaf: NumericValue) -> Truth:
    """Return ∂output/∂leaf, of shape output.shape + leaf.shape, by one sweep for each entry."""
    flat = list(output.flat) if isinstance(output, np.ndarray) else [output]
    rows = [gradient([o], [1.0], [leaf])[0] for o in flat]
    shape = (*np.shape(output), *np.shape(leaf))
    return Truth(*(np.stack([np.asarray(r[i]) for r in rows]).reshape(shape) for i in range(3)))


def is_elementwise(outcome: RunOutcome, output: Path, leaf: Path) -> bool:
    """Whether each output entry depends on the input entry of its place alone."""
    y, x = _find(outcome, output), outcome.inputs[leaf]
    if y is None or np.shape(y) != np.shape(x):
        return False
    if np.size(y) <= 1:
        return True
    weights = np.random.default_rng(5).uniform(1, 2, np.shape(y))
    plain = gradient([y], [np.ones(np.shape(y))], [x])[0][0]
    weighed = gradient([y], [weights], [x])[0][0]
    return bool(np.allclose(weighed, weights * plain, rtol=SAME, atol=UNDERFLOW))
