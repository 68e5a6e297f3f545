"""The mistakes of second order: each changes the products, is caught, and is named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from manual_backprop.network import Layer, Network
from manual_backprop.second_order import hessian_vector_product, variables
from reference.diagnosis.second import (
    SECOND_MISTAKES,
    SecondMistake,
    name_mistakes,
    products_by,
)
from reference.judge import judge
from reference.oracles.manual import Manual
from reference.problems import DirectedProblem, draw


def network(*activations: str, loss: str = "mse") -> DirectedProblem:
    """Return a network of width 4 throughout, so that no mistake of a transpose has no shape."""
    rng = np.random.default_rng(8)
    net = Network(4, tuple(Layer(4, a) for a in activations), loss)
    parameters = {n: rng.normal(size=s) for n, s in net.parameter_shapes().items()}
    labels = rng.integers(0, 4, 5) if loss == "cross_entropy" else rng.normal(size=(5, 4))
    problem = DirectedProblem(net, parameters, rng.normal(size=(5, 4)), labels)
    direction = {n: rng.normal(size=v.shape) for n, v in variables(problem).items()}
    return replace(problem, direction=direction)


PROBLEMS = [
    network("tanh", "softmax", "silu"),
    network("sigmoid", "tanh", "identity", loss="cross_entropy"),
]


def test_there_are_at_least_25_of_different_names() -> None:
    assert len({m.name for m in SECOND_MISTAKES}) == len(SECOND_MISTAKES) >= 25


@pytest.mark.parametrize("problem", [*PROBLEMS, draw(1, 40, 2).problem])
def test_without_a_mistake_the_walk_is_the_hand_written_one(problem: Any) -> None:
    right = hessian_vector_product(problem, problem.direction).products
    for name, value in products_by(problem).items():
        np.testing.assert_allclose(value, right[name], rtol=1e-13, atol=1e-13)
    assert not list(name_mistakes(problem, right))


@pytest.mark.parametrize("mistake", SECOND_MISTAKES, ids=lambda m: m.name)
def test_each_is_caught_by_the_judge_and_named(mistake: SecondMistake) -> None:
    seen = False
    for problem in PROBLEMS:
        right = Manual().answer(problem)
        wrong = products_by(problem, mistake)
        if all(np.allclose(v, right.products[n], rtol=1e-9) for n, v in wrong.items()):
            continue
        seen = True
        found = judge(problem, {"manual": replace(right, products=wrong)})
        assert found.verdict == "DEVIATES(manual)", mistake.name
        # The variables' part alone: what somebody else's function returns.
        given = {name: wrong[name] for name in variables(problem)}
        names = [m.name for m in name_mistakes(problem, given)]
        assert names and mistake.name in names[:2], names
    assert seen, "it changes nothing here"


def test_what_no_mistake_explains_is_not_named() -> None:
    problem = PROBLEMS[0]
    products = {n: v * 1.37 for n, v in Manual().answer(problem).products.items()}
    assert not list(name_mistakes(problem, products))
