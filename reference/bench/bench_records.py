"""A bench as records: what the page shows of it, and when and on what it was measured."""

from collections.abc import Iterable

from reference.bench.measure import Timing
from reference.bench.text import NAMES
from reports.records import Bench

FLOOR = "floor"


def bench_records(rows: Iterable[Timing], origin: str) -> list[Bench]:
    """Return the training steps on one thread; sweep and memory stand in docs/costs.md."""
    return [
        Bench(
            shape=f"{row.shape}, {row.activation}",
            batch=row.batch,
            dtype=row.dtype,
            implementation=NAMES.get(row.implementation, row.implementation),
            seconds=row.seconds,
            ratio_to_floor=row.ratio_to_floor,
            section=row.section,
            origin=origin,
        )
        for row in rows
        if row.section == "training step"
    ]
