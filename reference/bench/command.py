"""What `manual-backprop bench` does: measure, then text or JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import msgspec

from manual_backprop.operation import InvalidInput
from reference.oracles.environment import environment

WHAT = ("steps", "throughput", "check", "second")
CLOCKS = ("wall", "cpu")


def bench(
    what: str, as_json: bool, picture: Path | None, clock: str, progress: Callable[[str], None]
) -> str:
    """Run one of the benches and return what is to be printed."""
    if what not in WHAT:
        raise InvalidInput(f"bench {what!r}: expected one of {', '.join(WHAT)}")
    if clock not in CLOCKS:
        raise InvalidInput(f"clock={clock!r}: expected one of {', '.join(CLOCKS)}")
    if picture is not None and what != "steps":
        raise InvalidInput("picture: expected it with steps alone")
    if what == "steps":
        return _steps(as_json, picture, cast(Literal["wall", "cpu"], clock), progress)
    if what == "throughput":
        from reference.bench.throughput import render, throughput

        found = throughput()
        if not as_json:
            return render(found)
        return msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
    if what == "check":
        from reference.bench.check_file import check_timings
        from reference.bench.check_file import render as rendered

        timings = check_timings(progress)
        return _json(timings) if as_json else rendered(timings)
    from reference.bench import second_order as second

    rows = second.second_order(progress)
    return _json(rows) if as_json else second.render(rows)


def _steps(
    as_json: bool,
    drawing: Path | None,
    clock: Literal["wall", "cpu"],
    progress: Callable[[str], None],
) -> str:
    from reference.bench.measure import merged, steps, sweep
    from reference.bench.text import picture, render

    results = [steps(clock, progress)]
    if drawing is not None:
        results.append(sweep(clock, progress))
        note = "Time of a training step beside the NumPy fast step's; float32, one thread"
        drawing.write_text(picture(results[-1].rows, note), encoding="utf-8")
    result = merged(results)
    return _json(result.rows) if as_json else render(result)


def _json(rows: object) -> str:
    """Return rows and what they were measured with."""
    found = {"environment": environment(), "rows": msgspec.to_builtins(rows)}
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
