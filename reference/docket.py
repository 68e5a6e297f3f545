"""Which disputes go to the arbiter: the first of every kind, then a share of those that follow.

A proof costs some twenty times what all oracles cost together, a quarter of the problems leave
the screen, and most of them for a cause that was proven a hundred times before. So disputes are
sorted by what is seen without a proof: who leaves the screen, at which step of which operation,
in which dtype, and how far. Of each kind so many are proven, and of the rest a share, a larger one
where ours stands alone. What is not proven is HELD: counted under its kind, beside the verdicts
of those that were proven.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from manual_backprop.network import Network
from reference.rounding.evidence import operation_at

HELD = "HELD"

SHARE, SHARE_ALONE = 1 / 128, 1 / 32
"""What is proven of a known kind: of all, and where ours stands alone, agrees with nobody."""

DECADES = 6
"""Sizes of one kind are within so many powers of ten: a new cause under an old name is mostly of
another size."""


class Dispute(msgspec.Struct, frozen=True, array_like=True):
    """A problem that left the screen, by its index, and what kinds of dispute it is."""

    index: int
    kinds: list[str]
    alone: bool


def kinds_of(
    network: Network, dtype: str, outside: Mapping[str, tuple[str, float, float]]
) -> list[str]:
    """Return what is seen of a dispute without a proof, a line for each oracle that is apart.

    `outside` is a Screening's: the first step back from the loss, how far, and how far at most
    further back, which is told where it is of another size: a cause that is known must not lend
    its name to all that comes after it.
    """
    kinds = []
    for oracle, (step, scaled, further) in outside.items():
        operation, place = operation_at(network, step), step.rsplit(".", 1)[-1]
        where = operation if step == "loss" else f"{operation} ({place})"
        size = _size(scaled)
        if further and (further > scaled or not math.isfinite(scaled)) and _size(further) != size:
            size += f", further back by {_size(further)}"
        kinds.append(f"{oracle} at {where} by {size} in {dtype}")
    return kinds


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
            self._seen.update(dispute.kinds)
            new = any(self._seen[kind] <= self._per_kind for kind in dispute.kinds)
            share = SHARE_ALONE if dispute.alone else SHARE
            if new or sampled(self._seed, dispute.index, share):
                chosen.append(dispute.index)
        return tuple(chosen)


def sampled(seed: int, index: int, share: float) -> bool:
    """Say whether a problem is in a fixed share of all.

    As a coin would choose, so that the share is met in every cell, but the same for every run of
    the seed: a step of SplitMix64 mixes all bits (Steele, Lea and Flood, 2014). A mere multiple of
    the index would come round with the number of cells and never meet most of them.
    """
    bits = (index + _mixed(seed)) % 2**64
    return _mixed(bits) < share * 2**64


def _mixed(bits: int) -> int:
    bits = (bits + 0x9E3779B97F4A7C15) % 2**64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
    return bits ^ bits >> 31
