"""The report's folder: written completely or not at all, and never over other files."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from reports.diff import Difference
from reports.diff_pages import render_diff_html, render_diff_markdown, render_diff_text
from reports.html import render_html
from reports.reading import read_bytes, read_json, read_lines
from reports.reading import show as _show
from reports.records import AnyRecord, Record, ReportError, Run, decode, decode_all, encode_all
from reports.summary import Summary, summary_json
from reports.text import render_badge, render_markdown

RECORDS = "records.jsonl"
SUMMARY = "summary.json"
TIMING = "timing.json"
CHECK = "check.json"
MARKER = ".manual-backprop-report"
WRITING = ".manual-backprop-writing-"
MARKER_TEXT = "A report of manual-backprop: its files here are replaced when it runs again.\n"
CHECK_MARKER_TEXT = "A check of manual-backprop: its files here are replaced when it runs again.\n"
PAGES: Mapping[str, Callable[[Summary], str]] = {
    "index.html": render_html,
    "summary.md": render_markdown,
    "badge.svg": render_badge,
}


def claim_folder(folder: str | Path) -> Path:
    """Make `folder` a report's (with parents) before a long run, or refuse with a ReportError.

    A folder that holds anything and is not a report's is refused, and so is one that holds the
    pages of a check, or that cannot be written to.
    """
    with _readable_errors(folder) as path:
        _refuse_foreign(path)
        path.mkdir(parents=True, exist_ok=True)
    return _put(path, {})


def _put(folder: str | Path, pages: Mapping[str, str]) -> Path:
    """Write pages into a folder of ours."""
    with _readable_errors(folder) as path:
        _refuse_foreign(path)
        _replace(path, {n: page.encode() for n, page in {**pages, MARKER: MARKER_TEXT}.items()})
    return path


def unclaim_folder(folder: str | Path) -> None:
    """Remove a folder again that was made by `claim_folder` and holds nothing else."""
    path = _path(folder)
    with suppress(OSError):
        (path / MARKER).unlink()
        path.rmdir()


def write_report(
    folder: str | Path,
    records: Iterable[Record],
    timing: Mapping[str, float] = MappingProxyType({}),
) -> Summary:
    """Write records.jsonl and every page made from it; return the summary.

    Everything is rendered and written to a temporary folder first, then moved, so an error (for
    example a full disk) leaves the old files. `timing` (seconds by name) goes into timing.json
    alone, because it differs from run to run and no other file does.
    """
    content = json.dumps(dict(timing), indent=2) + "\n"
    return _write(folder, records, {TIMING: content.encode()})


def _write(folder: str | Path, records: Iterable[Record], others: Mapping[str, bytes]) -> Summary:
    with _readable_errors(folder) as path:
        _refuse_foreign(path)
        lines = list(encode_all(records))
        # Pages are made from the file's content, not from the records in memory.
        summary = Summary(decode_all(lines))
        files = {**_pages(summary), **others, MARKER: MARKER_TEXT.encode()}
        _replace(path, {RECORDS: lines, **files})
    return summary


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary folders of writers that were killed; nobody may be writing now."""
    for left_over in folder.glob(f"{WRITING}*"):
        shutil.rmtree(left_over, ignore_errors=True)


def refuse_for_check(folder: str | Path) -> None:
    """Raise a ReportError where a check's pages may not be written; nothing is changed.

    They go into a new or empty folder, or over those of an earlier check.
    """
    with _readable_errors(folder) as path:
        _refuse_for_check(path)
        _others(path)


def write_check(
    folder: str | Path, pages: Mapping[str, str], found: str, others: Mapping[str, str]
) -> None:
    """Write a check's pages, its check.json and its other files, in place of an earlier check's.

    `found` is the text of check.json: one object a check, with the names of its other files under
    "scripts" and "pages". Of these only those that the earlier check.json names are deleted or
    replaced.
    """
    with _readable_errors(folder) as path:
        _refuse_for_check(path)
        earlier = _others(path)
        for name in others:
            if name not in earlier and (path / name).exists():
                raise ReportError(f"{_show(path / name)}: no earlier check wrote it; move it away")
        files = {name: text.encode() for name, text in {**pages, **others}.items()}
        files |= {MARKER: CHECK_MARKER_TEXT.encode(), CHECK: found.encode()}
        old = sorted(earlier - set(others))
        _refuse_folders(path, old)
        _replace(path, files)
        for name in old:
            (path / name).unlink(missing_ok=True)


def read_check(folder: str | Path) -> bytes:
    """Return the check.json of a check's folder; a folder without one is a ReportError."""
    with _readable_errors(folder) as path:
        if not (path / CHECK).exists():
            raise ReportError(f"{_show(path)}: not a check's, it has no {CHECK}")
        return read_bytes(path / CHECK)


def update_report(folder: str | Path, records: Iterable[Record]) -> Summary:
    """Put records of another command (a trial, the articles, a benchmark) into a report.

    They take the place of the report's records of the same type, and of the same section where a
    type has sections; everything else stays.
    """
    fresh = list(records)
    replaced = {_part(record) for record in fresh}
    kept = [record for record in read_report(folder) if _part(record) not in replaced]
    return _write(folder, [*kept, *fresh], {})


def read_report(folder: str | Path) -> list[AnyRecord]:
    """Read a report's records; raises a ReportError of one line if they cannot be read."""
    with _readable_errors(folder) as path:
        if not path.is_dir():
            raise ReportError(f"{_show(path)}: no such folder")
        if not (path / RECORDS).exists():
            raise ReportError(f"{_show(path)}: not a report, it has no {RECORDS}")
        return decode_all(read_lines(path / RECORDS), f"{_show(path)}/{RECORDS}")


def rebuild(folder: str | Path) -> Summary:
    """Render every page again from the folder's records; timing.json does not change."""
    summary = Summary(read_report(folder))
    with _readable_errors(folder) as path:
        _replace(path, _pages(summary))
    return summary


def diff_folders(before: str | Path, after: str | Path) -> Difference:
    """Read two reports and return what changed between them."""
    return Difference(Summary(read_report(before)), Summary(read_report(after)))


def write_diff(folder: str | Path, difference: Difference) -> None:
    """Write a difference's page, Markdown and text into a folder of ours."""
    _put(folder, {
        "diff.html": render_diff_html(difference),
        "diff.md": render_diff_markdown(difference),
        "diff.txt": render_diff_text(difference),
    })  # fmt: skip


def write_book(folder: str | Path, page: str) -> Path:
    """Write the derivation book into a folder of ours; no file of a report has its name."""
    return _put(folder, {"book.html": page}) / "book.html"


def read_timing(folder: str | Path) -> dict[str, float]:
    """Return the times of a report's timing.json; a report without one has none.

    Raises ReportError where the file is damaged.
    """
    with _readable_errors(folder) as path, suppress(FileNotFoundError):
        return read_json(path / TIMING, dict[str, float])
    return {}


def is_report(folder: Path) -> bool:
    """Whether a folder is a report's: it bears the marker, or its records begin with a run.

    The second matters because uploads drop hidden files.
    """
    with suppress(OSError, ReportError):
        if read_bytes(folder / MARKER, len(MARKER_TEXT)) == MARKER_TEXT.encode():
            return True
    return _run(folder) is not None


def _run(folder: Path) -> Run | None:
    """Return the run that a folder's records begin with."""
    with suppress(OSError, ReportError, StopIteration):
        first = decode(next(read_lines(folder / RECORDS)))
        return first if isinstance(first, Run) else None
    return None


def is_check(folder: str | Path) -> bool:
    """Whether a folder is a check's: it bears the marker, or its check.json says so."""
    folder = Path(folder)
    with suppress(OSError, ReportError):
        if read_bytes(folder / MARKER, len(CHECK_MARKER_TEXT)) == CHECK_MARKER_TEXT.encode():
            return True
    with suppress(OSError, ReportError):
        found = read_json(folder / CHECK, object)
        every = found if isinstance(found, list) else [found]
        return bool(every) and all(isinstance(c, dict) and "exit_code" in c for c in every)
    return False


def _others(folder: Path) -> set[str]:
    """Return the scripts and pages that an earlier check wrote, as its check.json names them."""
    try:
        found = read_json(folder / CHECK, object)
    except FileNotFoundError:
        return set()
    names: set[str] = set()
    for one in found if isinstance(found, list) else [found]:
        for kind in ("scripts", "pages"):
            listed = one.get(kind, []) if isinstance(one, dict) else None
            if not isinstance(listed, list):
                raise ReportError(f"{_show(folder / CHECK)}: damaged, or not ours; move it away")
            names |= {name for name in listed if isinstance(name, str)}
    return {name for name in names if re.fullmatch(r"repro\w*\.py|check_\w+\.html", name)}


def _part(record: Record) -> tuple[type[Record], str]:
    return type(record), getattr(record, "section", "")


def _pages(summary: Summary) -> dict[str, bytes]:
    pages = {name: render(summary).encode() for name, render in PAGES.items()}
    return {SUMMARY: summary_json(summary).encode(), **pages}


def _refuse_foreign(path: Path) -> None:
    _refuse_others(path)
    # Its check.json and scripts would stay and not belong to the new pages.
    if (path / CHECK).exists() or is_check(path):
        raise ReportError(f"{_show(path)}: holds the pages of a check; choose another folder")


def _refuse_for_check(path: Path) -> None:
    _refuse_others(path)
    if not path.is_dir() or is_check(path):
        return
    held = {p.name for p in path.iterdir() if not p.name.startswith(WRITING)} - {MARKER}
    if held:
        what = "a report of random networks" if RECORDS in held else "what is not a check's"
        raise ReportError(f"{_show(path)}: holds {what}; choose another folder")


def _refuse_folders(path: Path, names: Iterable[str]) -> None:
    """Refuse, before anything is written, a file name that is a folder."""
    for name in names:
        if (path / name).is_dir() and not (path / name).is_symlink():
            raise ReportError(f"{_show(path / name)}: a folder is in the way; expected a file")


def _refuse_others(path: Path) -> None:
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ReportError(f"{_show(place)}: a file is in the way; expected a folder")
    held = path.is_dir() and any(not p.name.startswith(WRITING) for p in path.iterdir())
    if held and not is_report(path) and not is_check(path):
        raise ReportError(
            f"{_show(path)}: holds files that are not a report's, so nothing is written there; "
            "choose another folder"
        )


def _replace(path: Path, files: Mapping[str, bytes | list[bytes]]) -> None:
    """Write all files to a temporary folder beside the target, then put each in place in one step.

    An existing folder may be a mount of its own, so its temporary folder is inside it.
    """
    _refuse_folders(path, files)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path if path.exists() else path.parent
    temporary = Path(tempfile.mkdtemp(prefix=WRITING, dir=beside))
    try:
        for name, content in files.items():
            with (temporary / name).open("wb") as file:
                file.writelines(content if isinstance(content, list) else [content])
                file.flush()
                os.fsync(file.fileno())
        if path.exists():
            for name in files:
                os.replace(temporary / name, path / name)
        else:
            temporary.chmod(0o777 & ~_umask())  # mkdtemp's 0700 is for secrets; this is none
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _readable_errors(folder: str | Path) -> Iterator[Path]:
    """Yield the folder's path; what fails there is one line."""
    path = _path(folder)
    try:
        yield path
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(f"{_show(path)}: {reason}") from error
    except RecursionError:
        raise ReportError(f"{_show(path)}: the records nest too deep") from None
    except UnicodeEncodeError as error:  # half a character, as in a file name of another encoding
        text = ascii(error.object[error.start : error.end])
        raise ReportError(
            f"{_show(path)}: a record holds {text}, which cannot be written to a file"
        ) from None


def _path(folder: str | Path) -> Path:
    if not str(folder).strip() or "\0" in str(folder):
        raise ReportError(f"folder={str(folder)!r}: expected the name of a folder")
    return Path(folder)
