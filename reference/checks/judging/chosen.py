"""A reading that was judged, and how it compares with other readings.

Where something is wrong under several readings, one of them is shown. Some readings are too weak
to call anything wrong. Where a gradient is wrong for several samples or units, a reading with one
of them hides that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from reference.checks.code import Layout, Unit, stem_of
from reference.checks.comparing import Assessment, Objective
from reference.checks.reading import weight_names
from reference.checks.running import Reading
from reference.checks.tolerances import NEARLY


@dataclass
class Chosen:
    """The reading and the objective that a unit is judged by."""

    reading: Reading
    objective: Objective
    first: Assessment
    other: Assessment | None = None
    """Under a loss that is not written, where all is right and its own loss disagrees."""

    why: str = ""
    """Why the tape was left."""
    differences: bool = False
    narrow: bool = False
    """Whether it is right with one output, and off by a common factor with several."""
    binding: bool = False
    """Whether its objective is a loss that stands beside the forward, and that it has to be of."""
    multiple: str = ""
    """A loss of the file whose gradients these are times a factor, where that is allowed."""


def loss_is_written(unit: Unit, chosen: list[Chosen]) -> bool:
    """Whether a loss with the backward's own arguments was judged: then none is guessed."""
    return any(
        c.objective.kind == "loss"
        and c.objective.written
        and c.reading.forward is not None
        and set(c.reading.forward.required) == set(unit.backward.required)
        for c in chosen
    )


def any_right(chosen: list[Chosen]) -> bool:
    """Whether all is right under one of them."""
    return any(c.first.all_right for c in chosen)


def says_nothing(layout: Layout, found: Assessment) -> bool:
    """Whether all is 0 because there is one unit: the softmax of one class is 1."""
    narrow = any("1" in (*s.dims, s.high) for s in layout.values())
    return narrow and not any(r.telling for r in found.rows)


def of_another_name(one: Chosen) -> bool:
    """Whether a forward is called after something else: softmax_layer, of dense_gradient."""
    unit, forward = one.reading.unit, one.reading.forward
    if forward is None or unit.owner is not None or forward is unit.backward:
        return False
    mine, other = stem_of(unit.backward.short), stem_of(forward.short)
    inside = "".join(mine) in "".join(other) or "".join(other) in "".join(mine)
    return bool(mine and other) and not inside and not set(mine) & set(other)


def preference(one: Chosen) -> tuple[object, ...]:
    """Sort readings under which something is wrong: those that place all gradients first.

    Of equals, arrays come before single numbers, and sizes that differ before square weights.
    """
    axes = max((len(s.dims) for s in one.reading.layout.values()), default=0)
    share, claims, *rest = one.first.rank
    placed = not one.first.unplaced
    nearly = all(r.right or r.distance() < NEARLY for r in one.first.rows)
    square = any(len(set(s.dims)) < len(s.dims) for s in one.reading.layout.values())
    return (
        one.other is not None,
        one.first.influence,
        placed,
        share,
        nearly,
        axes > 0,
        claims,
        not square,
        rest,
    )


def partly_right(one: Chosen) -> bool:
    """Whether an array that came back is right, so that the reading is hardly the mistake."""
    return any(row.right and np.size(row.got) > 1 for row in one.first.rows)


def of_weights(one: Chosen) -> bool:
    """Whether a backward beside its forward gives the gradients of an object's own weights."""
    kept = any(row.leaf[0] == "self" for row in one.first.rows)
    return one.reading.forward is not None and kept


# -- which is the narrower one ------------------------------------------------------------------

_SAMPLES = frozenset("NTV")
_FLOATS = ("normal", "unit")


@dataclass(frozen=True)
class Extent:
    """How many arguments of a reading have samples, and how many other axes each array has."""

    samples: int
    features: Mapping[str, int]
    """Empty where the widths of a wrong reading prove nothing: a loss may divide by them."""
    one_unit: bool
    """Whether a weight has one unit, so that it fits code for which it is not meant."""

    def narrower_than(self, other: "Extent") -> bool:
        """Whether it has fewer samples, or is the other one with one unit in place of several."""
        if other.one_unit and not self.one_unit:
            return False
        if self.samples != other.samples:
            return self.samples < other.samples
        both = [(n, other.features[k]) for k, n in self.features.items() if k in other.features]
        return any(a < b for a, b in both) and all(a <= b for a, b in both)

    def of_samples(self) -> "Extent":
        """Return it without what it knows of widths."""
        return replace(self, features={})


def extent_of(layout: Layout) -> Extent:
    """Return the extent of a layout; what a constructor takes is not counted."""
    arrays = {n: s for n, s in layout.items() if not n.startswith("init.")}
    heads = {n.partition("[")[0] for n, s in arrays.items() if _SAMPLES & set(s.dims)}
    features = {
        n: sum(d != "1" and d not in _SAMPLES for d in s.dims)
        for n, s in arrays.items()
        if s.kind in _FLOATS
    }
    one_unit = any("1" in arrays[n].dims for n in weight_names(list(arrays)))
    return Extent(len(heads), features, one_unit)
