"""Which cases of a test run without --whole: of many cases every third one.

A test that goes through many cases itself takes the fixture `every`: 3, or 1 with --whole.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

THIRD = 3

MANY = 6
"""Cases of one parametrized test: if more are selected, every third one runs."""


def every_third(nodeids: Sequence[str]) -> Iterator[str]:
    """Yield the cases that run; the cases of one test follow one another."""
    for _, cases in groupby(nodeids, lambda nodeid: nodeid.partition("[")[0]):
        found = list(cases)
        yield from found if len(found) <= MANY else found[::THIRD]
