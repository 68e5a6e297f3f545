"""The report in few words: text for a terminal, summary.md, and a badge for a README."""

import html
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence

from reports.records import Case, Finding
from reports.summary import Summary, beyond_text, error_text, kind_of, label, meaning, sides

FINDINGS_SHOWN = 12
APART = "Largest difference of whole answers where all agree (relative to the tensor; not judged)"
"""Errors of earlier steps add up in it; the verdicts compare step by step."""
STATE_COLOURS = {"right": "#0b6b4f", "open": "#7a5900", "wrong": "#a3122f"}
STATE_MARKS = {"right": "✓", "open": "?", "wrong": "✕"}


def render_text(
    summary: Summary, timing: Mapping[str, float] | None = None, options: Sequence[str] = ()
) -> str:
    """Return headline, verdict counts, findings and the command that runs it again.

    options: what this command had beside that which decides the results, for example --out.
    """
    run = summary.run
    lines = [one_line(summary.headline), ""]
    lines.append(
        f"Compared: the hand-written {summary.subject} with {one_line(summary.compared())}"
    )
    if timing and "seconds" in timing:
        rate = run.problems / timing["seconds"] if timing["seconds"] > 0 else float("inf")
        lines.append(f"Time: {timing['seconds']:.1f} s, {rate:,.0f} problems/s")
    for dtype, cell in summary.agreed.items():
        where = f" at {cell.worst_at}" if cell.worst_at else ""
        error = f"{error_text(cell.worst_scaled)}{where}{beyond_text(cell)}"
        lines.append(one_line(f"{APART}, {dtype}: {error}"))
    lines += ["", "Verdicts"]
    lines += table(
        [
            (kind_of(verdict).mark, verdict, f"{count:,}", meaning(verdict))
            for verdict, count in summary.shown_verdicts
        ],
        right={2},
    )
    if summary.findings:
        lines += ["", f"Findings: {len(summary.findings):,}, the most serious first"]
        for finding in summary.findings[:FINDINGS_SHOWN]:
            lines += finding_lines(finding, summary.show_command(finding.example.at))
        rest = len(summary.findings) - FINDINGS_SHOWN
        if rest > 0:
            lines.append(f"  … and {rest:,} more in the page and in records.jsonl")
    lines += ["", f"Run again: {one_line(shlex.join([*shlex.split(run.command), *options]))}"]
    return "\n".join(lines) + "\n"


def finding_lines(finding: Finding, show: str) -> list[str]:
    """Return the few lines that a finding gets on a terminal; `show` is the command for it."""
    mark = kind_of(finding.verdict).mark
    where = " · ".join(part for part in (finding.operation, finding.step, finding.dtype) if part)
    lines = [
        "  " + one_line(f"{mark} {finding.verdict}  {where}  ×{finding.count:,}"),
        *([f"      {one_line(finding.sentence, SENTENCE)}"] if finding.sentence else []),
        *(f"      {part}" for part in answers(finding.example)),
        f"      {one_line(show)}",
    ]
    return lines


def answers(case: Case) -> Iterable[str]:
    """Yield each side's value at the worst entry, and the certified enclosure."""
    rows = [(label(name), case.answers[name]) for name in sides(case.answers)]
    if case.enclosure:
        low, high = case.enclosure.low, case.enclosure.high
        rows.append(("certified", low if low == high else f"{low} … {high}"))
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        yield f"{one_line(name):<{width}}  {one_line(value)}"


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return rows as aligned columns, two spaces in; the columns in `right` end flush."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    flush = set(right)
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if i in flush else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


SENTENCE = 600
"""Characters of a finding's sentence: that of a VALUE has about 400."""


def one_line(text: str, limit: int = 300) -> str:
    """Return text that cannot break a line or steer a terminal: no control characters, clipped."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 2 * limit])
    clean = " ".join(clean.split())
    return clean if len(clean) <= limit else clean[:limit] + "…"


# -- Markdown --------------------------------------------------------------------------------------

MARKDOWN_FINDINGS = 25
_SPECIAL = str.maketrans(
    {c: f"&#{ord(c)};" if c in "<>&@|" else f"\\{c}" for c in "\\`*_[]<>&@|~$#"}
)


def render_markdown(summary: Summary) -> str:
    """Return headline, verdicts, findings and the command, in Markdown."""
    run = summary.run
    parts = [
        f"## {STATE_MARKS[summary.state]} {escape(summary.headline)}",
        f"Compared: the hand-written {summary.subject} with {escape(summary.compared())}; "
        f"{run.problems:,} random problems, seed {run.seed}.",
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
                ("dtype", APART, "Problem"),
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
        parts.append(findings_table(summary.findings[:MARKDOWN_FINDINGS], summary.show_command))
        rest = len(summary.findings) - MARKDOWN_FINDINGS
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


# -- the badge -------------------------------------------------------------------------------------


def render_badge(summary: Summary) -> str:
    """Return the badge: "gradients | ✓ 2,000 right"."""
    mark, done = STATE_MARKS[summary.state], f"{summary.checked:,}"
    message = {
        "right": f"{mark} {done} right",
        "open": f"{mark} {done} checked, some open",
        "wrong": f"{mark} {summary.wrong:,} of {done} wrong",
    }[summary.state]
    return badge(message, summary.state)


def badge(message: str, state: str) -> str:
    """Return a badge of two fields as SVG: "gradients" and the message, in the state's colour."""
    label, colour = "gradients", STATE_COLOURS.get(state, STATE_COLOURS["open"])
    left, right = 13 + 6.4 * len(label), 13 + 6.4 * len(message)
    width = round(left + right)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" '
        f'aria-label="{html.escape(label)}: {html.escape(message)}">'
        f"<title>{label}: {html.escape(message)}</title>"
        f'<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left:.0f}" height="20" fill="#3b4250"/>'
        f'<rect x="{left:.0f}" width="{width - round(left)}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" '
        'font-size="11">'
        f'<text x="{left / 2:.0f}" y="14">{label}</text>'
        f'<text x="{left + right / 2:.0f}" y="14">{html.escape(message)}</text></g></svg>\n'
    )
