"""The command `manual-backprop check`: one target or several, as text or JSON."""

import json
import sys
from pathlib import Path
from typing import Any

from manual_backprop.operation import InvalidInput
from reference.checks.checker import check
from reference.checks.code.source import files_of
from reference.checks.results import Result
from reports.checked import headline_of, worst_of


def run(
    targets: list[str],
    report: Path | None,
    frameworks: str | None,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Check every target, print what was found and return the exit code: the worst of all."""
    files = [f for t in targets for f in files_of(t)]
    options["frameworks"] = tuple(f.strip() for f in (frameworks or "").split(",") if f.strip())
    options["timeout"] = timeout
    several = len(files) > 1
    if report is not None and several:
        from reference.checks.results.pages import refuse_folder

        refuse_folder(report)
    results: list[Result] = []
    for file in files:
        if several:
            result = _one_of_several(file, options)
        else:
            result = check(file, report=report, progress=_shown, **options)
        results.append(result)
        if not as_json:
            print(result, end="\n\n" if several else "\n", flush=True)
    _shown("")
    if report is not None and several:
        from reference.checks.results.pages import write_index

        write_index(results, report)
    if as_json:
        plain = [r.plain() for r in results]
        print(json.dumps(plain if several else plain[0], indent=1))
        return worst_of(r.exit_code for r in results)
    if several:
        print(headline_of([r.checked_record() for r in results]))
    if report is not None:
        print(f"the page: {report / 'index.html'}")
    return worst_of(r.exit_code for r in results)


def _one_of_several(file: str, options: dict[str, Any]) -> Result:
    """Check a file; one that cannot be loaded does not keep the others from being checked."""
    try:
        return check(file, progress=_shown, **options)
    except InvalidInput as error:
        return Result(file, options.get("seed", 0), (), remarks=(str(error),))


def _shown(name: str) -> None:
    """Show the part that is being checked, where a person watches; "": nothing any more."""
    if sys.stderr.isatty():
        text = f"checking {name} …" if name else ""
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
