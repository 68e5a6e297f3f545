"""summary.md: the report as Markdown, fit for a CI job summary or a pull request."""

from collections.abc import Callable, Iterable, Sequence

from reports.records import Finding
from reports.summary import Summary, beyond_text, error_text, kind_of, label, meaning, sides
from reports.text import one_line

FINDINGS_SHOWN = 25
_SPECIAL = str.maketrans(
    {c: f"&#{ord(c)};" if c in "<>&@|" else f"\\{c}" for c in "\\`*_[]<>&@|~$#"}
)


def render_markdown(summary: Summary) -> str:
    """Return headline, verdicts, findings and the command, in Markdown."""
    run = summary.run
    state = {"right": "✓", "wrong": "✕", "open": "?"}[summary.state]
    parts = [
        f"## {state} {escape(summary.headline)}",
        f"Compared: the hand-written {summary.subject} with {escape(summary.compared())}; "
        f"{run.problems:,} random networks, seed {run.seed}.",
        markdown_table(
            ("Verdict", "Problems", "Meaning"),
            [
                (f"{kind_of(v).mark} {escape(v)}", f"{n:,}", meaning(v))
                for v, n in summary.shown_verdicts
            ],
            align="lrl",
        ),
    ]
    if summary.agreed:
        parts.append(
            markdown_table(
                ("dtype", "Largest scaled difference where all agree", "Problem"),
                [
                    (
                        escape(dtype),
                        error_text(cell.worst_scaled) + beyond_text(cell),
                        code(cell.worst_at),
                    )
                    for dtype, cell in summary.agreed.items()
                ],
                align="lrl",
            )
        )
    if summary.findings:
        parts.append(f"### Findings ({len(summary.findings):,})")
        parts.append(findings_table(summary.findings[:FINDINGS_SHOWN], summary.show))
        rest = len(summary.findings) - FINDINGS_SHOWN
        if rest > 0:
            parts.append(f"… and {rest:,} more in `index.html` and `records.jsonl`.")
    parts.append("### Run again")
    parts.append(f"{fence(one_line(run.command, 2000))}")
    return "\n\n".join(part for part in parts if part) + "\n"


def findings_table(findings: Iterable[Finding], show: Callable[[str], str]) -> str:
    """Return one row for each finding; `show` gives the command for its address."""
    rows = []
    for finding in findings:
        case = finding.example
        values = [f"{label(name)} {case.answers[name]}" for name in sides(case.answers)]
        if case.enclosure:
            values.append(f"certified {case.enclosure.brief}")
        rows.append(
            (
                f"{kind_of(finding.verdict).mark} {escape(finding.verdict)}",
                escape(
                    " · ".join(p for p in (finding.operation, finding.step, finding.dtype) if p)
                ),
                f"{finding.count:,}",
                escape(finding.sentence or "; ".join(values)),
                code(show(case.at)),
            )
        )
    return markdown_table(("Verdict", "Where", "Problems", "What", "See"), rows, align="llrll")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Return a Markdown table of cells already escaped; nothing where there are no rows."""
    if not rows:
        return ""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def escape(text: str, limit: int = 300) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return one_line(text, limit).translate(_SPECIAL).replace("://", "&#58;//")


def code(text: str) -> str:
    """Return text as inline code that also survives inside a table."""
    clean = one_line(text).replace("`", "'").replace("|", "¦")
    return f"`{clean}`" if clean else ""


def fence(text: str) -> str:
    """Return text as a code block whose fence the text cannot close."""
    ticks = "```"
    while ticks in text:
        ticks += "`"
    return f"{ticks}sh\n{text}\n{ticks}"
