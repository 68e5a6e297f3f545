"""Problems: pure in (seed, index), every cell met, no hiding place in the default draws."""

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.activations import ACTIVATIONS
from manual_backprop.losses import LOSSES
from manual_backprop.network import Problem, check_problem
from manual_backprop.operation import InvalidInput
from reference import strategies
from reference.formats import DTYPES
from reference.oracles.certified import certify
from reference.problems import (
    REGIMES,
    Selection,
    arrays_of,
    cell,
    draw,
    number_of_cells,
    parse_address,
)


def same(a: Problem, b: Problem) -> bool:
    """Compare two problems bit by bit."""
    if a.network != b.network:
        return False
    arrays = [(a.x, b.x), (a.targets, b.targets)]
    arrays += [(a.parameters[k], b.parameters[k]) for k in a.parameters]
    arrays += [(a.arrays[k], b.arrays[k]) for k in a.arrays]
    if a.weights is not None and b.weights is not None:
        arrays.append((a.weights, b.weights))
    return (a.weights is None) == (b.weights is None) and all(
        p.dtype == q.dtype and p.tobytes() == q.tobytes() for p, q in arrays
    )


def test_a_whole_turn_meets_every_cell_once() -> None:
    cells = [cell(i) for i in range(number_of_cells())]
    assert len(set(cells)) == len(cells)
    assert cell(number_of_cells() + 5) == cell(5)


def test_every_pair_and_regime_appears_in_two_thousand() -> None:
    cells = [cell(i) for i in range(2000)]
    assert {(c.activation, c.loss) for c in cells} == {(a, b) for a in ACTIVATIONS for b in LOSSES}
    assert {c.regime for c in cells} == set(REGIMES)
    assert {(c.activation, c.dtype) for c in cells} == {(a, d) for a in ACTIVATIONS for d in DTYPES}
    assert {(c.loss, c.dtype) for c in cells[:400]} == {(b, d) for b in LOSSES for d in DTYPES}
    assert {(c.regime, c.dtype) for c in cells} == {(r, d) for r in REGIMES for d in DTYPES}


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_problem_is_a_pure_function_of_seed_and_index(seed: int, index: int) -> None:
    assert same(draw(seed, index).problem, draw(seed, index).problem)


def test_the_first_fifty_are_the_same_on_every_machine() -> None:
    """Their digest: it changes with the registries or the regimes, and with nothing else."""
    digest = hashlib.sha256()
    for index in range(50):
        problem = draw(0, index).problem
        digest.update(repr(problem.network).encode())
        for array in arrays_of(problem).values():
            digest.update(array.tobytes())
    assert digest.hexdigest()[:16] == "997f5b2094b983e4"


def test_seed_and_index_both_matter() -> None:
    turn = number_of_cells()
    first = draw(0, 0).problem
    assert not same(first, draw(1, 0).problem)
    assert not same(first, draw(0, turn).problem)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40))
def test_every_problem_is_valid_and_holds_its_cell(seed: int, index: int) -> None:
    one = draw(seed, index)
    check_problem(one.problem)
    network = one.problem.network
    assert one.cell.activation in [layer.activation for layer in network.layers]
    assert network.loss == one.cell.loss
    assert one.problem.dtype == one.cell.dtype


def test_default_draws_avoid_hiding_places() -> None:
    for index in range(number_of_cells()):
        where = cell(index)
        if where.regime != "ordinary":
            continue
        problem = draw(7, index).problem
        widths = problem.network.widths
        assert problem.batch >= 2
        assert min(widths) >= 2
        assert all(a != b for a, b in pairwise(widths))


def weight_of(problem: Problem) -> np.ndarray:
    return np.asarray(problem.parameters["layers.0.weight"])


def share(problems: list[Problem], holds: Callable[[Problem], Any]) -> float:
    return sum(bool(holds(problem)) for problem in problems) / len(problems)


def meets_a_kink(problem: Problem) -> bool:
    return not all(certify(problem).undecided_branches())


# What a regime says of itself, and what the ordinary one is not.
SAYS: dict[str, Callable[[list[Problem]], bool]] = {
    "ordinary": lambda ps: (
        share(ps, lambda p: 1e-3 < np.abs(p.x).max() < 1e3) == 1
        and share(ps[:40], meets_a_kink) < 0.1
    ),
    "lattice": lambda ps: share(ps, lambda p: (2 * p.x == np.rint(2 * p.x)).all()) == 1,
    "kink": lambda ps: (
        share(ps, lambda p: (2 * p.x == np.rint(2 * p.x)).all()) < 0.9
        and share(ps[:80], meets_a_kink) > 0.3
    ),
    "saturated": lambda ps: np.median([np.abs(weight_of(p)).max() for p in ps]) > 10,
    "tiny": lambda ps: np.median([np.abs(p.x).max() for p in ps]) < 1e-6,
    "huge": lambda ps: max(np.abs(p.x).max() for p in ps) > 2.0**40,
    "subnormal": lambda ps: share(ps, lambda p: (np.abs(p.x) < 100 * TINY).all()) == 1,
    "ill_conditioned": lambda ps: np.median([np.linalg.cond(weight_of(p)) for p in ps]) > 1e3,
    "repeated_rows": lambda ps: share(ps, lambda p: (p.x == p.x[0]).all()) == 1,
    "special": lambda ps: (
        share(ps, lambda p: p.batch == 1) > 0
        and share(ps, lambda p: max(p.network.widths) == 1) > 0
    ),
}
TINY = float(np.finfo(float).tiny)  # of the normal numbers


def drawn_of(regime: str) -> list[Problem]:
    selection = Selection(regimes=(regime,), dtypes=("float64",))
    return [draw(3, i).problem for i in selection.indices(200)]


def test_each_regime_draws_what_it_says_and_ordinary_does_not() -> None:
    assert SAYS.keys() == REGIMES.keys()
    ordinary = drawn_of("ordinary")
    for regime, says in SAYS.items():
        assert says(drawn_of(regime)), regime
        assert says(ordinary) == (regime == "ordinary"), regime


def test_the_kink_regime_lands_on_kinks() -> None:
    """Of the networks aimed at a piecewise activation, the forward walk meets the kink exactly."""
    from manual_backprop.network import forward
    from reference.drawing.regimes import kinks

    met = aimed = 0
    for index in Selection(regimes=("kink",)).indices(300):
        one = draw(0, index)
        layers = one.problem.network.layers
        found = [
            (f"layers.{i}.z", kinks(layer.activation, tuple(sorted(layer.parameters.items()))))
            for i, layer in enumerate(layers)
            if layer.activation == one.cell.activation
        ]
        if not any(points for _, points in found):
            continue
        aimed += 1
        with np.errstate(all="ignore"):
            steps = forward(one.problem).steps
        met += any(
            (np.abs(steps[z] - p) <= np.spacing(steps[z].dtype.type(abs(p)))).any()
            for z, points in found
            for p in points
        )
    assert aimed > 50
    assert met > 0.9 * aimed


@pytest.mark.parametrize("name", ["activations", "losses", "regimes", "dtypes"])
def test_an_unknown_name_is_a_clear_error(name: str) -> None:
    with pytest.raises(InvalidInput, match="'nonsense' is unknown; expected one of"):
        Selection(**{name: ("nonsense",)})


@pytest.mark.parametrize("address", ["", "1", "1:", ":1", "a:b", "1:-1", "1:2:3", "٣:1"])
def test_a_bad_address_is_a_clear_error(address: str) -> None:
    with pytest.raises(InvalidInput, match="SEED:INDEX"):
        parse_address(address)


@given(strategies.problems())
def test_the_public_strategy_draws_valid_problems(problem: Problem) -> None:
    check_problem(problem)
