"""The limit of a hang follows from what was measured, and a slow machine never meets it."""

import pytest

from reference.workers import MeasuredTimes, timeouts


def test_the_limit_follows_the_pace_and_knows_first_times() -> None:
    measured = MeasuredTimes()
    assert measured.allowed(512, "jax") == timeouts.MAX_FIRST  # nothing is known
    measured.first(timeouts.START, 2.0)
    assert measured.allowed(512, "jax") == max(2 * timeouts.MIN_FIRST, 2 * timeouts.TIMES_START)
    measured.first("jax", 20.0)
    measured.first("jax", 5.0)
    assert measured.allowed(512, "jax") == 20 * timeouts.TIMES_FIRST
    for seconds in (3.0, 4.0, 50.0):
        measured.block(512, seconds)
    assert measured.allowed(512) == pytest.approx(4.0 * timeouts.TIMES)
    assert measured.allowed(256) == pytest.approx(2.0 * timeouts.TIMES)
    assert measured.allowed(1) == timeouts.MIN_SILENCE
    assert measured.patient("jax") == 20 * timeouts.TIMES_FIRST


def test_a_slow_machine_is_not_a_hang() -> None:
    slow = MeasuredTimes()
    slow.first(timeouts.START, 60.0)
    slow.first("jax", 400.0)
    slow.block(512, 80.0)
    assert slow.allowed(512, "jax") > 1500
    assert slow.allowed(512, "torch") > 1500
    assert slow.allowed(512) > 700
    assert slow.patient("jax") > 1500


def test_the_usual_silence_is_that_of_the_last_blocks() -> None:
    changed = MeasuredTimes()
    for seconds in [100.0] * timeouts.MAX_KEPT + [10.0] * timeouts.MAX_KEPT:
        changed.block(512, seconds)
    assert changed.allowed(512) == pytest.approx(10.0 * timeouts.TIMES)


def test_the_slowdown_is_that_of_the_slowest_start_within_reason() -> None:
    measured = MeasuredTimes()
    measured.start(0.3, 0.3)
    assert measured.slowdown == 1.0
    measured.start(2.0, 0.4)
    measured.start(0.4, 0.4)
    measured.start(5.0, 0.01)  # too short to be measured
    measured.start(5.0, None)
    assert measured.slowdown == 5.0
    measured.start(600.0, 0.4)
    assert measured.slowdown == timeouts.MAX_SLOWDOWN
