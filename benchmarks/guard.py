"""Fails when a hand-written step has become slower beside the floor of its products.

python benchmarks/guard.py            compare with the history of this vector unit
python benchmarks/guard.py --update   compare, and enter this run when it is not a regression

Ratios to the floor, measured interleaved, are compared; seconds are not, for machines differ. The
history is a small JSON file for each vector unit: for every case the ratios of its last runs.
(NumPy has a tanh for AVX-512 that costs less beside a product than the one without: a step of 1.15
floors there is one of 1.55 here.) A ratio is worse when it exceeds the median of the history by
MARGIN, and by SPREADS times the spread of the history too: noise that the history shows is not a
regression. It must also exceed it by its lower quartile: one slow half of a run is not an alarm.
"""

import platform
import sys
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from reference.bench.contestants import SHAPES
from reference.bench.measure import BenchPlan, Timing, cases_of, measure

MARGIN = 0.25
"""Allowed growth: on shared runners ratios of the same code differ by up to a fifth."""
SPREADS = 3.0
KEPT = 20
"""Runs kept for each case."""
GUARDED = ("numpy_plain", "numpy_fast", "numpy_fast_stable")


class GuardEntry(msgspec.Struct):
    """The ratios of one case's last runs, oldest first."""

    ratios: list[float]


def vector_unit() -> str:
    """Return the widest level that NumPy found, as x86_v3 or x86_v4; elsewhere the machine."""
    known: Any = np.show_config(mode="dicts")
    found = [*known["SIMD Extensions"]["baseline"], *known["SIMD Extensions"]["found"]]
    levels = [name for name in found if name.startswith("X86_V")]
    return max(levels, default=platform.machine()).lower()


def short() -> list[Timing]:
    """Time the hand-written steps on the three smaller shapes, in a minute's third."""
    cases = [case for shape in SHAPES[:3] for case in cases_of(*shape)]
    return measure(BenchPlan(cases, list(GUARDED), 1, 1.0, clock="cpu")).rows


def key_of(row: Timing) -> str:
    """Return what a row is filed under."""
    return f"{row.implementation} {row.shape} {row.batch} {row.dtype} {row.activation}"


def regressions(history: dict[str, GuardEntry], rows: list[Timing]) -> list[str]:
    """Return one line for each ratio that is worse than its history allows."""
    found = []
    for row in rows:
        entry = history.get(key_of(row))
        if entry is None or row.implementation == "floor":
            continue
        usual = median(entry.ratios)
        spread = median(abs(ratio - usual) for ratio in entry.ratios)
        allowed = max(usual * (1 + MARGIN), usual + SPREADS * spread)
        floor = row.seconds / row.ratio_to_floor
        if row.ratio_to_floor > allowed and row.quartiles[0] / floor > allowed:
            found.append(
                f"{key_of(row)}: {row.ratio_to_floor:.2f} times the floor, usually {usual:.2f}, "
                f"at most {allowed:.2f}"
            )
    return found


def remember(history: dict[str, GuardEntry], rows: list[Timing]) -> dict[str, GuardEntry]:
    """Return the history with these rows in it."""
    after = {key: GuardEntry(list(entry.ratios)) for key, entry in history.items()}
    for row in rows:
        if row.implementation in GUARDED:
            ratios = after.setdefault(key_of(row), GuardEntry([])).ratios
            ratios.append(round(row.ratio_to_floor, 3))
            del ratios[:-KEPT]
    return dict(sorted(after.items()))


def read(path: Path) -> dict[str, GuardEntry]:
    """Return a history; a file that is not there is an empty one."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, GuardEntry])


def write(path: Path, history: dict[str, GuardEntry]) -> None:
    """Write a history, a case a line."""
    lines = ",\n".join(
        f"{msgspec.json.encode(key).decode()}: {msgspec.json.encode(entry).decode()}"
        for key, entry in history.items()
    )
    path.write_text(f"{{\n{lines}\n}}\n")


def main() -> int:
    kept = Path(__file__).with_name(f"history_{vector_unit()}.json")
    history = read(kept)
    if not history and "--update" not in sys.argv:
        print(f"{kept.name}: no run on such a processor is kept; --update begins with this one")
        return 1
    rows = short()
    for row in rows:
        print(
            f"{row.implementation:18} {row.shape:16} {row.dtype} {row.activation}"
            f" {row.ratio_to_floor:6.2f}"
        )
    worse = regressions(history, rows)
    # A second look: a regression stays, a noisy minute does not.
    if worse:
        worse = regressions(history, short())
    print("\n".join(worse) or "no ratio is worse than its history allows")
    if "--update" in sys.argv and not worse:
        write(kept, remember(history, rows))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
