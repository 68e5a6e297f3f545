"""The articles' networks and their gradients, in their own notation, against the subject's own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from manual_backprop import articles
from manual_backprop.articles import (
    ARTICLES,
    NUMPY,
    Article,
    Claim,
    Draw,
    Quantities,
    ShapeMismatch,
    System,
    Undefined,
    article,
    multiply,
    product,
)
from manual_backprop.network import backward, check_problem, forward
from manual_backprop.operation import InvalidInput

ULPS = 2**14  # 2e-12 of the largest entry; the articles write log(1 - y) and e^x plainly


def close(found: Any, expected: Any) -> bool:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = max(np.abs(expected).max(), 2.0**-20)
    return bool(np.abs(found - expected).max() <= ULPS * 2.0**-53 * scale)


@pytest.mark.parametrize("name", ARTICLES)
@given(index=st.integers(0, 2**40))
def test_forward_and_gradient_are_those_of_the_same_network(name: str, index: int) -> None:
    one = article(name)
    inputs = one.system.inputs(1, index)
    assert one.problem and one.in_project and one.backward
    problem = one.problem(inputs)
    check_problem(problem)
    trace = forward(problem)
    q = one.system.run(inputs)
    # Where the output saturates, log(1 - y) has lost its digits, as it is written.
    assume(np.abs(1 - trace.steps[list(trace.steps)[-1]]).min() > 1e-3)
    g = Quantities({})
    one.backward(NUMPY, q, g)
    assert close(q[one.system.loss], trace.loss)
    values = one.in_project(inputs, q)
    for step, value in trace.steps.items():
        assert close(values[step], value), step
    gradients = one.in_project(inputs, g)
    expected = backward(problem, trace)
    assert set(gradients) == set(expected)
    for key, value in expected.items():
        assert close(gradients[key], value), key


def test_problems_are_pure_functions_of_seed_and_index() -> None:
    system = article("003").system
    first, again, other = (system.inputs(0, i) for i in (5, 5, 6))
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not np.array_equal(first["X"], other["X"])


def test_integer_problems_hold_small_integers() -> None:
    inputs = article("004").system.inputs(0, 0, integers=2)
    for value in inputs.values():
        assert np.all(np.abs(value) <= 2) and np.all(value == np.round(value))


def test_quantities() -> None:
    q = Quantities({"x": 2.0}, {"y": 0.5})
    q.y = q.x * 2
    q["z"] = q.y + 1
    assert (q.y, q["z"]) == (4.5, 5.5)
    assert q.names() == ["x", "y", "z"] and q.computed() == ["y", "z"]
    with pytest.raises(InvalidInput, match="'y' is defined twice"):
        q.y = 1
    with pytest.raises(Undefined, match="the article gives no w"):
        q.w  # noqa: B018


def test_multiplication_is_strict() -> None:
    column, row = np.ones((3, 1)), np.ones((1, 3))
    assert multiply(column, "@", row).shape == (3, 3)
    assert multiply(2.0, "*", row).shape == (1, 3)
    for a, operator, b in ((column, "*", row), (column, "@", column), (2.0, "@", row)):
        with pytest.raises(ShapeMismatch):
            multiply(a, operator, b)
    with pytest.raises(InvalidInput, match="'@' or '\\*' between"):
        product(("a", lambda q: 1), "/", ("b", lambda q: 2))


def test_a_claim_has_one_name() -> None:
    claim = Claim("one", "", "", lambda q: 0, lambda q: 0)
    system = System("", lambda d: {}, lambda m, q: None, loss="L")
    with pytest.raises(InvalidInput, match="'one' is defined twice"):
        Article("x", "", system, (claim, claim))


def test_an_unknown_article_is_named() -> None:
    with pytest.raises(InvalidInput, match="article='005' is unknown"):
        article("005")


def test_draws() -> None:
    d = Draw(np.random.default_rng(0))
    assert 3 <= d.size(3, 5) <= 5 and d.choice(("a", "b")) in "ab"
    assert (d.positive(50) > 0).all() and set(d.binary(50)) == {0.0, 1.0}
    assert (d.one_hot(4, 3).sum(axis=1) == 1).all()


def test_public_names() -> None:
    assert all(hasattr(articles, name) for name in articles.__all__)
