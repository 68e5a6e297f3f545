"""A block that takes too long is stopped, also where Python drops exceptions."""

import weakref
from collections.abc import Callable

import pytest

from reference.checks.code import TooSlow, within


class Slow:
    """What takes a while to be destroyed."""

    def __del__(self) -> None:
        sum(range(50))


class Plain:
    pass


def drops_weak_keys() -> None:
    table: weakref.WeakKeyDictionary[Plain, int] = weakref.WeakKeyDictionary()
    for _ in range(3_000_000):  # an end, should it not be stopped
        table[Plain()] = 0


def drops_weak_members() -> None:
    table: weakref.WeakSet[Plain] = weakref.WeakSet()
    for _ in range(3_000_000):  # an end, should it not be stopped
        table.add(Plain())


def destroys() -> None:
    for _ in range(3_000_000):  # an end, should it not be stopped
        Slow()


@pytest.mark.parametrize("block", [drops_weak_keys, drops_weak_members, destroys])
def test_a_block_is_stopped_where_python_drops_exceptions(block: Callable[[], None]) -> None:
    for _ in range(10):  # pytest fails for an exception that was dropped
        with pytest.raises(TooSlow), within(0.05):
            block()


def test_a_block_in_time_is_not_stopped() -> None:
    with within(60.0):
        found = sum(range(1000))
    assert found == 499_500
