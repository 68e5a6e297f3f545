"""Mistakes in the windows of a convolution: a stride or a padding that is ignored moves them.

out[i] = Σ_k x[stride · i + k − pad] · w[k]
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.code import Path
from reference.checks.explain.graph import Edges, Edit, Places
from reference.checks.explain.hypothesis import CLAIMS, Hypothesis, Words
from reference.checks.explain.links import pieces, result_of
from reference.checks.explain.operands import products
from reference.checks.explain.problem import NamedValue, ReadingProblem, once

_MIN_USES = 8


@dataclass(frozen=True)
class _Axis:
    """One axis of x: stride · z's index + w's index − pad; one of them alone where stride is 0."""

    x: int
    z: int
    w: int
    stride: int
    pad: int


@dataclass(frozen=True)
class _Geometry:
    x: Path
    w: Path
    z: Path
    axes: tuple[_Axis, ...]
    outputs: dict[int, int]
    """The flat index in z of every sum of products."""


@once
def geometries(problem: ReadingProblem) -> list[_Geometry]:
    """Return the convolutions of a forward: sums of products whose indices move by windows."""
    known, found = pieces(problem), []
    for (b, a), uses in products(problem).items():
        weight = known[a].value.ndim and a in problem.outcome.inputs
        if len(uses) >= _MIN_USES and 1 <= known[b].value.ndim <= 4 and weight:
            found.append(_geometry(problem, b, a))
    return [g for g in found if g is not None]


def _geometry(problem: ReadingProblem, b: Path, a: Path) -> _Geometry | None:
    uses = products(problem)[b, a]
    outs = _outputs(problem, [u.child for u in uses])
    if outs is None:
        return None
    z, place = outs
    known = pieces(problem)
    x_index = np.stack(np.unravel_index([u.parent for u in uses], known[b].shape))
    w_index = np.stack(np.unravel_index([u.partner for u in uses], known[a].shape))
    z_index = np.stack(np.unravel_index([place[u.child] for u in uses], known[z].shape))
    axes = [_axis(p, x_index[p], z_index, w_index) for p in range(len(x_index))]
    plain = [x for x in axes if x is not None]
    if len(plain) < len(axes) or not any(x.stride for x in plain):
        return None
    return _Geometry(b, a, z, tuple(plain), place)


def _axis(p: int, x: Places, z: Places, w: Places) -> _Axis | None:
    """Return where one axis of x comes from: it is one of z, one of w, or a window over both."""
    for q in range(len(z)):
        if (x == z[q]).all():
            return _Axis(p, q, -1, 0, 0)
    for r in range(len(w)):
        if (x == w[r]).all():
            return _Axis(p, -1, r, 0, 0)
    for q, r in itertools.product(range(len(z)), range(len(w))):
        if z[q].max() == z[q].min():
            continue
        matrix = np.stack([z[q], np.ones(z.shape[1])], axis=1)
        solved, *_ = np.linalg.lstsq(matrix, x - w[r], rcond=None)
        stride, pad = round(float(solved[0])), round(-float(solved[1]))
        if stride >= 1 and (x == stride * z[q] + w[r] - pad).all():
            return _Axis(p, q, r, stride, pad)
    return None


def _outputs(problem: ReadingProblem, children: list[int]) -> tuple[Path, dict[int, int]] | None:
    """Return the named value that the products are summed into, and each child's index in it."""
    found = {child: result_of(problem, child) for child in dict.fromkeys(children)}
    known = {child: made for child, made in found.items() if made is not None}
    targets = {path for path, _ in known.values()}
    if len(targets) != 1 or len(known) < len(found):
        return None
    return targets.pop(), {child: i for child, (_, i) in known.items()}


_MOVES = {
    "stride": (
        "stride_ignored",
        "The stride is ignored: the windows of {x} start at i, where i · stride belongs (shifted "
        "windows)",
    ),
    "pad": ("padding_ignored", "The padding is ignored: the windows of {x} are shifted by it"),
    "pad twice": (
        "padding_twice", "The padding is counted twice: the windows of {x} are shifted"
    ),
    "one later": ("windows_shifted", "The windows of {x} are shifted by one index"),
    "flipped": (
        "kernel_not_flipped",
        "{w} is flipped (in reversed order) inside of its window; the gradient of a correlation "
        "is a convolution",
    ),
}  # fmt: skip


def window_hypotheses(problem: ReadingProblem) -> Iterator[Hypothesis]:
    """Yield for every convolution: the stride or the padding ignored, the windows moved."""
    for geometry in geometries(problem):
        strided = any(a.stride > 1 for a in geometry.axes)
        padded = any(a.pad for a in geometry.axes)
        for how in _MOVES:
            if (how != "stride" or strided) and (not how.startswith("pad") or padded):
                yield _moved(problem, geometry, how)


def _moved(problem: ReadingProblem, geometry: _Geometry, how: str) -> Hypothesis:
    x, w = pieces(problem)[geometry.x].text, pieces(problem)[geometry.w].text

    def edit(other: ReadingProblem) -> Edit | None:
        mine = (g for g in geometries(other) if (g.x, g.w) == (geometry.x, geometry.w))
        return next((_moved_edit(other, g, how) for g in mine), None)

    name, text = _MOVES[how]
    words = Words(
        name,
        f"{text.format(x=x, w=w)}, in {CLAIMS}.",
        f"{CLAIMS} with {x}[i + k]" if how == "stride" else f"{CLAIMS} shifted",
        f"{CLAIMS} with {x}[stride·i + k − pad]",
    )
    return Hypothesis(edit, words.of, 1.6, max(geometry.outputs))


def _moved_edit(problem: ReadingProblem, geometry: _Geometry, how: str) -> Edit:
    known = pieces(problem)
    x, w, z = known[geometry.x], known[geometry.w], known[geometry.z]
    w_flat = {p: i for i, p in enumerate(w.flat) if p >= 0}
    x_flat = x.flat
    own = set(x_flat) | set(w_flat)
    values_x, values_w = x.value.ravel(), w.value.ravel()
    edges: dict[int, Edges] = {}
    for child, at in geometry.outputs.items():
        place = np.unravel_index(at, z.shape)
        mine: Edges = [(p, s) for p, s in problem.graph.edges[child] if p not in own]
        for p, _ in problem.graph.edges[child]:
            j = w_flat.get(p)
            i = _moved_index(geometry, x, w, place, j, how) if j is not None else None
            if i is None or j is None:
                continue
            if x_flat[i] >= 0:
                mine.append((x_flat[i], float(values_w[j])))
            mine.append((p, float(values_x[i])))
        edges[child] = mine
    return Edit(edges)


def _moved_index(
    geometry: _Geometry, x: NamedValue, w: NamedValue, place: tuple[np.intp, ...], j: int, how: str
) -> int | None:
    """Return the flat index in x that a mistake takes for an entry of z and one of w."""
    k = np.unravel_index(j, w.shape)
    index = [0] * len(x.shape)
    for axis in geometry.axes:
        if not axis.stride:
            index[axis.x] = int(place[axis.z] if axis.z >= 0 else k[axis.w])
            continue
        stride = 1 if how == "stride" else axis.stride
        pad = {"pad": 0, "pad twice": 2 * axis.pad, "one later": axis.pad - 1}.get(how, axis.pad)
        inside = int(k[axis.w])
        inside = w.shape[axis.w] - 1 - inside if how == "flipped" else inside
        index[axis.x] = stride * int(place[axis.z]) + inside - pad
        if not 0 <= index[axis.x] < x.shape[axis.x]:
            return None
    return int(np.ravel_multi_index(tuple(index), x.shape))
