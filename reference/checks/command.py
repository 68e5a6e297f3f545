"""The command `manual-backprop check`: one target or several, as text or JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from reference.checks.checker import check
from reference.checks.result import Result
from reference.checks.source import files_of
from reports.checked import headline_of, worst_of


def run(
    targets: list[str], report: Path | None, frameworks: str | None, timeout: float | None,
    as_json: bool, **options: Any,
) -> int:  # fmt: skip
    """Check every target, print what was found and return the exit code: the worst of all."""
    files = [f for t in targets for f in files_of(t)]
    asked = tuple(f.strip() for f in frameworks.split(",")) if frameworks else ()
    results: list[Result] = []
    for file in files:
        folder = report if len(files) == 1 or report is None else report / _slug(file)
        result = check(file, report=folder, seconds=timeout, frameworks=asked, progress=_progress(), **options)
        results.append(result)
        if not as_json:
            print(result, flush=True)
            if len(files) > 1:
                print()
    _clear()
    if as_json:
        plain = [r.plain() for r in results]
        print(json.dumps(plain[0] if len(plain) == 1 else plain, indent=1))
    if report is not None and len(files) > 1:
        from reference.checks.pages import write_index

        write_index(results, report)
    return worst_of([r.exit_code for r in results])


def _slug(file: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in str(Path(file).with_suffix(""))).strip("_")


def _progress() -> Any:
    """Return what shows the part that is being checked, where a person watches."""
    if not sys.stderr.isatty():
        return None
    return lambda name: print(f"\r\033[Kchecking {name} …", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
