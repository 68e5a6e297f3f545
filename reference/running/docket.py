"""Which disputes go to the arbiter: the first of every kind, then a share of those that follow.

A proof costs some fifteen times what all oracles cost together, a quarter of the problems leave
the screen, and most of them for a cause that was proven a hundred times before. So disputes are
sorted by what is seen without a proof: who leaves the screen, at which step of which operation,
in which dtype, and how far. Of each kind so many are proven, and of the rest the share that is
audited of all problems, a larger one where ours stands alone. What is not proven is HELD: counted
under its kind, beside the verdicts of those that were proven.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from manual_backprop.network import Network
from reference.rounding.evidence import operation_at

HELD = "HELD"

SHARE_ALONE = 1 / 16
"""What is proven of a known kind in which ours stands alone: agrees with nobody."""

DECADES = 3
"""Sizes of one kind are within so many powers of ten: a new cause under an old name is mostly of
another size."""


class Dispute(msgspec.Struct, frozen=True, array_like=True):
    """A problem that left the screen, by its index, and what kind of dispute it is."""

    index: int
    kind: str
    alone: bool
    heard: bool  # the arbiter has judged it: it was audited


def kind_of(network: Network, dtype: str, outside: Mapping[str, tuple[str, float]]) -> str:
    """Return what is seen of a dispute without a proof, as one line; `outside` as in Screening."""
    parts = []
    for oracle, (step, scaled) in outside.items():
        place = step.rsplit(".", 1)[-1]
        parts.append(f"{oracle} at {operation_at(network, step)} ({place}) by {_size(scaled)}")
    return f"{dtype}: {', '.join(parts)}"


def _size(scaled: float) -> str:
    if not math.isfinite(scaled):
        return "∞"
    if scaled >= 1:
        return "1 or more"
    low = math.floor(math.log10(scaled) / DECADES) * DECADES
    return f"1e{low} to 1e{low + DECADES}" if low + DECADES else f"1e{low} to 1"


class Docket:
    """Counts disputes by kind, in the order of the blocks, and chooses whom the arbiter hears."""

    def __init__(self, seed: int, per_kind: int) -> None:
        self._seed, self._per_kind = seed, per_kind
        self._seen: Counter[str] = Counter()

    def choose(self, disputes: Iterable[Dispute]) -> tuple[int, ...]:
        """Return the indices of those to be proven; later blocks are to come later."""
        chosen = []
        for dispute in disputes:
            self._seen[dispute.kind] += 1
            new = self._seen[dispute.kind] <= self._per_kind
            again = dispute.alone and sampled(self._seed, dispute.index, SHARE_ALONE)
            if (new or again) and not dispute.heard:
                chosen.append(dispute.index)
        return tuple(chosen)


def sampled(seed: int, index: int, share: float) -> bool:
    """Say whether a problem is in a fixed share of all.

    The index is spread over 2^64 by an odd multiplier (Knuth's multiplicative hash), so the share
    is even over the cells, and the same for every run of the seed.
    """
    return (index + seed) * 0x9E3779B97F4A7C15 % 2**64 < share * 2**64
