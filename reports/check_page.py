"""The pages of checks and their folder: index.html, summary.md, badge.svg, check.json, scripts.

Headline, exit code and verdicts come from the records, from which the terminal's text also comes.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup, escape

from reports.checked import (
    STATES,
    Checked,
    Numbers,
    Part,
    headline_of,
    plain,
    problem_text,
    read_checked,
    verdict_of,
    worst_of,
)
from reports.errorplot import LEVELS, bars, entry, heat
from reports.folder import read_check, write_check
from reports.formula import FUNCTION_NAMES, formula, visible
from reports.html import render_page
from reports.text import STATE_MARKS as MARKS_OF_RUNS
from reports.text import badge, code, fence, markdown_table
from reports.text import escape as md

MAX_ENTRIES = 12  # of one gradient in the table of numbers
MAX_LINES = 160  # of the user's code

MARKS = {"right": "✓", "wrong": "✕", "failed": "✕", "unchecked": "?"}
STATE_MARKS = {**MARKS_OF_RUNS, "hung": "?", "crashed": "?"}
MEANINGS = {
    0: "Exit code 0: every gradient that was found is right.",
    1: "Exit code 1: a gradient is wrong.",
    2: "Exit code 2: something that looks like a gradient could not be checked.",
    3: "Exit code 3: the target hung.",
    4: "Exit code 4: the target crashed.",
}


@dataclass(frozen=True)
class SourceLine:
    """One line of the user's code."""

    number: int
    text: str
    mark: str
    """first: makes the first wrong gradient; follows: makes another wrong one; or empty."""


@dataclass(frozen=True)
class EntryComparison:
    """One entry of a wrong gradient: both values, with the digits that differ marked."""

    at: str
    yours: Markup
    right: Markup


def render_check(checked: Checked, index: str = "") -> str:
    """Return the page of one target; index: the address of the page that lists all."""
    return render_page(
        "check.html", styles=("page.css", "check.css"), checked=checked, index=index,
        state=checked.state, mark=STATE_MARKS[checked.state], meaning=MEANINGS[checked.exit_code],
        **_FUNCTIONS,
    )  # fmt: skip


def render_index(checks: Sequence[Checked]) -> str:
    """Return the page that lists several targets."""
    code_ = worst_of(c.exit_code for c in checks)
    return render_page(
        "check_index.html", styles=("page.css", "check.css"), checks=checks,
        headline=headline_of(checks), state=STATES[code_], mark=STATE_MARKS[STATES[code_]],
        meaning=MEANINGS[code_], state_marks=STATE_MARKS, short=short_names(checks), **_FUNCTIONS,
    )  # fmt: skip


# -- the user's lines --------------------------------------------------------------------------


def own_lines(part: Part) -> list[SourceLine]:
    """Return the lines of a backward; those that make a wrong gradient are marked."""
    lines = part.source.splitlines()
    names = _wrong_names(part)
    marks = {i: "follows" for i, text in enumerate(lines) if any(_assigns(text, n) for n in names)}
    if names and not marks:
        marks = {i: "first" for i, text in enumerate(lines) if re.match(r"\s*return\b", text)}
    first = _bare(part.first_wrong)
    firsts = [
        i for i in marks if any(_assigns(lines[i], d + first) for d in ("", "d", "d_")) and first
    ]
    marks |= dict.fromkeys(firsts or marks, "first")
    number = part.line or 1
    return [
        SourceLine(number + i, text, marks.get(i, "")) for i, text in enumerate(lines[:MAX_LINES])
    ]


def _wrong_names(part: Part) -> list[str]:
    found = [part.first_wrong, *(t for m in part.mistakes for t in m.tensors), *part.wrong_tensors]
    bare = list(dict.fromkeys(_bare(name) for name in found if name))
    # What is returned as {"h": dh} is called h.
    return [*bare, *(f"{d}{name}" for name in bare for d in ("d", "d_", "grad_"))]


def _bare(name: str) -> str:
    return name.removeprefix("the step of ").partition("[")[0]


def _assigns(line: str, name: str) -> bool:
    if not name:
        return False
    match = re.match(r"\s*([^=#]*?[^=!<>#])\s*[-+*/@]?=(?!=)", line.split("#")[0])
    return bool(match and re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", match[1]))


# -- numbers -----------------------------------------------------------------------------------


def entries(numbers: Numbers) -> list[EntryComparison]:
    """Return the first entries of a gradient, those that differ before the others."""
    pairs = list(enumerate(zip(numbers.yours, numbers.right, strict=True)))
    pairs.sort(key=lambda p: not _differ(*p[1]))
    shown = sorted(pairs[:MAX_ENTRIES])
    return [
        EntryComparison(entry(i, numbers.shape) or "–", *marked_digits(yours, right))
        for i, (yours, right) in shown
    ]


def _differ(yours: float, right: float) -> bool:
    if not math.isfinite(yours):
        return True
    return abs(yours - right) > 1e-9 * max(abs(yours), abs(right))


def marked_digits(yours: float, right: float) -> tuple[Markup, Markup]:
    """Return both numbers; from the first digit that differs on, they are marked."""
    one, other = _spelled(yours), _spelled(right)
    if not _differ(yours, right):
        return escape(one), escape(other)
    same = 0
    if _magnitude(one) == _magnitude(other):
        same = sum(1 for _ in takewhile(lambda p: p[0] == p[1], zip(one, other, strict=False)))
    return _marked(one, same), _marked(other, same)


def _spelled(value: float) -> str:
    text = f"{value:.12g}" if math.isfinite(value) else str(value)
    return text.replace("-", "−") if "e" not in text else text


def _magnitude(text: str) -> tuple[int, str]:
    whole, _, power = text.partition("e")
    return len(whole.partition(".")[0]), power


def _marked(text: str, same: int) -> Markup:
    rest = Markup("<mark>{}</mark>").format(text[same:]) if text[same:] else Markup("")
    return escape(text[:same]) + rest


# -- words -------------------------------------------------------------------------------------


def what_was_found(part: Part) -> list[str]:
    """Return one or two sentences about a part, for a list of several."""
    if part.verdict == "unchecked":
        return [part.why]
    sentences = [m.sentence for m in part.mistakes[:2]] + [
        f"{t}: {s}" for t, s in part.described[:2]
    ]
    sentences += [f"{f.kind}: {f.text}" for f in part.faults if f.fatal][:2]
    if not sentences and part.worst is not None:
        sentences = [part.worst.sentence()]
    return sentences or [verdict_of(part)]


def derivation(text: str) -> list[tuple[bool, Markup]]:
    """Return what the book says, piece by piece: (is it a formula, the piece)."""
    pieces = []
    for paragraph in text.strip().split("\n\n"):
        for sentence in re.split(r"(?<=[.])\s{2,}|\n(?=\s{4})", paragraph):
            stripped = sentence.strip().rstrip(".")
            words = set(re.findall(r"[a-z]{3,}", stripped))
            lone = "=" in stripped and len(stripped) < 90 and words <= FUNCTION_NAMES
            made = formula(stripped) if lone else None
            if made is not None and "<code>" not in made:
                pieces.append((True, made))
            else:
                pieces.append((False, escape(visible(" ".join(sentence.split())))))
    return pieces


def capital(text: str) -> str:
    """Return a sentence with its first letter large, unless it begins with code."""
    return text if "(" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def joined(sentences: Sequence[str]) -> str:
    """Return sentences as one text, each closed once."""
    return " ".join(
        s if s.endswith((".", "…")) or len(sentences) == 1 else f"{s}." for s in sentences
    )


def short_names(checks: Sequence[Checked]) -> dict[str, str]:
    """Return what each target is called in a list: its path without the folders that all share."""
    names = [c.what for c in checks]
    folders = [name.split("/")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    cut = sum(1 for _ in shared) if len(set(names)) > 1 else 0
    return {name: "/".join(name.split("/")[cut:]) for name in names}


_FUNCTIONS: dict[str, Any] = {
    "own_lines": own_lines, "entries": entries, "bars": bars, "heat": heat, "levels": LEVELS,
    "verdict_of": verdict_of, "what_was_found": what_was_found, "formula": formula,
    "marks": MARKS, "problem_text": problem_text, "derivation": derivation, "joined": joined,
    "capital": capital,
}  # fmt: skip


# -- Markdown and badge ------------------------------------------------------------------------


def render_check_markdown(checks: Sequence[Checked]) -> str:
    """Return the checks as Markdown: headline, a table of all gradients, the command."""
    exit_code = worst_of(c.exit_code for c in checks)
    parts = [f"## {STATE_MARKS[STATES[exit_code]]} {md(headline_of(checks))}", MEANINGS[exit_code]]
    rows = []
    for checked in checks:
        if not checked.parts and len(checks) > 1:
            rows.append(("? nothing", code(checked.what), md(checked.headline)))
        for part in checked.parts:
            where = part.name if len(checks) == 1 else f"{checked.what}: {part.name}"
            text = "; ".join([verdict_of(part), *what_was_found(part)][: 1 if part.ok else 3])
            rows.append((f"{MARKS[part.verdict]} {part.verdict}", code(where), md(text, 600)))
    parts.append(markdown_table(("Verdict", "Gradient", "What was found"), rows, "lll"))
    remarks = [f"- {md(r)}" for c in checks for r in (*c.remarks, *c.our_faults)]
    parts.append("\n".join(remarks))
    commands = [c.again for c in checks if c.again]
    if commands:
        parts += ["### Run again", fence("\n".join(commands))]
    return "\n\n".join(p for p in parts if p) + "\n"


def render_check_badge(checks: Sequence[Checked]) -> str:
    """Return the badge of checks: how many gradients are right, or how many are not."""
    state = STATES[worst_of(c.exit_code for c in checks)]
    every = [p for c in checks for p in c.parts]
    right, wrong = sum(p.ok for p in every), sum(p.verdict in ("wrong", "failed") for p in every)
    judged = sum(p.verdict != "unchecked" for p in every)
    beside = f", {len(every) - judged} not checked" if judged < len(every) else ""
    message = {
        "right": f"✓ {right} right{beside}",
        "wrong": f"✕ {wrong} of {len(every)} wrong" if wrong else "✕ fragile",
        "open": f"? {judged} of {len(every)} checked" if judged else "? nothing checked",
        "hung": "? hung",
        "crashed": "? crashed",
    }[state]
    return badge(message, state)


# -- the folder ------------------------------------------------------------------------------------

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
