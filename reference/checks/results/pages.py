"""Writes what checks found into a folder: a page, check.json, and a script for each wrong part."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from manual_backprop.operation import InvalidInput
from reference.checks.results.result import Result
from reference.listing import derivation
from reports.check_page import INDEX, write_checks
from reports.checked import Checked, plain, read_checked
from reports.folder import refuse_for_check
from reports.records import ReportError

__all__ = ["INDEX", "encoded", "refuse_folder", "write_index", "write_report", "write_session"]


def refuse_folder(folder: str | Path) -> None:
    """Raise InvalidInput, before anything runs, where a check's pages may not be written."""
    try:
        refuse_for_check(folder)
    except ReportError as error:
        raise InvalidInput(str(error)) from None


def write_report(result: Result, folder: Path) -> Result:
    """Write one check's folder; return the result with the folder named in it."""
    _write([_record(result)], folder)
    return replace(result, folder=str(folder))


def write_index(results: Sequence[Result], folder: Path) -> None:
    """Write one folder for several checks: a list of them, and a page each."""
    _write([_record(r) for r in results], folder)


def encoded(results: Sequence[Result]) -> list[str]:
    """Return checks as text, for the main process of a parallel test session."""
    return [json.dumps(plain(_record(r))) for r in results]


def write_session(results: Sequence[Result | str], folder: Path) -> None:
    """Write the folder of a test session: its own checks and those that workers sent."""
    checks = []
    for result in results:
        checks += read_checked(result) if isinstance(result, str) else [_record(result)]
    _write(checks, folder)


def _write(checks: Sequence[Checked], folder: Path) -> None:
    try:
        write_checks(folder, checks)
    except ReportError as error:
        raise InvalidInput(str(error)) from None


def _record(result: Result) -> Checked:
    """Return a check's record, with what the book says of each part's operation."""
    found = result.checked_record()
    parts = tuple(
        msgspec.structs.replace(p, derivation=derivation(p.operation)) if p.operation else p
        for p in found.parts
    )
    return msgspec.structs.replace(found, parts=parts)
