"""Functions from tables: the stated errors hold against arb, and a mistake in a table is found."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flint import arb

from reference.arithmetic import tabulated
from reference.arithmetic.balls import precision
from reference.arithmetic.evaluation import EXTENDED
from reference.arithmetic.tabulated import FUNCTIONS, UNITS
from reference.arithmetic.tape import _OVER_ARB

pytestmark = pytest.mark.skipif(not EXTENDED, reason="long doubles make the tables")


@pytest.fixture(autouse=True)
def fresh_tables() -> Iterator[None]:
    tabulated._table.cache_clear()
    yield
    tabulated._table.cache_clear()


def points(name: str) -> Any:
    """Numbers of every size, those at and between the first steps of a table, and the ends."""
    rng = np.random.default_rng(len(name))
    steps = np.arange(-24, 25) / 256
    near = np.concatenate([steps, np.nextafter(steps, -9), np.nextafter(steps, 9)])
    even = [rng.uniform(-end, end, 500) for end in (0.05, 2, 64)]
    sizes = 10.0 ** rng.uniform(-300, 0, 200) * rng.choice((-1, 1), 200)
    ends = [-5e-324, 5e-324, 1e-310, -64.0, 64.0, 0.0, -64 - 2.0**-9, 64 + 2.0**-9]
    x = np.concatenate([near, *even, sizes, ends])
    return x[x >= -1 / 256] if name == "LOG1P" else x


def units_off(name: str) -> float:
    """The largest error at the points, in units of 2^-53."""
    x = points(name)
    y = FUNCTIONS[name](x)
    worst = 0.0
    with precision(200):
        for at, value in zip(x.tolist(), y.tolist(), strict=True):
            truth = _OVER_ARB[name](arb(at))
            assert np.isfinite(value), at
            if truth != 0:
                worst = max(worst, float(abs(arb(value) - truth) / abs(truth)) * 2.0**53)
    return worst


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_as_right_as_is_stated(name: str) -> None:
    assert 0.5 < units_off(name) <= UNITS[name]


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_mistake_in_a_table_is_found(
    name: str, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that the lower half of the digits is left out."""
    right = tabulated._table

    def wrong(name: str) -> Any:
        high, low = right(name)
        return (high * (1 + 2.0**-51), low) if part == 0 else (high, -low)

    monkeypatch.setattr(tabulated, "_table", wrong)
    assert units_off(name) > UNITS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_out_of_range_is_no_number(name: str) -> None:
    far = np.array([-64.01, 64.01, 1e300, -1e300, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        assert np.isnan(FUNCTIONS[name](far)).all()
        assert name != "LOG1P" or np.isnan(FUNCTIONS[name](np.array([-0.5, -1.0, -2.0]))).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_argument_stays_as_it_is(name: str) -> None:
    x = np.linspace(0, 2, 50)
    FUNCTIONS[name](x)
    np.testing.assert_array_equal(x, np.linspace(0, 2, 50))
