"""Which mistake makes a wrong gradient of a framework's function.

The catalogue is asked where the forward is an operation of ours, by its values: an activation of
one array, or a dense layer. Without knowing the operation some mistakes are recognised by pulling
another cotangent back: with truth(c) the right gradient for c, a wrong one may be truth(1),
truth(c²), that of another argument, or c · x, c · f(x), c in place of c · f′(x).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.network import Layer, Network, Problem
from reference.checks.code import Path, path_name
from reference.checks.explain import Explanation
from reference.checks.tolerances import SAME
from reference.conventions.situations import settings
from reference.diagnose import Diagnosis, diagnose
from reference.diagnosis.search import GradientEvidence
from reference.formats import Array
from reports.checked import NamedMistake

Cotangents = Sequence[Array | None]
Gradients = Mapping[Path, Array]


@dataclass(frozen=True)
class FunctionProblem:
    """One problem of a function: its leaves, its outputs with their cotangents, its gradients."""

    leaves: Mapping[Path, Array]
    outputs: Sequence[Array | None]
    cotangents: Cotangents
    got: Mapping[Path, Array | None]
    truth: Callable[[Cotangents], Gradients] = lambda cotangents: {}
    """The right gradients for other cotangents of its outputs, where they are known."""


@dataclass(frozen=True)
class _Found:
    """A problem of ours that says the same as theirs, and their names of our tensors."""

    evidence: GradientEvidence
    names: Mapping[str, Path]


def by_catalogue(
    seen: Sequence[FunctionProblem], called: Callable[[Path], str] = path_name
) -> Explanation | None:
    """Return the mistakes that make these gradients, under the target's names; None for none.

    called: what the target calls the gradient of a leaf.
    """
    found = [f for f in map(_found, seen) if f is not None]
    if not found or len(found) < len(seen):
        return None
    with np.errstate(all="ignore"):
        diagnosis = diagnose([f.evidence for f in found])
    if not diagnosis.named:
        return None
    return explanation_of(diagnosis, {o: called(t) for o, t in found[0].names.items()})


def explanation_of(
    found: Diagnosis, names: Mapping[str, str] = MappingProxyType({})
) -> Explanation:
    """Return a diagnosis in the words of the report; names: the target's, of our tensors."""
    mistakes = tuple(
        NamedMistake(
            m.name, m.sentence, m.wrong, m.right, tuple(names.get(p, p) for p in n.places),
            n.explained, n.of, n.remaining,
        )
        for n in found.named
        for m in [n.mistake]
    )  # fmt: skip
    first = found.location.tensor if found.location is not None else ""
    described = tuple((names.get(t, t), text) for t, text in found.described)
    return Explanation(names.get(first, first), mistakes, described)


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
                for p in settings(op)
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


def _same(ours: Array, theirs: Array) -> bool:
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


_FEW = 3  # from fewer problems it could be chance


def simple_mistakes(problems: Sequence[FunctionProblem]) -> dict[Path, str]:
    """Return what is wrong with each gradient that one of the simple mistakes makes."""
    if len(problems) < _FEW:
        return {}
    found: dict[Path, str] = {}
    candidates = [dict(_candidates(p)) for p in problems]
    for leaf in problems[0].leaves:
        for key, text in _SENTENCES.items():
            if all(
                _makes(p, c.get((leaf, key))) for p, c in zip(problems, candidates, strict=True)
            ):
                found[leaf] = text
                break
    return found | _swapped(problems)


_SENTENCES = {
    "one": "the incoming gradient (the cotangent) is left out: the slope alone is passed on",
    "square": "the incoming gradient (the cotangent) is multiplied in twice",
    "kept": "the derivative is left out: the incoming gradient is passed on as it is",
    "value": "the output itself is used in place of the derivative",
    "input": "the input itself is used in place of the derivative",
}

_Made = tuple[Path, Array]


def _candidates(seen: FunctionProblem) -> Iterator[tuple[tuple[Path, str], _Made]]:
    """Yield what each mistake would make of each leaf's gradient."""
    cotangents = [None if c is None else np.asarray(c, dtype=float) for c in seen.cotangents]
    for key, change in (("one", np.ones_like), ("square", np.square)):
        made = seen.truth([None if c is None else change(c) for c in cotangents])
        for leaf, gradient in made.items():
            yield (leaf, key), (leaf, gradient)
    output, cotangent = seen.outputs[0], cotangents[0]
    if output is None or cotangent is None:
        return
    for leaf, value in seen.leaves.items():
        if value.shape == np.shape(output):
            yield (leaf, "kept"), (leaf, cotangent)
            yield (leaf, "value"), (leaf, cotangent * output)
            yield (leaf, "input"), (leaf, cotangent * value)


def _makes(problem: FunctionProblem, made: _Made | None) -> bool:
    if made is None:
        return False
    leaf, gradient = made
    return _equals(problem.got.get(leaf), gradient)


def _equals(got: Array | None, made: Array) -> bool:
    if got is None or np.shape(got) != np.shape(made) or np.size(made) < 2:
        return False
    scale = float(np.max(np.abs(made), initial=0.0))
    return scale > 0 and bool(np.allclose(got, made, rtol=SAME, atol=SAME * scale))


def _swapped(problems: Sequence[FunctionProblem]) -> dict[Path, str]:
    """Return the pairs of gradients that are each the other's."""
    found: dict[Path, str] = {}
    leaves = list(problems[0].leaves)
    truths = [p.truth(p.cotangents) for p in problems]
    for i, one in enumerate(leaves):
        for other in leaves[i + 1 :]:
            if all(
                one in t
                and other in t
                and _equals(p.got.get(one), t[other])
                and _equals(p.got.get(other), t[one])
                for p, t in zip(problems, truths, strict=True)
            ):
                text = f"the gradients of {path_name(one)} and {path_name(other)} are swapped"
                found |= {one: text, other: text}
    return found
