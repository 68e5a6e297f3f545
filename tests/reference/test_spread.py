"""Arrays against balls: the same radii by both, and what arrays must not be sure of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.arithmetic import spread
from reference.arithmetic.fields import EXTENDED, ArrayArithmetic, Extended, Field, _erf, _erfc
from reference.judge import STRENGTHS
from reference.oracles.certified import certify
from reference.problems import draw
from reference.rounding.radii import Radii, Rounding, radii

needs_extended = pytest.mark.skipif(not EXTENDED, reason="no long doubles here: balls do it all")


def by_arrays_and_by_balls(index: int, model: Rounding) -> tuple[Radii, Radii]:
    certificate = certify(draw(11, index).problem)
    with pytest.MonkeyPatch.context() as patch:
        by_arrays = radii(certificate, model)
        patch.setattr(spread, "EXTENDED", False)
        return by_arrays, radii(certificate, model)


@needs_extended
@given(index=st.integers(0, 100_000), model=st.sampled_from(STRENGTHS))
def test_arrays_give_the_radii_that_balls_give(index: int, model: Rounding) -> None:
    arrays, balls = by_arrays_and_by_balls(index, model)
    for name, by_balls in balls.radius.items():
        by_arrays = arrays.radius[name]
        # Balls widen at ties of smooth branches, and know no end of e^x: there arrays are sharper.
        smooth = (balls.jump[name] == 0) & np.isfinite(by_balls)
        with np.errstate(all="ignore"):
            ratio = np.where(by_arrays == by_balls, 1.0, by_arrays / by_balls)
        assert (ratio[smooth] > 0.9).all(), name
        assert (ratio[np.isfinite(by_balls)] < 4.0).all(), name


@needs_extended
def test_both_branches_of_a_kink_are_taken() -> None:
    m = ArrayArithmetic(1, np.array([[1]], np.int8))
    x = Field(np.array([[-2.0]], Extended), np.ones((1, 1, 1), Extended))
    y = m.max(x, m.number(0))
    assert (y.value, y.slope) == (0, 1)  # a maximum does not jump, its slope does
    n = ArrayArithmetic(1, np.array([[0]], np.int8))
    z = n.where(Field(np.array([[2.0]], Extended)), x, n.number(5))
    assert z.value == 5


@needs_extended
@pytest.mark.parametrize("x", [-7.0, -2.0, -0.3, 0.0, 1e-300, 0.7, 1.9999, 2.0, 5.5, 25.0])
def test_the_error_function_of_long_doubles(x: float) -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        for ours, truth in ((_erf, mpmath.erf(x)), (_erfc, mpmath.erfc(x))):
            found = ours(np.array([x], Extended))[0]
            exact = mpmath.mpf(float(found)) + mpmath.mpf(float(found - Extended(float(found))))
            assert abs(exact - truth) <= abs(truth) * mpmath.mpf(2) ** -53


@needs_extended
def test_what_cancels_goes_to_balls() -> None:
    # 1 - 1/cosh² at 0 ± 1e-15 is 1e-30, which long doubles round to 0.
    def shrink(m: ArrayArithmetic, x: Field) -> Field:
        return x - m.tanh(x)

    zero = np.zeros(1, Extended)
    centre = spread.Centre(zero, zero, zero, np.zeros((0, 1), np.int8))
    asked = []

    def fallback(k: int) -> spread.Part:
        asked.append(k)
        return (0.0, 0.0, 1e-45, 1e-30, 0.0, 0.0)

    tiny = np.full(1, 5e-324)
    found = spread.spread_numbers(
        spread.Numbers(shrink), centre, np.array([1e-15]), (tiny, tiny), fallback, lambda k: True
    )
    assert asked == [0]
    assert found[3] == 1e-30
