"""Measure what autodiff costs and write it down: docs/costs.json, .svg, .md and every report.

python benchmarks/costs.py [--clock cpu]    measure (about four minutes on a quiet machine)
python benchmarks/costs.py --write          write the page again from docs/costs.json
"""

import argparse
import datetime
from pathlib import Path

import msgspec

from reference.bench.measure import Result
from reference.bench.picture import picture
from reference.bench.released import bench_records
from reference.bench.steps import merged, steps, sweep
from reference.bench.text import render
from reference.oracles.environment import environment
from reference.running import sections

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"


class Page(msgspec.Struct):
    """What was measured, when and where."""

    date: str
    machine: str
    clock: str
    result: Result


def measured(clock: str) -> Page:
    result = merged([steps(clock), sweep(clock)])  # type: ignore[arg-type]
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
    told = f"Measured {page.date} on {page.machine}; one thread, {clock}."
    sections.keep("bench", bench_records(shown.rows, told))
    text = "\n\n".join([BEGIN, origin, render(shown), END])
    path = DOCS / "costs.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + text + after, encoding="utf-8")


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
