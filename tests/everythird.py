"""Which cases of a test run without --whole: of many every third one, of hundreds every ninth.

A test that goes through many cases itself takes the fixture `every`: 3, or 1 with --whole.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

THIRD = 3

MANY = 6
"""Cases of one parametrized test: if more are selected, every third one runs."""

HUNDREDS = 300
"""If more than these are selected, every ninth one runs."""


def every_third(nodeids: Sequence[str]) -> Iterator[str]:
    """Yield the cases that run; the cases of one test follow one another."""
    for _, cases in groupby(nodeids, lambda nodeid: nodeid.partition("[")[0]):
        found = list(cases)
        step = 1 if len(found) <= MANY else THIRD if len(found) <= HUNDREDS else THIRD**2
        yield from found[::step]
