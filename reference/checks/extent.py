"""Which of two readings is the narrower one: one sample, or one unit, in place of several.

Where a gradient is wrong for several samples or units, a reading with one of them hides that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reference.checks.argument_spec import Layout
from reference.checks.shapes import weight_names

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
