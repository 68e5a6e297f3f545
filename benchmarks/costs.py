"""Measure what autodiff costs; write docs/costs.{json,svg,md} and the table of every report.

python benchmarks/costs.py [--clock cpu]    measure (about six minutes on a quiet machine)
python benchmarks/costs.py --write          write the pages again from docs/costs.json
"""

import argparse
import datetime
from pathlib import Path
from typing import Literal

import msgspec

from reference.bench.measure import BenchResult, Timing, merged, steps, sweep
from reference.bench.text import NAMES, picture, render, summary
from reference.oracles.environment import environment
from reference.running import sections
from reports.records import Bench

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TRAINING = "training step"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


class Page(msgspec.Struct):
    """What was measured, when and where."""

    date: str
    machine: str
    clock: str
    result: BenchResult


def measured(clock: Literal["wall", "cpu"]) -> Page:
    result = merged([steps(clock), sweep(clock)])
    found = environment()
    machine = ", ".join(
        [found["processor"], f"{found['cores']} cores", found["python"]]
        + [f"{name} {found[name]}" for name in ("numpy", "torch", "jax")]
    )
    return Page(datetime.date.today().isoformat(), machine, clock, result)


def write(page: Page) -> None:
    swept = [row for row in page.result.rows if row.section == "sweep"]
    note = "Time of a training step beside the NumPy fast step's; float32, one thread"
    (DOCS / "costs.svg").write_text(picture(swept, note), encoding="utf-8")
    how = {
        "wall": "wall clock",
        "cpu": "processor time, for the machine was busy, and no rows of all threads therefore",
    }[page.clock]
    shown = page.result
    if page.clock == "cpu":
        rows = [row for row in shown.rows if row.section != "all threads"]
        shown = msgspec.structs.replace(shown, rows=rows)
    origin = f"Measured {page.date} on {page.machine}; {how}."
    clock = "processor time" if page.clock == "cpu" else "wall clock"
    measured = f"Measured {page.date} on {page.machine}; one thread, {clock}."
    sections.keep("bench", [_record(r, measured) for r in shown.rows if r.section == TRAINING])
    between(DOCS / "costs.md", origin, summary(shown), render(shown))


def _record(row: Timing, origin: str) -> Bench:
    """Return a row for the report; the sweep and the memory stand in docs/costs.md alone."""
    name = NAMES.get(row.implementation, row.implementation)
    return Bench(
        f"{row.shape}, {row.activation}", row.batch, row.dtype, name, row.seconds,
        row.ratio_to_floor, row.section, origin,
    )  # fmt: skip


def between(path: Path, *parts: str) -> None:
    """Write the parts between the two marks of a page."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path.name}: {BEGIN} and {END} are missing")
    path.write_text(before + "\n\n".join([BEGIN, *parts, END]) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--write", action="store_true", help="only write the page again")
    given = parser.parse_args()
    path = DOCS / "costs.json"
    if not given.write:
        path.write_bytes(msgspec.json.encode(measured(given.clock)) + b"\n")
    write(msgspec.json.decode(path.read_bytes(), type=Page))


if __name__ == "__main__":
    main()
