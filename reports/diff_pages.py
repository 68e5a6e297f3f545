"""A difference between two runs as text, as Markdown and as a page."""

from collections.abc import Mapping
from dataclasses import replace

from reports.diff import Change, Difference, Direction
from reports.html import render_page
from reports.text import escape, markdown_table, one_line

SHOWN = 200
MARKS: Mapping[Direction, str] = {"worse": "▲", "better": "▼", "other": "·"}


def render_diff_text(difference: Difference) -> str:
    """Return the difference for a terminal."""
    lines = [one_line(difference.headline, 400)]
    lines += [f"  {one_line(sentence, 600)}" for sentence in difference.sentences]
    for part, changes in difference.parts.items():
        lines += ["", f"{part} ({len(changes):,})"]
        for change in changes[:SHOWN]:
            where = f"  [{change.at}]" if change.at else ""
            text = f"{change.what}: {change.before} → {change.after}{where}"
            lines.append(f"  {MARKS[change.direction]} {one_line(text, 400)}")
        lines += _rest(changes)
    return "\n".join(lines) + "\n"


def render_diff_markdown(difference: Difference) -> str:
    """Return the difference as Markdown, for a pull request."""
    parts = [f"## {escape(difference.headline)}"]
    if difference.sentences:
        parts.append("\n".join(f"- {escape(s)}" for s in difference.sentences))
    for part, changes in difference.parts.items():
        rows = [
            (
                MARKS[c.direction]
                if c.direction == "other"
                else f"{MARKS[c.direction]} {c.direction}",
                escape(c.what),
                escape(c.before),
                escape(c.after),
            )
            for c in changes[:SHOWN]
        ]
        parts += [f"### {part}", markdown_table(("", "What", "Before", "After"), rows, "llll")]
        parts += _rest(changes)
    return "\n\n".join(parts) + "\n"


def render_diff_html(difference: Difference) -> str:
    """Return the difference as a page of the report's look."""
    shown = {
        part: [
            replace(
                change,
                what=one_line(change.what, 1_000),
                before=one_line(change.before, 1_000),
                after=one_line(change.after, 1_000),
                at=one_line(change.at, 80),
            )
            for change in changes[:SHOWN]
        ]
        for part, changes in difference.parts.items()
    }
    left_out = {part: max(0, len(changes) - SHOWN) for part, changes in difference.parts.items()}
    return render_page(
        "diff.html",
        headline=one_line(difference.headline, 600),
        sentences=[one_line(sentence, 600) for sentence in difference.sentences],
        state="wrong" if difference.got_worse else "right" if not difference.changes else "open",
        mark="▲" if difference.got_worse else "=" if not difference.changes else "~",
        parts=shown,
        left_out=left_out,
        marks=MARKS,
        runs=[
            [one_line(t, 400) for t in (name, s.run.command, s.headline, s.compared())]
            for name, s in (("Before", difference.before), ("After", difference.after))
        ],
    )


def _rest(changes: list[Change]) -> list[str]:
    rest = len(changes) - SHOWN
    return [f"  … and {rest:,} more"] if rest > 0 else []
