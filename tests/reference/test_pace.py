"""The limit of a hang follows from what was measured, and a slow machine never meets it."""

import pytest

from reference.running import pace
from reference.running.pace import Pace


def test_the_limit_follows_the_pace_and_knows_first_times() -> None:
    measured = Pace()
    assert measured.allowed(512, "jax") == pace.LONGEST_FIRST  # nothing is known
    measured.first(pace.START, 2.0)
    assert measured.allowed(512, "jax") == max(2 * pace.LEAST_FIRST, 2 * pace.TIMES_START)
    measured.first("jax", 20.0)
    measured.first("jax", 5.0)
    assert measured.allowed(512, "jax") == 20 * pace.TIMES_FIRST
    for seconds in (3.0, 4.0, 50.0):
        measured.block(512, seconds)
    assert measured.allowed(512) == pytest.approx(4.0 * pace.TIMES)
    assert measured.allowed(256) == pytest.approx(2.0 * pace.TIMES)
    assert measured.allowed(1) == pace.LEAST
    assert measured.patient("jax") == 20 * pace.TIMES_FIRST


def test_a_slow_machine_is_not_a_hang() -> None:
    slow = Pace()
    slow.first(pace.START, 60.0)
    slow.first("jax", 400.0)
    slow.block(512, 80.0)
    assert slow.allowed(512, "jax") > 1500
    assert slow.allowed(512, "torch") > 1500
    assert slow.allowed(512) > 700
    assert slow.patient("jax") > 1500


def test_the_usual_silence_is_that_of_the_last_blocks() -> None:
    changed = Pace()
    for seconds in [100.0] * pace.KEPT + [10.0] * pace.KEPT:
        changed.block(512, seconds)
    assert changed.allowed(512) == pytest.approx(10.0 * pace.TIMES)
