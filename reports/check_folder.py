"""A check's folder: index.html, summary.md, badge.svg, check.json, a page each, scripts."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from reports.check_page import render_check, render_check_badge, render_check_markdown, render_index
from reports.checked import Checked, Part, plain, read_checked
from reports.folder import read_check, write_check

INDEX = "index.html"


def write_checks(folder: str | Path, checks: Sequence[Checked]) -> None:
    """Write one folder for one check or several, in place of an earlier check's.

    One check has its page as index.html; of several, index.html is the list, and each has a page
    beside it.
    """
    named = _with_names(checks)
    # Pages are made from what a reader of check.json will see, not from what is in memory.
    text = json.dumps([plain(c) for c in named] if len(named) != 1 else plain(named[0]), indent=1)
    seen = read_checked(text)
    scripts = [
        (p.script, name) for c in seen for p, name in zip(_scripted(c), c.scripts, strict=True)
    ]
    others = {name: script for script, name in scripts}
    others |= {c.pages[0]: render_check(c, INDEX) for c in seen if c.pages}
    write_check(folder, _pages(seen), text + "\n", others)


def rebuild_check(folder: str | Path) -> list[Checked]:
    """Make the pages of a check's folder again from its check.json; return the checks."""
    checks = read_checked(read_check(folder))
    write_checks(folder, checks)
    return checks


def _pages(checks: Sequence[Checked]) -> dict[str, str]:
    index = render_check(checks[0]) if len(checks) == 1 else render_index(checks)
    return {
        INDEX: index,
        "summary.md": render_check_markdown(checks),
        "badge.svg": render_check_badge(checks),
    }


def _scripted(checked: Checked) -> list[Part]:
    return [p for p in checked.parts if p.script]


def _with_names(checks: Sequence[Checked]) -> list[Checked]:
    """Give every script and every page a name of its own."""
    single = sum(len(_scripted(c)) for c in checks) == 1
    named, number = [], 0
    for at, checked in enumerate(checks):
        scripts = []
        for part in checked.parts:
            if part.script:
                scripts.append("repro.py" if single else f"repro_{number}_{_slug(part.name)}.py")
                number += 1
        stem = Path(checked.what.partition(":")[0]).stem
        pages = (f"check_{at + 1}_{_slug(stem)}.html",) if len(checks) > 1 else ()
        named.append(msgspec.structs.replace(checked, scripts=tuple(scripts), pages=pages))
    return named


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower()[:60] or "target"
