"""Which mistake of the catalogue makes a wrong gradient, where the forward is an operation of ours.

The operation is found by its values: an activation of one array, or a dense layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.network import Layer, Network, Problem
from manual_backprop.operation import Activation
from reference.checks.kinds._frames import Array, Path
from reference.checks.names import path_name
from reference.checks.tolerances import SAME
from reference.diagnose import Diagnosis, diagnose
from reference.diagnosis.search import GradientEvidence


@dataclass(frozen=True)
class FunctionProblem:
    """One problem of a function: its leaves, its outputs with their cotangents, its gradients."""

    leaves: Mapping[Path, Array]
    outputs: Sequence[Array | None]
    cotangents: Sequence[Array | None]
    got: Mapping[Path, Array | None]


@dataclass(frozen=True)
class _Found:
    """A problem of ours that says the same as theirs, and their names of our tensors."""

    evidence: GradientEvidence
    names: Mapping[str, Path]


def by_catalogue(seen: Sequence[FunctionProblem]) -> Diagnosis | None:
    """Return the mistakes that make these gradients, under the target's names; None for none."""
    found = [f for f in map(_found, seen) if f is not None]
    if not found or len(found) < len(seen):
        return None
    with np.errstate(all="ignore"):
        diagnosis = diagnose([f.evidence for f in found])
    if not diagnosis.named:
        return None
    names = {ours: path_name(theirs) for ours, theirs in found[0].names.items()}
    location = diagnosis.location
    if location is not None:
        location = replace(
            location,
            tensor=names.get(location.tensor, location.tensor),
            wrong=tuple(names.get(t, t) for t in location.wrong),
        )
    named = tuple(
        replace(n, places=tuple(names.get(p, p) for p in n.places)) for n in diagnosis.named
    )
    described = tuple((names.get(t, t), text) for t, text in diagnosis.described)
    return Diagnosis(location, named, described)


def _found(seen: FunctionProblem) -> _Found | None:
    pairs = [(o, c) for o, c in zip(seen.outputs, seen.cotangents, strict=True) if o is not None]
    if len(pairs) != 1 or pairs[0][1] is None or pairs[0][0].ndim < 2:
        return None
    output, cotangent = pairs[0][0], np.asarray(pairs[0][1], dtype=float)
    if len(seen.leaves) == 1:
        return _activation(seen, output, cotangent)
    return _dense(seen, output, cotangent)


def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])


def _activation(seen: FunctionProblem, output: Array, cotangent: Array) -> _Found | None:
    ((path, x),) = seen.leaves.items()
    got = seen.got.get(path)
    if x.shape != output.shape or got is None or got.shape != x.shape:
        return None
    with np.errstate(all="ignore"):
        fit = next(
            (
                (n, p)
                for n, op in ACTIVATIONS.items()
                for p in _parameters(op)
                if _same(op.forward(x, **p), output)
            ),
            None,
        )
    if fit is None or fit[0] == "identity":
        return None
    width = x.shape[-1]
    network = Network(width, (Layer(width, fit[0], fit[1], bias=False),), "kl_div", {}, "sum")
    weight = {"layers.0.weight": np.eye(width)}
    problem = Problem(network, weight, _rows(x).astype(float), -_rows(cotangent))
    given = {"layers.0.a": _rows(cotangent), "layers.0.z": _rows(got)}
    return _Found(GradientEvidence(problem, given), {"layers.0.z": path})


def _parameters(operation: Activation) -> Iterator[dict[str, float]]:
    """Yield the numbers that an activation may have been written with."""
    yield operation.defaults()
    for name, parameter in operation.parameters.items():
        for choice in parameter.choices:
            yield {**operation.defaults(), name: float(choice)}


def _same(ours: Any, theirs: Array) -> bool:
    return np.shape(ours) == theirs.shape and bool(np.allclose(ours, theirs, rtol=SAME, atol=SAME))


def _dense(seen: FunctionProblem, output: Array, cotangent: Array) -> _Found | None:
    paths = list(seen.leaves)
    arrays = list(seen.leaves.values())
    if len(arrays) not in (2, 3) or arrays[0].ndim != 2 or arrays[1].ndim != 2 or output.ndim != 2:
        return None
    x, weight, *bias = arrays
    for turned in (False, True):
        w = weight.T if turned else weight
        if x.shape[1] != w.shape[0] or (bias and bias[0].shape != (w.shape[1],)):
            continue
        if not _same(x @ w + (bias[0] if bias else 0.0), output):
            continue
        network = Network(x.shape[1], (Layer(w.shape[1], bias=bool(bias)),), "kl_div", {}, "sum")
        parameters = {"layers.0.weight": np.array(w)}
        parameters |= {"layers.0.bias": bias[0]} if bias else {}
        names = dict(zip(("x", "layers.0.weight", "layers.0.bias"), paths, strict=False))
        given = {"layers.0.a": cotangent, "layers.0.z": cotangent}
        for ours, path in names.items():
            got = seen.got.get(path)
            if got is not None:
                given[ours] = np.array(got.T) if turned and ours == "layers.0.weight" else got
        return _Found(GradientEvidence(Problem(network, parameters, x, -cotangent), given), names)
    return None
