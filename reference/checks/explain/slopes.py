"""Mistakes in the slope of an elementwise step a = f(z): δz = δa · f′(z) with another factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from reference.checks.explain.graph import Array, Edges, Edit, Hook
from reference.checks.explain.hypothesis import Hypothesis, Match, Words, listed, sentence
from reference.checks.explain.pairs import Pair, pairs_of, slope_at
from reference.checks.explain.problem import Problem

Slope = Callable[[Array, Array, Array, Array], Array]
"""(δa, z, a, f′(z)) -> δz"""


@dataclass(frozen=True)
class Form:
    """A wrong δz: its name, its formula with {d} {z} {a}, what is wrong with it in words."""

    name: str
    formula: str
    said: str
    value: Slope
    cost: float = 2.0


FORMS = (
    Form(
        "activation_skipped",
        "{d}",
        "the slope of {f} is left out: {dz} takes {d} as it is",
        lambda d, z, a, s: d,
        1.0,
    ),
    Form(
        "activation_slope_twice",
        "{d} · {s} · {s}",
        "the slope of {f} is applied twice (once more than it should be)",
        lambda d, z, a, s: d * s * s,
        1.7,
    ),
    Form(
        "value_in_place_of_slope",
        "{d} · {a}",
        "the activation {a} itself stands in place of its slope {s}; a factor of the derivative "
        "is left out",
        lambda d, z, a, s: d * a,
    ),
    Form(
        "slope_factor_left_out",
        "{d} · (1 − {a})",
        "the factor {a} of the slope is left out: {s} belongs there",
        lambda d, z, a, s: d * (1 - a),
    ),
    Form(
        "slope_of_another_function",
        "{d} · (1 + {a})",
        "the slope of {f} is {s}, not 1 + {a}",
        lambda d, z, a, s: d * (1 + a),
    ),
    Form(
        "slope_square_left_out",
        "{d} · (1 − {a})",
        "the square is left out: the slope of {f} is {s}, not 1 − {a}",
        lambda d, z, a, s: d * (1 - a),
        1.9,
    ),
    Form(
        "slope_of_another_function",
        "{d} · (1 − {a}²)",
        "1 − {a}², the slope of tanh, stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * (1 - a * a),
    ),
    Form(
        "slope_of_another_function",
        "{d} · {a} · (1 − {a})",
        "{a} · (1 − {a}), the slope of a sigmoid, stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * a * (1 - a),
    ),
    Form(
        "slope_of_another_function",
        "{d} · [{z} > 0]",
        "[{z} > 0], the slope of relu, stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * (z > 0),
    ),
    Form(
        "slope_of_another_function",
        "{d} · [{a} > 0]",
        "[{a} > 0], the slope of relu, stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * (a > 0),
    ),
    Form(
        "slope_of_another_function",
        "{d} · {a}²",
        "{a}² stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * a * a,
    ),
    Form(
        "slope_of_another_function",
        "{d} · {a} · (1 + {a})",
        "the slope of {f} is {s}, not {a} · (1 + {a})",
        lambda d, z, a, s: d * a * (1 + a),
    ),
    Form(
        "slope_of_another_function",
        "{d} · (1 + {a}²)",
        "the sign of the square: the slope of {f} is {s}, not 1 + {a}²",
        lambda d, z, a, s: d * (1 + a * a),
    ),
    Form(
        "slope_factor_left_out",
        "{d} · (σ({z}) + {z} · σ({z}))",
        "the factor 1 − σ({z}) is left out of the second term of the product rule: the sigmoid "
        "itself stands in place of its slope σ({z}) · (1 − σ({z}))",
        lambda d, z, a, s: d * (1 + z) / (1 + np.exp(-z)),
    ),
    Form(
        "slope_complement",
        "{d} · (1 − {s})",
        "the complement, 1 − slope, stands in place of the slope of {f} (a sign in an exponent, "
        "1 − s in place of s)",
        lambda d, z, a, s: d * (1 - s),
        2.5,
    ),
    Form(
        "slope_complement",
        "{d} · (−1 − {s})",
        "the complement of the slope of {f} is taken: 1 − s in place of s, the sign in the "
        "exponent is wrong",
        lambda d, z, a, s: d * (-1 - s),
        1.6,
    ),
    Form(
        "slope_of_the_input",
        "{d} · {z} · (1 − {z})",
        "the formula {a}·(1 − {a}) is meant for the output {a}, and is given the input {z} (the "
        "pre-activation) in place of the activation",
        lambda d, z, a, s: d * z * (1 - z),
    ),
    Form(
        "slope_of_the_input",
        "{d} · (1 − {z}²)",
        "the formula 1 − {a}² is meant for the output {a}, and is given the input {z} (the "
        "pre-activation) in place of the activation",
        lambda d, z, a, s: d * (1 - z * z),
    ),
    Form(
        "input_in_place_of_slope",
        "{d} · {z}",
        "the input {z} stands in place of the slope of {f}, {s}",
        lambda d, z, a, s: d * z,
    ),
    Form(
        "slope_of_the_error",
        "{d} · (1 − {d})",
        "the slope is taken of the error (of the incoming cotangent {d}), not of {a}: a (1 − a) "
        "belongs to the activation {a}",
        lambda d, z, a, s: d * (1 - d),
    ),
    Form(
        "slope_of_the_error",
        "1 − {d}²",
        "the slope is taken of the error (of the incoming cotangent {d}), not of {a}",
        lambda d, z, a, s: 1 - d * d,
    ),
    Form(
        "slope_of_the_error",
        "{d} · (1 − {d}²)",
        "the slope is taken of the error (of the incoming cotangent {d}), not of {a}",
        lambda d, z, a, s: d * (1 - d * d),
    ),
    Form(
        "slope_of_the_error",
        "{d} · {d} · (1 − {d})",
        "the slope is taken of the error (of the incoming cotangent {d}), not of {a}",
        lambda d, z, a, s: d * d * (1 - d),
    ),
    Form(
        "cotangent_left_out",
        "{s}",
        "the incoming gradient {d} is left out: the slope alone is passed on",
        lambda d, z, a, s: s + 0 * d,
    ),
    Form(
        "mask_of_the_gradient",
        "{d} · [{d} > 0]",
        "the mask is made of the incoming gradient (the cotangent {d}), not of {z}: where the "
        "gradient's sign is negative it is dropped",
        lambda d, z, a, s: d * (d > 0),
    ),
    Form(
        "mask_of_the_gradient",
        "[{d} > 0]",
        "the mask is made of the incoming gradient (the cotangent {d}), not of {z}, and the "
        "gradient itself is left out",
        lambda d, z, a, s: np.asarray((d > 0) * 1.0, dtype=np.float64),
    ),
    Form(
        "value_times_slope",
        "{d} · {a} · {s}",
        "there is a factor {a} too many beside the slope of {f}",
        lambda d, z, a, s: d * a * s,
        2.5,
    ),
    Form(
        "input_times_slope",
        "{d} · {z} · {s}",
        "there is a factor {z} too many beside the slope of {f}",
        lambda d, z, a, s: d * z * s,
        2.5,
    ),
    Form(
        "divided_by_slope",
        "{d} / {s}",
        "it is divided by the slope of {f} where it has to be multiplied",
        lambda d, z, a, s: d / s,
        2.5,
    ),
    Form(
        "wrong_sign",
        "−{d} · {s}",
        "the sign of the slope of {f} is wrong (negated)",
        lambda d, z, a, s: -d * s,
        2.5,
    ),
    Form(
        "factor_two",
        "2 · {d} · {s}",
        "there is a factor 2 too many beside the slope of {f}",
        lambda d, z, a, s: 2 * d * s,
        2.6,
    ),
    Form(
        "factor_half",
        "½ · {d} · {s}",
        "a factor 2 is left out beside the slope of {f}",
        lambda d, z, a, s: 0.5 * d * s,
        2.6,
    ),
    Form(
        "path_left_out",
        "0",
        "nothing is passed on through {f}: the path is left out",
        lambda d, z, a, s: 0 * d,
        2.7,
    ),
)


def slope_hypotheses(problem: Problem) -> Iterator[Hypothesis]:
    """Yield a hypothesis for every elementwise step and every wrong slope."""
    for pair in pairs_of(problem):
        for form in FORMS:
            if form.name == "slope_square_left_out" and pair.function != "tanh":
                continue
            if form.name == "slope_factor_left_out" and pair.function == "tanh":
                continue
            yield _hypothesis(pair, form, form.value)
        value = _at_the_activation(pair.function)
        if value is not None:
            form = Form(
                "slope_of_the_activation",
                "{d} · f′({a})",
                "the derivative of {f} is evaluated at the "
                "activation {a}; its formula wants z, the input {z} (so {fname} is applied twice)",
                value,
            )
            yield _hypothesis(pair, form, value)


def _at_the_activation(function: str) -> Slope | None:
    if slope_at(function, np.zeros(1)) is None:
        return None
    return lambda d, z, a, s: d * np.asarray(slope_at(function, a))


def _hypothesis(pair: Pair, form: Form, value: Slope) -> Hypothesis:
    key, name = pair.key, f"{form.name} {form.formula}"

    def edit(problem: Problem) -> Edit | None:
        mine = next((p for p in pairs_of(problem) if p.key == key), None)
        return None if mine is None else slope_edit(problem, mine, value)

    return Hypothesis(
        (*key, name),
        edit,
        lambda match: _words(pair, form, match),
        form.cost + 0.2 * pair.unnamed,
        int(pair.z.places.max()),
    )


def slope_edit(problem: Problem, pair: Pair, value: Slope) -> Edit:
    """Return the sweep in which δz = value(δa, z, a, f′(z)), entry by entry."""
    edges: dict[int, Edges] = {}
    hooks: dict[int, list[Hook]] = {}
    columns = zip(
        pair.a.places.ravel().tolist(),
        pair.z.places.ravel().tolist(),
        pair.z.value.ravel(),
        pair.a.value.ravel(),
        pair.slope.ravel(),
        strict=True,
    )
    for p, q, z, a, s in columns:
        if p != q and p >= 0:
            edges[p] = []
        hooks.setdefault(q, []).append(
            _entry_hook(p, q, float(z), float(a), float(s), value, problem.scale)
        )
    return Edit(edges, hooks)


def _entry_hook(p: int, q: int, z: float, a: float, s: float, value: Slope, scale: float) -> Hook:
    x, y, t = np.float64(z), np.float64(a), np.float64(s)

    def hook(adjoints: list[float]) -> None:
        d = np.float64(adjoints[p] * scale if p >= 0 else 0.0)
        with np.errstate(all="ignore"):
            new = float(value(d, x, y, t)) / scale  # type: ignore[arg-type]
        adjoints[q] = new if p == q else adjoints[q] + new

    return hook


def slope_text(pair: Pair) -> str:
    """Return the formula of the true slope."""
    a = pair.a.text
    match pair.function:
        case "sigmoid":
            return f"{a}·(1 − {a})"
        case "tanh":
            return f"(1 − {a}²)"
        case "relu":
            return f"[{pair.z.text} > 0]"
        case "exp":
            return a
    return f"∂{a}/∂{_short(pair)}"


def _short(pair: Pair) -> str:
    return f"z({pair.a.text})" if pair.unnamed else pair.z.text


def _words(pair: Pair, form: Form, match: Match) -> Words:
    d, dz = f"δ{pair.a.text}", f"δ{_short(pair)}"
    f = f"{pair.a.text} = {pair.function or 'f'}({'…' if pair.unnamed else pair.z.text})"
    z = "z" if pair.unnamed else pair.z.text
    parts = {
        "d": d,
        "dz": dz,
        "z": z,
        "a": pair.a.text,
        "s": slope_text(pair),
        "f": f,
        "fname": pair.function,
    }
    right = f"{dz} = {d} · {slope_text(pair)}"
    claims = listed([c.text for c in match.claims])
    if form.name == "activation_skipped" and pair.mask:
        return Words(
            "mask_ignored",
            f"The mask of {pair.a.text}, {pair.mask}, is ignored on the way back: dropped units "
            "get a gradient "
            f"as well (its factor, and with it 1/keep_prob, is left out).",
            f"{dz} = {d}",
            f"{dz} = {d} · {pair.mask}",
        )
    if form.name == "activation_skipped" and match.alone:
        verb = "take" if len(match.claims) > 1 else "takes"
        return Words(
            "weight_skips_activation",
            f"{claims} {verb} the gradient of {pair.a.text} before its derivative: "
            f"{d} stands where {dz} = {d} · {slope_text(pair)} belongs.",
            f"{claims} from {d}",
            f"{claims} from {dz} = {d} · {slope_text(pair)}",
        )
    said = form.said.format(**parts)
    yours = f"{dz} = {form.formula.format(**parts)}"
    where = f" (in {claims} alone)" if match.alone else ""
    return Words(form.name, f"{sentence(said)}{where}.", yours, right)
