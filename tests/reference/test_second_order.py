"""Second order: the sides agree, the judge clears what is right and names what is not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flint import arb

from manual_backprop import graph
from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Layer, Network
from manual_backprop.second_order import hessian_vector_product, product_along, variables
from reference.campaign import Plan, run_block
from reference.evidence import gather
from reference.judge import Judgement, judge, judge_all
from reference.oracles import SECOND_ORDER, Answer, load, unsupported
from reference.oracles.jax_second import JaxForward, JaxReverse
from reference.oracles.manual import Manual
from reference.problems import GRAPHS, DirectedProblem, draw, draw_any
from reference.trials.mutants import mutate

MANUAL = Manual()
SIDES = {
    **load(("manual", "torch_reverse", "torch_nested", "torch_forward")),
    # Operation by operation: the padded programs take half a minute each to compile.
    "jax_forward": JaxForward(padded=False),
    "jax_reverse": JaxReverse(padded=False),
}
KNOWN = {"dtype": np.float64, "loss": "mse", "scale": 1.0}


def directed(*activations: str, at: float | None = None, **given: Any) -> DirectedProblem:
    """Return a network of 3-4-3-…; `at` puts every first pre-activation on one number."""
    options = {**KNOWN, **given}
    rng, dtype = np.random.default_rng(len(activations)), options["dtype"]
    layers = tuple(Layer(4 - k % 2, a) for k, a in enumerate(activations))
    network = Network(3, layers, options["loss"])
    parameters = {n: (rng.normal(size=s) * options["scale"]).astype(dtype)
                  for n, s in network.parameter_shapes().items()}  # fmt: skip
    if at is not None:
        parameters["layers.0.weight"] *= 0
        parameters["layers.0.bias"] = np.full_like(parameters["layers.0.bias"], at)
    loss, shape = LOSSES[options["loss"]], (5, layers[-1].width)
    targets: Any = rng.normal(size=shape).astype(dtype)
    if "labels" in loss.targets:
        targets = rng.integers(0, shape[1], 5)
    x = rng.normal(size=(5, 3)).astype(dtype)
    problem = DirectedProblem(network, parameters, x, targets)
    direction = {n: rng.normal(size=v.shape).astype(dtype) for n, v in variables(problem).items()}
    return replace(problem, direction=direction)


def far_out(operation: str, at: float, **given: Any) -> DirectedProblem:
    """Return a linear loss with only the first layer moved: f'' alone moves its cotangent."""
    problem = directed(operation, "identity", at=at, loss="l1", **given)
    still = {n: v * (not n.startswith("layers.1")) for n, v in problem.direction.items()}
    return replace(problem, direction=still)


def asked(problem: DirectedProblem, *names: str) -> dict[str, Answer]:
    return {name: SIDES[name].answer(problem) for name in names}


def verdict(problem: DirectedProblem, *names: str) -> Judgement:
    return judge(problem, asked(problem, *(names or SECOND_ORDER)))


# -- the sides --------------------------------------------------------------------------------


@pytest.mark.broad  # JAX compiles each primitive of second order: a minute
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_five_sides_agree_away_from_kinks(dtype: Any) -> None:
    problem = directed("tanh", "sigmoid", "softmax", dtype=dtype, loss="squared_error")
    answers = asked(problem, *SECOND_ORDER)
    assert judge(problem, answers).kind in ("AGREE", "PRECISION")
    first = answers["manual"]
    assert [name for name, a in answers.items() if a.status != "ok"] == ["torch_nested"]
    for name, answer in answers.items():
        if name == "torch_nested":  # only steps of graphs are asked of it
            continue
        assert answer.products.keys() == first.products.keys(), name
        assert answer.tangents.keys() == first.tangents.keys(), name
        for part in ("values", "gradients", "tangents", "products"):
            for tensor, value in getattr(first, part).items():
                other = getattr(answer, part)[tensor]
                assert other.dtype == dtype
                rtol = 1e-10 if dtype == np.float64 else 1e-3
                np.testing.assert_allclose(other, value, rtol=rtol, atol=rtol)


@pytest.mark.broad
@pytest.mark.parametrize("name", ["jax_forward", "jax_reverse"])
def test_the_padded_programs_give_what_jax_gives_alone(name: str) -> None:
    """In every regime; where a number is not finite, both are not."""
    problems = [draw(2, 31 * k, 2).problem for k in range(40)]
    padded = load((name,))[name].answers(problems)
    for problem, one in zip(problems, padded, strict=True):
        judgement = judge(problem, {"one": one, "alone": SIDES[name].answer(problem)})
        assert judgement.kind in ("AGREE", "PRECISION") or judgement.who == ("one", "alone")


def test_a_derivative_that_torch_lacks_is_said_and_no_deviation() -> None:
    problem = directed("hard_sigmoid", "identity")
    found = verdict(problem, "manual", "torch_reverse")
    assert found.verdict == "UNSUPPORTED(torch_reverse)"
    assert "not implemented" in gather(problem, asked(problem, "manual"), found).sentence
    answer = unsupported("torch_reverse", "no rule")
    assert judge(problem, {"manual": MANUAL.answer(problem), "torch_reverse": answer}).who


FAR = {
    # What the frameworks are known to get wrong away from kinks: operation, where, who.
    "silu": (40.4, "torch_reverse"),
    "tanh": (20.0, "torch_reverse"),
    "log_sigmoid": (-37.4, "jax_reverse"),
    "softplus": (37.4, "jax_reverse"),
}


@pytest.mark.parametrize(
    "operation",
    [pytest.param(o, marks=pytest.mark.slow if "jax" in FAR[o][1] else ()) for o in FAR],
)
def test_digits_lost_far_out_are_found(operation: str) -> None:
    where, who = FAR[operation]
    found = verdict(far_out(operation, where), "manual", who)
    assert found.kind in ("PRECISION", "DEVIATES") and found.who == (who,), found


# -- kinks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["relu", "softsign", "hard_swish", "elu"])
def test_at_a_kink_every_side_of_it_is_admitted(operation: str) -> None:
    at = -3.0 if operation == "hard_swish" else 0.0
    problem = directed(operation, "identity", at=at)
    assert verdict(problem, "manual", "torch_reverse").kind in ("AGREE", "CONVENTION")


def test_different_choices_at_a_kink_are_a_convention() -> None:
    problem = directed("relu", "identity", at=0.0)
    left = MANUAL.answer(problem)
    one = {"forward": ACTIVATIONS["relu"].forward}
    right = substituted(problem, "relu", backward=lambda x, y, dy: dy * (x >= 0),
                        tangent=lambda x, y, tx: tx * (x >= 0), **one)  # fmt: skip
    found = judge(problem, {"manual": left, "other": replace(right, oracle="other")})
    assert found.kind == "CONVENTION", found


def test_a_slope_beyond_both_sides_of_a_kink_is_wrong() -> None:
    problem = directed("softsign", "identity", at=0.0)
    wrong = substituted(problem, "softsign", second=lambda x, y, dy, tx: 2.5 * dy * tx)
    assert judge(problem, {"manual": wrong}).verdict == "DEVIATES(manual)"
    right = substituted(problem, "softsign", second=lambda x, y, dy, tx: 1.5 * dy * tx)
    assert judge(problem, {"manual": right}).kind != "DEVIATES"


# -- wrong products that the judge must find ----------------------------------------------------


def substituted(problem: DirectedProblem, name: str, **parts: Callable[..., Any]) -> Answer:
    """Return the hand-written answer with some formulas of one operation replaced."""
    registry: Any = ACTIVATIONS if name in ACTIVATIONS else LOSSES
    right = registry[name]
    registry._operations[name] = replace(right, **parts)
    try:
        return MANUAL.answer(problem)
    finally:
        registry._operations[name] = right


def test_what_is_right_is_cleared_in_every_regime() -> None:
    drawn = [draw(7, 11 * k, 2) for k in range(250)]
    problems = [one.problem for one in drawn]
    answers = MANUAL.answers(problems)
    for one, found in zip(drawn, judge_all(problems, {"manual": answers}), strict=True):
        assert "manual" not in found.who or found.kind == "PRECISION", (one.at, found)


def bank(name: str, size: int = 16) -> list[DirectedProblem]:
    """Return problems that use an operation, of every regime and dtype."""
    plan: dict[str, Any] = {"activations" if name in ACTIVATIONS else "losses": (name,)}
    selection = Plan(**plan).selection()
    return [draw(3, selection.index(17 * k), 2).problem for k in range(size)]  # type: ignore[misc]


def caught(problems: list[Any], answers: list[Answer]) -> bool:
    found = judge_all(problems, {"manual": answers})
    return any(one.kind == "DEVIATES" for one in found)


@pytest.mark.parametrize("name", ["elu", "tanh", "silu", "log_sigmoid"])
def test_mutants_of_second_are_killed(name: str) -> None:
    """Also where e^|x| overflows: until then e/(1 + e)² is the same for e^x and e^-x."""
    registry: Any = ACTIVATIONS if name in ACTIVATIONS else LOSSES
    problems = bank(name)
    for at, dtype in ((80.0, np.float32), (500.0, np.float64)):
        problems += [far_out(name, sign * at, dtype=dtype) for sign in (1, -1)]
    rights = MANUAL.answers(problems)
    survivors = []
    for change, function in mutate(registry[name].second):
        with np.errstate(all="ignore"):
            try:
                answers = [substituted(problem, name, second=function) for problem in problems]
            except Exception:  # a mutant that raises is noticed by whoever calls it
                continue
        if all(same(a, b) for a, b in zip(answers, rights, strict=True)):
            continue  # the same bits: equivalent here
        if not caught(problems, answers):
            survivors.append(change)
    assert not survivors, survivors


def same(a: Answer, b: Answer) -> bool:
    pairs: Mapping[str, Any] = b.products
    return all(np.array_equal(v, pairs[n], equal_nan=True) for n, v in a.products.items())


@pytest.mark.parametrize("part", ["push_forward_step", "pull_back_step_along"])
def test_mutants_of_a_step_are_killed(part: str) -> None:
    problems: list[Any] = [directed("tanh", "softmax", "log_softmax", "identity"),
                           directed("sigmoid", "gelu", loss="cross_entropy")]  # fmt: skip
    argument = "push" if part == "push_forward_step" else "pull_along"
    for change, function in mutate(getattr(graph, part)):
        try:
            found = [product_along(p, p.direction, **{argument: function}) for p in problems]
        except Exception:  # noticed by whoever calls it
            continue
        rights = MANUAL.answers(problems)
        answers = [replace(right, tangents=one.tangents, products=one.products)
                   for right, one in zip(rights, found, strict=True)]  # fmt: skip
        assert caught(problems, answers), change


def test_the_first_step_back_from_the_loss_that_fails_is_named() -> None:
    problem = directed("tanh", "sigmoid", "identity")
    right = ACTIVATIONS["sigmoid"].second
    wrong = substituted(problem, "sigmoid", second=lambda *a: -right(*a))
    answers = {"manual": wrong}
    found = judge(problem, answers)
    assert found.leading is not None and found.leading.tensor == "product layers.1.z"
    evidence = gather(problem, answers, found)
    assert evidence.operation == "sigmoid" and evidence.enclosure is not None
    ball = arb(evidence.enclosure.low)
    assert abs(float(ball) - MANUAL.answer(problem).products["layers.1.z"][found.leading.entry]) < (
        1e-14
    )


@pytest.mark.parametrize("change", ["missing", "shape", "dtype", "nan", "list"])
def test_a_product_that_is_malformed_is_named(change: str) -> None:
    problem = directed("tanh", "identity")
    answer = MANUAL.answer(problem)
    products = dict(answer.products)
    weight = products.pop("layers.0.weight")
    if change != "missing":
        products["layers.0.weight"] = {
            "shape": weight.T, "dtype": weight.astype(np.float32), "nan": weight * np.nan,
            "list": weight.tolist(),
        }[change]  # fmt: skip
    found = judge(problem, {"manual": replace(answer, products=products)})
    assert found.verdict == "DEVIATES(manual)"
    assert found.leading is not None and found.leading.tensor == "product layers.0.weight"


# -- the Hessian -------------------------------------------------------------------------------


def test_the_hessian_by_columns_is_symmetric() -> None:
    """Each pair of entries differs by no more than two roundings of what they are made from."""
    for k in range(12):
        problem = draw(5, 13 * k, 2).problem
        if problem.dtype != np.float64:
            continue
        names = [n for n, v in variables(problem).items() if v.size <= 12]
        columns = {}
        for name in names:
            value = variables(problem)[name]
            for entry in np.ndindex(*value.shape):
                unit = np.zeros_like(value)
                unit[entry] = 1.0
                with np.errstate(all="ignore"):
                    found = hessian_vector_product(problem, {name: unit}).products
                columns[name, entry] = {n: found[n] for n in names}
        values = [
            abs(v).max() for c in columns.values() for v in c.values() if np.isfinite(v).all()
        ]
        largest = max(values, default=0.0)
        for (name, entry), column in columns.items():
            for other, moved in column.items():
                for place in np.ndindex(*moved.shape):
                    there, back = moved[place], columns[other, place][name][entry]
                    if np.isfinite(there) and np.isfinite(back):
                        assert abs(there - back) <= 1e-9 * largest, (k, name, entry, other, place)


def asymmetry(problem: Any, other: Mapping[str, Any], h: Callable[..., Any]) -> float:
    """Return |uᵀ(H v) - vᵀ(H u)| over the size of their terms and of what they are made from.

    The second is |cotangent| · |tangent| at the steps: where both sides are 0, rounding is left.
    """
    direction = problem.direction
    with np.errstate(all="ignore"):
        found, back = h(problem, direction), h(problem, other)
        left = {n: other[n] * found.products[n] for n in other}
        right = {n: direction[n] * back.products[n] for n in other}
        apart = abs(sum(a.sum() for a in left.values()) - sum(a.sum() for a in right.values()))
        size = sum(float(np.abs(a).sum()) for a in (*left.values(), *right.values()))
        made = max(float(np.abs(found.cotangents[n]).max() * np.abs(t).max())
                   for n, t in found.tangents.items())  # fmt: skip
        return float(np.nan_to_num(apart / (size + made), nan=0.0, posinf=0.0))


def test_the_hessian_is_symmetric_on_a_thousand_problems() -> None:
    """A product of x alone that is a hundredth too large is noticed, where x has a part in it."""

    def mistaken(problem: Any, direction: Any) -> Any:
        found = hessian_vector_product(problem, direction)
        wrong = {n: p * (1 + 0.01 * (n == "x")) for n, p in found.products.items()}
        return replace(found, products=wrong)

    seen = noticed = 0
    for k in range(2400):
        problem = draw_any(5, k if k % 3 else GRAPHS + k, 2).problem
        if problem.dtype != np.float64:
            continue
        rng = np.random.default_rng(k)
        other = {n: rng.normal(size=a.shape) for n, a in variables(problem).items()}
        seen += 1
        assert asymmetry(problem, other, hessian_vector_product) < 1e-10, (k, problem)
        noticed += asymmetry(problem, other, mistaken) > 1e-10
    assert seen >= 1000 and noticed >= seen / 4


# -- a run ------------------------------------------------------------------------------------


def test_a_block_of_second_order_counts_and_finds() -> None:
    plan = Plan(problems=40, oracles=("manual", "torch_reverse"), order=2)
    result = run_block(plan, 0, 40, load(plan.oracles))
    assert result.entries > 10_000 and not result.audited
    assert not any("manual" in outcome.verdict for outcome in result.outcomes)
    assert any(finding.step.startswith("product") for finding in result.findings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"order": 3}, "order=3: expected 1"),
        ({"oracles": ("manual", "torch"), "order": 2}, "torch"),
    ],
)
def test_a_plan_of_no_such_order_is_a_clear_error(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**given)
