"""Finds the lines of the catalogue on a tape: δz of an activation, dense layers, losses.

A line is found by its values, whatever it is called: a = f(z) entry by entry or by rows,
z = x W + b in any of four layouts, and a loss by the slope of the objective by its prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.spec import Activation, Loss
from reference.balls import is_tracked, values
from reference.checks.explain.graph import Array, Places, read
from reference.checks.explain.pairs import Pair, pairs_of, slope_text
from reference.checks.explain.problem import Named, Problem
from reference.checks.explain.rowwise import RowStep, row_steps
from reference.checks.identify import settings_of
from reference.checks.losses import matching_targets
from reference.checks.tolerances import DIGITS
from reference.diagnosis.mistakes.catalogue import (
    ActivationLine,
    DenseLine,
    Line,
    LineName,
    LossLine,
)

Cotangents = Callable[[Places], Array]
"""Reads the cotangents of an array from a sweep, on the claims' scale."""


@dataclass(frozen=True)
class Spot:
    """A line on the tape: what it is called in the catalogue, whose cotangent it makes.

    made: the line, given the cotangents of a sweep. texts: the target's names of the catalogue's
    symbols. what: the step in words, "a1 = tanh(z1)". depth: where it stands on the tape.
    """

    key: tuple[str, ...]
    name: LineName
    places: Places
    made: Callable[[Cotangents], Line]
    texts: Mapping[str, str]
    what: str
    right: str = ""
    """The right line in the target's own names, where it is shorter than the catalogue's."""
    depth: int = 0
    unnamed: bool = False
    """Whether the target has no name for z or a."""
    entries: tuple[Spot, ...] = ()
    """The line entry by entry, where an entry is made of others: h[t] of h[t − 1]."""


def spots_of(problem: Problem) -> list[Spot]:
    """Return the lines of a problem's forward, each once."""
    if "spots" not in problem.cache:
        with np.errstate(all="ignore"):
            found = [*_activations(problem), *_rows(problem), *_dense(problem)]
            if problem.objective.kind != "implicit":  # else the loss itself is a guess
                found += _losses(problem)
        # Of two with one key the first counts: z2 before what it is the sum of without a bias.
        problem.cache["spots"] = {s.key: s for s in reversed(found)}
    known: dict[tuple[str, ...], Spot] = problem.cache["spots"]
    return list(known.values())


def spot_at(problem: Problem, key: tuple[str, ...]) -> Spot | None:
    """Return a problem's line by its key."""
    spots_of(problem)
    found: dict[tuple[str, ...], Spot] = problem.cache["spots"]
    return found.get(key)


# -- activations -------------------------------------------------------------------------------


_FEW = 4  # entries that tell an activation with a number of its own from another


def operation_of(z: Array, a: Array, rowwise: bool) -> tuple[Activation | None, dict[str, float]]:
    """Return the activation with a = f(z) and its numbers; None where it is none of ours."""
    if z.size < 2 or np.allclose(z, a, rtol=DIGITS, atol=0):
        return None, {}
    known = {n: op for n, op in ACTIVATIONS.items() if op.rowwise == rowwise and n != "identity"}
    tries = [(n, op.defaults()) for n, op in known.items()]
    with np.errstate(all="ignore"):
        if z.size >= _FEW:
            tries += [(n, s) for n in known for s in settings_of(n, z, a)]
        for name, setting in tries:
            if np.allclose(known[name].forward(z, **setting), a, rtol=DIGITS, atol=DIGITS):
                return known[name], setting
    return None, {}


def _activations(problem: Problem) -> Iterator[Spot]:
    for pair in pairs_of(problem):
        spot = _activation(problem, pair)
        if pair.a.places.size > 1 or pair.a.path[0] not in ("hidden", "terms"):
            yield spot


def _activation(problem: Problem, pair: Pair) -> Spot:
    z, a, slope = (_matrix(x) for x in (pair.z.value, pair.a.value, pair.slope))
    operation, setting = (None, {}) if pair.mask else operation_of(z, a, rowwise=False)
    line = ActivationLine(
        operation, setting, z, a, a, _input_of(problem, pair),
        None if operation is not None else slope, masked=bool(pair.mask),
    )  # fmt: skip
    z_text = f"z({pair.a.text})" if pair.unnamed else pair.z.text
    texts = {"δz": f"δ{z_text}", "δa": f"δ{pair.a.text}", "z": z_text, "a": pair.a.text,
             "f′(z)": slope_text(pair), "f(z)": pair.a.text,
             "mask": pair.mask or "mask"}  # fmt: skip
    name = operation.name if operation is not None else "f"
    what = f"{pair.a.text} = {name}({'…' if pair.unnamed else pair.z.text})"
    right = f"{texts['δz']} = {texts['δa']} · {texts['f′(z)']}"
    ends, starts = _matrix(pair.a.places), _matrix(pair.z.places)
    spot = Spot(
        pair.key, "activation", starts, _with_cotangent(line, ends), texts, what, right,
        int(starts.max()), unnamed=pair.unnamed or pair.a.path[0] in ("hidden", "terms"),
    )  # fmt: skip
    if int(np.min(ends, where=ends != starts, initial=problem.graph.size)) > int(starts.max()):
        return spot
    return replace(spot, entries=tuple(_entries(spot, line, ends, starts)))


def _with_cotangent(line: ActivationLine, ends: Places) -> Callable[[Cotangents], Line]:
    return lambda cotangents: replace(line, da=_matrix(cotangents(ends)))


def _entries(spot: Spot, line: ActivationLine, ends: Places, starts: Places) -> Iterator[Spot]:
    """Yield a line for each entry by itself."""
    for at in np.ndindex(starts.shape):
        entry = tuple(slice(i, i + 1) for i in at)
        known = None if line.known is None else line.known[entry]
        one = replace(line, z=line.z[entry], a=line.a[entry], known=known, x=None)
        yield replace(spot, places=starts[entry], made=_with_cotangent(one, ends[entry]))


def _matrix(x: Any) -> Any:
    """Return an array by rows, as the catalogue has them."""
    return x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)


def _input_of(problem: Problem, pair: Pair) -> Array | None:
    """Return what the layer of an activation was fed, where it has the shape of z."""
    for dense in dense_of(problem):
        if set(dense.z.places.ravel().tolist()) == set(pair.z.places.ravel().tolist()):
            return dense.x.value if dense.x.value.shape == _matrix(pair.z.value).shape else None
    return None


def _rows(problem: Problem) -> Iterator[Spot]:
    for step in row_steps(problem):
        if int(step.behind.max()) < int(step.places.min()):
            yield _row_step(problem, step)


def _row_step(problem: Problem, step: RowStep) -> Spot:
    operation = ACTIVATIONS[step.softmax.replace("-", "_")] if step.softmax else None
    jacobian = None if step.softmax else step.jacobian
    z = np.array([problem.graph.values[p] for p in step.behind.ravel()]).reshape(step.behind.shape)
    a = step.rows(step.a.value)

    def made(cotangents: Cotangents) -> ActivationLine:
        return ActivationLine(operation, {}, z, a, cotangents(step.places), jacobian=jacobian)

    texts = {"δz": f"δ{step.text}", "δa": f"δ{step.a.text}", "z": step.text, "a": step.a.text,
             "p": step.a.text, "f(z)": step.a.text,
             "f′(z)": f"∂{step.a.text}/∂{step.text}"}  # fmt: skip
    what, depth = (
        f"{step.a.text} = {step.softmax or 'a function of whole rows'}",
        int(step.behind.max()),
    )
    return Spot(step.key, "activation", step.behind, made, texts, what, "", depth)


# -- dense layers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A named matrix as the catalogue has it: perhaps turned."""

    places: Places
    value: Array
    text: str
    path: tuple[str, ...] = ()

    @property
    def turned(self) -> View:
        """The transpose."""
        return View(self.places.T, self.value.T, f"{self.text}ᵀ", self.path)


@dataclass(frozen=True)
class DenseSpot:
    """z = x W + b, samples as rows."""

    x: View
    weight: View
    bias: View | None
    z: View
    columns: bool


def dense_of(problem: Problem) -> list[DenseSpot]:
    """Return the dense layers among the named values of a problem."""
    if "dense" not in problem.cache:
        problem.cache["dense"] = list(_found_dense(problem))
    found: list[DenseSpot] = problem.cache["dense"]
    return found


def _found_dense(problem: Problem) -> Iterator[DenseSpot]:
    named = [_view(n) for n in problem.named.values() if (n.places >= 0).all()]
    matrices = [v for v in named if v.value.ndim == 2]
    others = [_view(p.z) for p in pairs_of(problem) if p.unnamed and p.z.value.ndim == 2]
    others += [
        View(s.behind, _values_at(problem, s.behind), s.text)
        for s in row_steps(problem)
        if s.across == "last"
    ]
    weights = [v for v in matrices if v.path in problem.outcome.inputs]
    for w in weights:
        for x in matrices:
            if x is w:
                continue
            for columns in (False, True):
                xs = x.turned if columns else x
                for ws in (w, w.turned):
                    if xs.value.shape[1] == ws.value.shape[0]:
                        yield from _outputs(xs, ws, [*matrices, *others], named, columns)


def _outputs(
    x: View, w: View, candidates: list[View], named: list[View], columns: bool
) -> Iterator[DenseSpot]:
    product = x.value @ w.value
    for z in candidates:
        zs = z.turned if columns else z
        if zs.value.shape != product.shape or int(zs.places.max()) <= int(x.places.max()):
            continue
        rest = zs.value - product
        size = max(1.0, float(np.abs(zs.value).max()))
        if np.abs(rest).max(initial=0.0) <= DIGITS * size:
            yield DenseSpot(x, w, None, zs, columns)
            continue
        if np.ptp(rest, axis=0).max(initial=0.0) > DIGITS * size:
            continue
        for b in named:
            if b.value.size == rest.shape[1] and np.allclose(b.value.ravel(), rest[0], atol=DIGITS):
                flat = View(b.places.ravel(), b.value.ravel(), b.text, b.path)
                yield DenseSpot(x, w, flat, zs, columns)
                break


def _view(named: Named) -> View:
    return View(named.places, named.value, named.text, named.path)


def _values_at(problem: Problem, places: Places) -> Array:
    found = [problem.graph.values[p] for p in places.ravel().tolist()]
    return np.array(found).reshape(places.shape)


def _dense(problem: Problem) -> Iterator[Spot]:
    after = {_key(p.z.places): p.a.places for p in pairs_of(problem)}
    after |= {_key(s.behind): s.places for s in row_steps(problem) if s.across == "last"}
    before = {_key(p.a.places): p.z.value for p in pairs_of(problem)}
    for d in dense_of(problem):
        yield from _dense_lines(d, after.get(_key(d.z.places)), before.get(_key(d.x.places)))


def _key(places: Places) -> frozenset[int]:
    return frozenset(places.ravel().tolist())


def _dense_lines(d: DenseSpot, after: Places | None, before: Array | None) -> Iterator[Spot]:
    turn = d.columns

    def made(cotangents: Cotangents) -> DenseLine:
        da = None
        if after is not None and after.size == d.z.places.size:
            da = cotangents(after)
            da = da.T if turn else da
        x_before = (before.T if turn else before) if before is not None else None
        bias = d.bias.value if d.bias is not None else None
        return DenseLine(d.x.value, cotangents(d.z.places), d.weight.value, bias, da, x_before)

    x, w, z = (v.text.removesuffix("ᵀ") for v in (d.x, d.weight, d.z))
    b = d.bias.text if d.bias is not None else "b"
    texts = {"δz": f"δ{z}", "δx": f"δ{x}", "x": x, "W": w, "b": b, "∂L/∂W": f"∂L/∂{w}",
             "∂L/∂b": f"∂L/∂{b}", "z": z}  # fmt: skip
    what = f"{z} = {x} {w}" + (f" + {b}" if d.bias is not None else "")
    key = ("dense", *d.x.path, "·", *d.weight.path, str(d.weight.text.endswith("ᵀ")), str(turn))
    depth = int(d.z.places.max())
    lines: list[tuple[LineName, View]] = [("weight", d.weight), ("below", d.x)]
    lines += [("bias", d.bias)] if d.bias is not None else []
    for name, view in lines:
        yield Spot((*key, name), name, view.places, made, texts, what, "", depth)


# -- losses ------------------------------------------------------------------------------------


def _losses(problem: Problem) -> Iterator[Spot]:
    """Yield the losses whose slope the objective has by a named value."""
    targets = {
        p: np.asarray(values(v) if is_tracked(v) else v)
        for p, v in {**problem.outcome.others, **problem.outcome.inputs}.items()
        if p[0] != "before" and np.size(v) > 1
    }
    for y in problem.named.values():
        if y.value.ndim not in (1, 2) or (y.places < 0).any() or y.value.size < 2:
            continue
        if y.path[0] in ("hidden", "terms"):
            continue
        truth = _matrix_of_samples(problem.cotangent(y))
        if not np.isfinite(truth).all() or not truth.any():
            continue
        for path, raw in targets.items():
            if path != y.path:
                yield from _losses_of(problem, y, truth, path, raw)


def _matrix_of_samples(x: Array) -> Array:
    return x if x.ndim == 2 else x.reshape(-1, 1)


def _losses_of(
    problem: Problem, y: Named, truth: Array, path: tuple[str, ...], raw: Any
) -> Iterator[Spot]:
    fits = [*matching_targets(y.value, raw), *_broadcast(raw, y.shape)]
    if not fits:
        return
    prediction, target = _matrix_of_samples(y.value), _matrix_of_samples(np.asarray(fits[0], float))
    whole = np.issubdtype(raw.dtype, np.integer) and raw.shape == prediction.shape[:1]
    for loss in LOSSES.values():
        labels = whole and "labels" in loss.targets
        t = raw if labels else target
        own = _by_class(loss, prediction, raw, truth) if labels else ()
        for arguments in (*_arguments(loss, problem, prediction.shape[-1] * labels), *own):
            found = _fitted(loss, prediction, t, arguments, truth, problem)
            if found is not None:
                yield _loss_spot(y, t, loss, arguments, found, path)
                break


def _by_class(loss: Loss, y: Array, labels: Any, truth: Array) -> Iterator[dict[str, Any]]:
    """Yield the class weights with which a mean over the samples, or a sum, has the true slope."""
    with np.errstate(all="ignore"):
        slope = loss.backward(y, labels, np.ones(len(y)), **loss.defaults())
        shares = (slope * truth).sum(axis=1) / (slope * slope).sum(axis=1)
    if np.isfinite(shares).all() and (shares > 0).all() and np.ptp(shares):
        for times in (len(y), 1):
            weights = np.ones(y.shape[1])
            weights[labels] = times * shares
            yield {**loss.defaults(), "class_weight": weights}


def _broadcast(raw: Any, shape: tuple[int, ...]) -> Iterator[Array]:
    if raw.ndim == len(shape) and raw.dtype.kind == "f" and raw.shape != shape:
        if all(n in (1, m) for n, m in zip(raw.shape, shape, strict=True)):
            yield np.broadcast_to(raw, shape)


def _arguments(loss: Loss, problem: Problem, classes: int) -> Iterator[dict[str, Any]]:
    """Yield the numbers that a loss may have been written with: named ones, its defaults."""
    named = {**problem.outcome.others, **problem.outcome.kept, **problem.outcome.values}
    plain = {float(np.ravel(v)[0]) for v in named.values() if np.size(v) == 1 and not is_tracked(v)}
    numbers = [*sorted(v for v in plain if v > 0 and np.isfinite(v)), 0.1, 0.5][:8]
    defaults = loss.defaults()
    if "var" in loss.arrays:
        yield from ({**defaults, "var": np.array(v)} for v in numbers)
        return
    yield defaults
    yield from ({**defaults, "ignore_index": k} for k in range(classes))
    for name in defaults:
        if name not in ("ignore_index", "eps"):
            yield from ({**defaults, name: v} for v in numbers)


class _Reduction(NamedTuple):
    """∂/∂L of each sample, what the losses are divided by, and the samples' weights."""

    dL: Array
    divisor: float
    weights: Array | None = None


def _fitted(
    loss: Loss, y: Array, t: Any, arguments: Mapping[str, Any], truth: Array, problem: Problem
) -> _Reduction | None:
    """Return the reduction under which a loss has the true slope by y, None where there is none."""
    shape = y.shape if loss.elementwise else y.shape[:1]
    weights = [None, *(w for w in _named_weights(problem, len(y)))]
    try:
        with np.errstate(all="ignore"):
            slope = loss.backward(y, t, np.ones(shape), **arguments)
    except Exception:
        return None
    for w in weights:
        weighted = slope if w is None else slope * w[:, None]
        norm = float(np.sum(weighted * weighted))
        c = float(np.sum(weighted * truth)) / norm if np.isfinite(norm) and norm else 0.0
        if c > 0 and np.abs(c * weighted - truth).max() <= DIGITS * np.abs(truth).max():
            column = np.full(len(y), c) if w is None else c * w
            dL = np.broadcast_to(column[:, None] if loss.elementwise else column, shape)
            return _Reduction(dL, 1 / c, w)
    return None


def _named_weights(problem: Problem, samples: int) -> Iterator[Array]:
    for path, value in {**problem.outcome.others, **problem.outcome.inputs}.items():
        plain = np.asarray(values(value)) if path[0] != "before" else np.zeros(0)
        if plain.dtype.kind == "f" and plain.shape in ((samples,), (samples, 1)) and samples > 1:
            yield plain.ravel().astype(float)


def _loss_spot(
    y: Named,
    target: Any,
    loss: Loss,
    arguments: Mapping[str, Any],
    found: _Reduction,
    path: tuple[str, ...],
) -> Spot:
    prediction = _matrix_of_samples(y.value)
    with np.errstate(all="ignore"):
        losses = loss.forward(prediction, target, **arguments)
    line = LossLine(
        loss, arguments, prediction, target, losses, found.dL, found.divisor,
        "sum" if abs(found.divisor - 1) < DIGITS else "mean", found.weights,
    )  # fmt: skip
    texts = {"δy": f"δ{y.text}", "y": y.text, "t": path[-1]}
    key = ("loss", loss.name, *y.path, "of", *path)
    places = y.places.reshape(prediction.shape)
    what, depth = f"{loss.name} of {y.text} and {path[-1]}", int(y.places.max())
    return Spot(key, "loss", places, lambda _: line, texts, what, "", depth)


def cotangents_of(problem: Problem, adjoints: list[float]) -> Cotangents:
    """Return how a line reads the cotangents of a sweep."""
    return lambda places: problem.scale * read(adjoints, places)
