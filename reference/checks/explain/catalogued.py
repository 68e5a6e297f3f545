"""Finds the lines of the catalogue on a tape, and tries each mistake on every line that it fits.

A line is found by its values, whatever it is called: a = f(z) entry by entry or by rows,
z = x W + b in any of four layouts, and a loss by the slope of the objective by its prediction. The
sweep is made as always; where a line's cotangent is complete, the difference between the wrong
line and the right one is added to it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.operation import Activation
from reference.checks.comparing.identify import settings_of
from reference.checks.explain.graph import A, Array, Edit, Hook, Places
from reference.checks.explain.hypothesis import (
    Cotangents,
    Hypothesis,
    Match,
    Spot,
    Words,
    cotangents_of,
)
from reference.checks.explain.losslines import losses
from reference.checks.explain.pairs import ElementwiseStep, pairs_of, slope_text
from reference.checks.explain.problem import NamedValue, ReadingProblem, once
from reference.checks.explain.rowwise import RowStep, row_steps
from reference.checks.tolerances import DIGITS, SAME
from reference.diagnosis.mistakes import CATALOGUE, Mistake
from reference.diagnosis.mistakes.activations import GATE_FORMULAS
from reference.diagnosis.mistakes.catalogue import (
    ActivationLine,
    DenseLine,
    Line,
    LineName,
    right_of,
)


@once
def spots_of(problem: ReadingProblem) -> dict[tuple[str, ...], Spot]:
    """Return the lines of a problem's forward by their keys, each once."""
    with np.errstate(all="ignore"):
        found = [*_activations(problem), *_rows(problem), *_dense(problem)]
        if problem.objective.kind != "implicit":  # else the loss itself is a guess
            found += losses(problem)
    # Of two with one key the first counts: z2 before what it is the sum of without a bias.
    return {s.key: s for s in reversed(found)}


# -- activations -------------------------------------------------------------------------------


_FEW = 4  # entries that tell an activation with a number of its own from another


def operation_of(z: Array, a: Array) -> tuple[Activation | None, dict[str, float]]:
    """Return the elementwise activation with a = f(z) and its numbers; None: none of ours."""
    if z.size < 2 or np.allclose(z, a, rtol=DIGITS, atol=0):
        return None, {}
    known = {n: op for n, op in ACTIVATIONS.items() if not op.rowwise and n != "identity"}
    tries = [(n, op.defaults()) for n, op in known.items()]
    with np.errstate(all="ignore"):
        if z.size >= _FEW:
            tries += [(n, s) for n in known for s in settings_of(n, z, a)]
        for name, setting in tries:
            if np.allclose(known[name].forward(z, **setting), a, rtol=DIGITS, atol=DIGITS):
                return known[name], setting
    return None, {}


def _activations(problem: ReadingProblem) -> Iterator[Spot]:
    for pair in pairs_of(problem):
        is_loss = pair.a.path == problem.objective.output and problem.objective.kind == "loss"
        single = is_loss or pair.a.path[0] in ("hidden", "terms")
        if (pair.a.places.size > 1 or not single) and not _linear(pair):
            yield _activation(problem, pair)


def _linear(pair: ElementwiseStep) -> bool:
    """Whether a step is not an activation: it scales its input, as Q Kᵀ/√d."""
    z, a = _matrix(pair.z.value), _matrix(pair.a.value)
    return pair.scales and operation_of(z, a)[0] is None


def _activation(problem: ReadingProblem, pair: ElementwiseStep) -> Spot:
    z, a, slope = (_matrix(x) for x in (pair.z.value, pair.a.value, pair.slope))
    operation, setting = (None, {}) if pair.mask else operation_of(z, a)
    line = ActivationLine(
        operation, setting, z, a, a, _input_of(problem, pair),
        None if operation is not None else slope, masked=bool(pair.mask),
    )  # fmt: skip
    z_text = f"z({pair.a.text})" if pair.unnamed else pair.z.text
    texts = {"δz": f"δ{z_text}", "δa": f"δ{pair.a.text}", "z": z_text, "a": pair.a.text,
             "f′(z)": slope_text(pair), "f(z)": pair.a.text,
             "mask": pair.mask or "mask"}  # fmt: skip
    name = operation.name if operation is not None else "f"
    texts |= {key: in_names(text, texts) for key, text in GATE_FORMULAS.get(name, {}).items()}
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


def _matrix(x: A) -> A:
    """Return an array by rows, as the catalogue has them."""
    return x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x.reshape(1, -1)


def _input_of(problem: ReadingProblem, pair: ElementwiseStep) -> Array | None:
    """Return what the layer of an activation was fed, where it has the shape of z."""
    for dense in dense_of(problem):
        if set(dense.z.flat) == set(pair.z.flat):
            return dense.x.value if dense.x.value.shape == _matrix(pair.z.value).shape else None
    return None


def _rows(problem: ReadingProblem) -> Iterator[Spot]:
    for step in row_steps(problem):
        # One matrix for all rows: x − mean(x) is not an activation.
        linear = len(step.jacobian) > 1 and np.ptp(step.jacobian, axis=0).max() <= SAME
        if int(step.behind.max()) < int(step.places.min()) and not linear:
            yield _row_step(problem, step)


def _row_step(problem: ReadingProblem, step: RowStep) -> Spot:
    operation = ACTIVATIONS[step.softmax.replace("-", "_")] if step.softmax else None
    jacobian = None if step.softmax else step.jacobian
    z, a = problem.graph.read(step.behind), step.rows(step.a.value)

    def made(cotangents: Cotangents) -> ActivationLine:
        return ActivationLine(operation, {}, z, a, cotangents(step.places), jacobian=jacobian)

    texts = {"δz": f"δ{step.text}", "δa": f"δ{step.a.text}", "z": step.text, "a": step.a.text,
             "p": step.a.text, "f(z)": step.a.text,
             "f′(z)": f"∂{step.a.text}/∂{step.text}"}  # fmt: skip
    what = f"{step.a.text} = {step.softmax or 'a function of whole rows'}"
    depth = int(step.behind.max())
    return Spot(step.key, "activation", step.behind, made, texts, what, depth=depth)


# -- dense layers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DenseSpot:
    """z = x W + b, samples as rows."""

    x: NamedValue
    weight: NamedValue
    bias: NamedValue | None
    z: NamedValue
    columns: bool


@once
def dense_of(problem: ReadingProblem) -> list[DenseSpot]:
    """Return the dense layers among the named values of a problem."""
    return list(_found_dense(problem))


def _turned(view: NamedValue) -> NamedValue:
    return NamedValue(view.path, view.places.T, view.value.T, f"{view.text}ᵀ")


def _found_dense(problem: ReadingProblem) -> Iterator[DenseSpot]:
    named = [n for n in problem.named.values() if -1 not in n.flat]
    matrices = [v for v in named if v.value.ndim == 2]
    others = [p.z for p in pairs_of(problem) if p.unnamed and p.z.value.ndim == 2]
    others += [
        NamedValue((), s.behind, problem.graph.read(s.behind), s.text)
        for s in row_steps(problem)
        if s.across == "last"
    ]
    for w in (v for v in matrices if v.path in problem.outcome.inputs):
        for x in (m for m in matrices if m is not w):
            for columns in (False, True):
                xs = _turned(x) if columns else x
                for ws in (w, _turned(w)):
                    if xs.value.shape[1] == ws.value.shape[0]:
                        yield from _outputs(xs, ws, [*matrices, *others], named, columns)


def _outputs(
    x: NamedValue,
    w: NamedValue,
    candidates: list[NamedValue],
    named: list[NamedValue],
    columns: bool,
) -> Iterator[DenseSpot]:
    product = x.value @ w.value
    for z in candidates:
        zs = _turned(z) if columns else z
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
                flat = replace(b, places=b.places.ravel(), value=b.value.ravel())
                yield DenseSpot(x, w, flat, zs, columns)
                break


def _dense(problem: ReadingProblem) -> Iterator[Spot]:
    pairs = [p for p in pairs_of(problem) if not _linear(p)]
    after = {frozenset(p.z.flat): p.a.places for p in pairs}
    after |= {
        frozenset(s.behind.ravel().tolist()): s.places
        for s in row_steps(problem)
        if s.across == "last"
    }
    before = {frozenset(p.a.flat): p.z.value for p in pairs}
    for d in dense_of(problem):
        yield from _dense_lines(d, after.get(frozenset(d.z.flat)), before.get(frozenset(d.x.flat)))


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
    lines: list[tuple[LineName, NamedValue]] = [("weight", d.weight), ("below", d.x)]
    lines += [("bias", d.bias)] if d.bias is not None else []
    for name, view in lines:
        yield Spot((*key, name), name, view.places, made, texts, what, depth=d.z.top)


_OWN, _DENSE, _SIGN, _ANY, _RARE = 1.0, 1.2, 1.5, 1.7, 2.0
"""What a mistake of the operation's own formula costs, one of a dense layer, a sign, one of any
activation, and the slope of another function."""


def catalogue_hypotheses(problem: ReadingProblem, named: bool = False) -> Iterator[Hypothesis]:
    """Yield the mistakes of the catalogue that can be made on the lines of a problem.

    named: whether only steps count whose result has a name in the code.
    """
    cotangents = cotangents_of(problem, problem.true)
    for spot in spots_of(problem).values():
        if named and spot.key[1] in ("hidden", "terms"):
            continue
        line = spot.made(cotangents)
        for order, mistake in enumerate(CATALOGUE.values()):
            if mistake.line == spot.name and mistake.applies(line):
                yield _hypothesis(spot, line, mistake, order)


def _hypothesis(spot: Spot, line: Line, mistake: Mistake, order: int) -> Hypothesis:
    sentence = _sentence(spot, line, mistake)

    def edit(problem: ReadingProblem) -> Edit | None:
        mine = spots_of(problem).get(spot.key)
        return None if mine is None else _edit(problem, mine, mistake)

    cost = _cost(mistake) + order / 10_000 + 0.2 * spot.unnamed
    return Hypothesis(edit, lambda match: _words(spot, sentence, mistake, match), cost, spot.depth)


def _cost(mistake: Mistake) -> float:
    if mistake.operations or mistake.line == "loss" or mistake.name == "activation_skipped":
        return _OWN
    if mistake.line != "activation":
        return _DENSE
    if mistake.name in ("activation_sign", "activation_slope_reflected"):
        return _SIGN
    return _RARE if mistake.family == "slopes" else _ANY


def _edit(problem: ReadingProblem, spot: Spot, mistake: Mistake) -> Edit | None:
    """Return the sweep in which a line is wrong; None where the mistake cannot be made here."""
    line = spot.made(cotangents_of(problem, problem.true))
    if not mistake.applies(line):
        return None
    hooks: dict[int, list[Hook]] = {}
    for part in spot.entries or (spot,):
        hooks.setdefault(int(part.places.max()), []).append(_hook(problem, part, mistake))
    return Edit({}, hooks)


def _hook(problem: ReadingProblem, spot: Spot, mistake: Mistake) -> Hook:
    places = spot.places.ravel().tolist()

    def hook(adjoints: list[float]) -> None:
        cotangents = cotangents_of(problem, adjoints)
        now = spot.made(cotangents)
        with np.errstate(all="ignore"):
            right = right_of(mistake.line, now)
            others = cotangents(spot.places) - right  # what comes from its other uses
            others[np.abs(others) <= SAME * np.abs(right).max(initial=0.0)] = 0.0
            made = (others + mistake.make(now)) / problem.scale
        for place, x in zip(places, made.ravel().tolist(), strict=True):
            adjoints[place] = x

    return hook


def _sentence(spot: Spot, line: Line, mistake: Mistake) -> str:
    """Return the sentence of a mistake, in the target's own names where that is clearer."""
    if mistake.name == "activation_path_left_out":
        a, z = spot.texts["a"], spot.texts["z"]
        return f"The gradient through {a} is missing: nothing is passed on from {a} to {z}."
    if mistake.name == "activation_slope_twice" and isinstance(line, ActivationLine):
        some = line.slope[(line.slope != 0) & (line.slope != 1)]
        if some.size and np.ptp(some) <= SAME * abs(some[0]):
            s = float(some[0])
            return (
                f"The slope {s * s:.6g} is used where the forward has {s:.6g}, or the derivative "
                f"is multiplied in twice ({s:.6g}² = {s * s:.6g})."
            )
    return mistake.sentence


def _words(spot: Spot, sentence: str, mistake: Mistake, match: Match) -> Words:
    if match.alone and mistake.name == "activation_skipped":
        mistake = CATALOGUE["weight_skips_activation"]  # what comes of δz elsewhere is right
        sentence = mistake.sentence
    where = f"{spot.what}; {match.text} alone" if match.alone else spot.what
    right = spot.right
    if not right or "∂" in right:  # the catalogue says more than the definition of a slope
        right = in_names(mistake.right, spot.texts)
    wrong = in_names(mistake.wrong, spot.texts)
    return Words(mistake.name, f"{sentence.rstrip('.')} ({where}).", wrong, right)


def in_names(formula: str, texts: Mapping[str, str]) -> str:
    """Return a formula of the catalogue in the names of the target: δz = δa becomes δz1 = δa1.

    A quotient or a product is put in brackets where it is squared or divided by.
    """
    symbols = "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))

    def named(found: re.Match[str]) -> str:
        text = texts[found[1]]
        before, after = formula[: found.start()], formula[found.end() :]
        whole = after.startswith("²") or before.endswith("/ ")
        compound = re.search(r"[·/ ]", text) and not re.fullmatch(r"[(\[][^()]*[)\]]", text)
        return f"({text})" if whole and compound else text

    return re.sub(rf"(?<![A-Za-zα-ωΑ-Ω∂])({symbols})(?![A-Za-z(])", named, formula)
