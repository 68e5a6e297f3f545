"""Which cases of a test run without --whole: of many cases every third one."""

from collections.abc import Iterator, Sequence
from itertools import groupby

MANY = 6
"""Cases of one parametrized test: if more are selected, every third one runs."""


def every_third(nodeids: Sequence[str]) -> Iterator[str]:
    """Yield the cases that run; the cases of one test follow one another."""
    for _, cases in groupby(nodeids, lambda nodeid: nodeid.partition("[")[0]):
        found = list(cases)
        yield from found if len(found) <= MANY else found[::3]
